/** The training benchmark's command line and its figures. */
import t from 'tap';
import { readThroughputArgs } from '../../../src/bench/throughput_args';
import { median, standardDeviation, throughputFigures } from '../../../src/bench/throughput_figures';
import { Compression } from '../../../src/compression';
import { UsageError } from '../../../src/errors';

t.test('options, and what they are without', async (t) => {
  t.same(readThroughputArgs(['--network', 'inception_v4']), {
    network: 'inception_v4',
    batchSize: 32,
    size: 299,
    classes: 1001,
    warmUp: 10,
    iterations: 500,
    dataWorkers: 2,
    data: undefined,
    onCorrupt: 'refuse',
    optimizer: 'sgd',
    learningRate: 0.005,
    compression: Compression.none,
    seed: 1,
    isWithoutCommunication: false,
    emulate: undefined,
    slowDown: 1,
  });
  const words =
    '--network vgg16 --batch-size 4 --image-size 64 --classes 11 --warmup 0 --iterations 3 --data-workers 20 --data pictures --on-corrupt skip --optimizer adam --lr 1e-3 --seed 0 --no-communication --emulate-compute k80 --slow-down 25';
  t.same(readThroughputArgs(words.split(' ')), {
    network: 'vgg16',
    batchSize: 4,
    size: 64,
    classes: 11,
    warmUp: 0,
    iterations: 3,
    dataWorkers: 20,
    data: 'pictures',
    onCorrupt: 'skip',
    optimizer: 'adam',
    learningRate: 0.001,
    compression: Compression.none,
    seed: 0,
    isWithoutCommunication: true,
    emulate: 'k80',
    slowDown: 25,
  });
});

t.test('compressors by name, with their options or without', async (t) => {
  const named = (name: string): string => readThroughputArgs(['--network', 'vgg16', '--compression', name]).compression.name;
  t.same(['fp16', 'int8', 'topK', 'topK(0.1)', 'powerSGD(2)'].map(named), ['fp16', 'int8', 'topK(0.01)', 'topK(0.1)', 'powerSGD(2)']);
});

t.test('what is wrong is said in one line', async (t) => {
  for (const [words, message] of [
    ['', /^--network is missing: vgg16, vgg19, resnet50/],
    ['--network alexnet', /^There is no network 'alexnet'\. There are vgg16/],
    ['--network vgg16 --image-size 31', /^vgg16 needs images of at least 32×32 pixels, not 31/],
    ['--network inception_v4 --image-size 74', /at least 75×75/],
    ['--network vgg16 --batch-size 0', /^--batch-size '0' is not a whole number >= 1\.$/],
    ['--network vgg16 --batch-size 1.5', /^--batch-size '1\.5'/],
    ['--network vgg16 --iterations ten', /^--iterations 'ten'/],
    ['--network vgg16 --data-workers 21', /^--data-workers '21' is not a whole number from 1 to 20/],
    ['--network vgg16 --optimizer sdg', /^--optimizer 'sdg' is not sgd, momentum/],
    ['--network vgg16 --lr 0', /^--lr '0' is not a number > 0/],
    ['--network vgg16 --compression zip', /^--compression 'zip' is not none, fp16, bf16, int8/],
    ['--network vgg16 --compression int8 --emulate-compute k80', /do not go together/],
    ['--network vgg16 --on-corrupt mend', /^--on-corrupt 'mend' is not refuse or skip/],
    ['--network vgg16 --classes 1', /^--classes '1'/],
    ['--network vgg16 --bath-size 4', /--bath-size.*Options: --network --batch-size/],
    ['--network vgg16 extra', /extra/],
    ['--network', /--network/],
  ] as const) {
    const error = t.throws(() => readThroughputArgs(words.split(' ').filter(Boolean)), { message }, words) as Error;
    t.ok(error instanceof UsageError, `${words}: ${error.name}`);
    t.notMatch(error.message, /\n/);
  }
});

t.test('figures', async (t) => {
  t.same([median([3, 1, 2]), median([4, 1, 2, 3]), standardDeviation([2, 4]), standardDeviation([7])], [2, 2.5, Math.SQRT2, 0]);
  const alike = throughputFigures(
    [
      [100, 100],
      [100, 100],
    ],
    8,
  );
  t.same(alike, { imagesPerSec: 160, imagesPerSecSd: 0, msPerStepMedian: 100, msPerStepMean: 100, msPerStepSd: 0 });
  // A rank's images a second are those of all its steps: 16 in 0.3 s and 16 in 0.6 s.
  const uneven = throughputFigures(
    [
      [100, 200],
      [200, 400],
    ],
    8,
  );
  t.ok(Math.abs(uneven.imagesPerSec - (16 / 0.3 + 16 / 0.6)) < 1e-9);
  t.ok(Math.abs(uneven.imagesPerSecSd - standardDeviation([80 + 40, 40 + 20])) < 1e-9);
  t.equal(uneven.msPerStepMedian, 200);
  for (const times of [[], [[]], [[1], [1, 2]]]) t.throws(() => throughputFigures(times, 1), { name: 'BugError' });
});
