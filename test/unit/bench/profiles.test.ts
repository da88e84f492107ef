/** Emulated computation: the published figures, what is derived from them, how a step's time is distributed over the variables, and which profiles are refused. */
import path from 'node:path';
import t, { type Test } from 'tap';
import { networkNames, shapesOf } from '../../../src/bench/models/networks';
import { type Compute, computeOf, type ProfiledCompute, profileNames } from '../../../src/bench/profiles';
import { UsageError } from '../../../src/errors';

const sizes = { vgg16: 224, vgg19: 224, resnet50: 224, resnet152: 224, inception_v4: 299 } as const;
const study = (network: keyof typeof sizes, batchSize = 32): ProfiledCompute =>
  computeOf('k80', network, { batchSize, imageSize: sizes[network], classes: 1001 });
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);
const imagesPerSec = ({ forwardMs, backwardMs }: Compute, batchSize = 32): number => (1000 * batchSize) / (forwardMs + sum(backwardMs));
const isNear = (t: Test, found: number, wanted: number, tolerance: number, what: string): boolean =>
  t.ok(Math.abs(found - wanted) <= tolerance, `${what}: ${found} for ${wanted}`);

t.test("the K80's rates: those of the page, and derived ones that say so", async (t) => {
  t.same(profileNames, ['k80']);
  for (const [network, batchSize, rate, isPublished] of [
    ['vgg16', 32, 35.4, true],
    ['resnet50', 32, 49.5, true],
    ['resnet50', 64, 51.9, true],
    ['resnet50', 16, 49.5, false],
    ['resnet152', 32, 20, true],
    ['resnet152', 64, 20, false],
    // 35.4 · 15.47 / 19.63, and 29.3 and 30.5 · 5.71 / 12.25.
    ['vgg19', 32, 27.9, false],
    ['inception_v4', 32, 13.65, false],
    ['inception_v4', 64, 14.2, false],
  ] as const) {
    const compute = study(network, batchSize);
    isNear(t, imagesPerSec(compute, batchSize), rate, 0.05, `${network} at ${batchSize}`);
    t.equal(compute.isPublished, isPublished, `${network} at ${batchSize}`);
    t.match(compute.source, /^TensorFlow, Benchmarks .*K80.* May 2017: /);
  }
  t.match(study('vgg19').source, /not published; from VGG-16 \(35\.4 images\/s\) by multiply-adds, × 0\.788/);
  t.match(study('inception_v4').source, /from Inception-v3 \(29\.3, 30\.5 images\/s\)/);
  t.match(study('resnet50', 16).source, /a batch of 16 taken as fast per image as one of 32/);
});

t.test('one third forward; backward by multiply-adds of the layers, a time for each variable', async (t) => {
  for (const network of networkNames) {
    const { forwardMs, backwardMs } = study(network);
    t.equal(backwardMs.length, shapesOf(network).length, network);
    isNear(t, sum(backwardMs), 2 * forwardMs, 1e-6 * forwardMs, network);
    t.ok(backwardMs.every((ms) => ms >= 0));
  }
  const { backwardMs } = study('vgg16');
  const of = (name: string): number => backwardMs[shapesOf('vgg16').findIndex((one) => one.name === name)]!;
  t.equal(of('classes/bias'), 0);
  // 224² · 3² · 64 · 64 multiply-adds against 25,088 · 4096.
  isNear(
    t,
    of('block1_conv2/kernel') / of('dense1/kernel'),
    (224 ** 2 * 9 * 64 * 64) / (25_088 * 4096),
    1e-9,
    'convolution and dense layer',
  );
  t.ok(of('dense1/kernel') + of('dense2/kernel') + of('classes/kernel') < 0.01 * sum(backwardMs), "VGG's dense layers are soon done");
});

t.test('other sizes and classes follow by multiply-adds', async (t) => {
  const small = computeOf('k80', 'vgg16', { batchSize: 32, imageSize: 64, classes: 11 });
  t.equal(small.isPublished, false);
  t.match(small.source, /64×64 pixels and 11 classes by multiply-adds from 224×224 and 1001/);
  t.ok(small.forwardMs < study('vgg16').forwardMs / 10);
});

t.test('a profile of a file', async (t) => {
  const write = (content: string): string => path.join(t.testdir({ 'p.json': content }), 'p.json');
  const options = { batchSize: 4, imageSize: 224, classes: 1001 };
  const file = write(JSON.stringify({ source: 'mine', networks: { resnet50: { imagesPerSec: 8, batchSize: 4 } } }));
  const compute = computeOf(file, 'resnet50', options);
  isNear(t, imagesPerSec(compute, 4), 8, 1e-9, 'its rate');
  t.same([compute.isPublished, compute.source], [true, 'mine: ResNet-50, 8 images/s at a batch of 4']);
  const refused = (profile: string, message: RegExp, network = 'resnet50', given = options): void => {
    t.ok(t.throws(() => computeOf(profile, network, given), { message }) instanceof UsageError);
  };
  refused(file, /has no figure of vgg16\. It has resnet50/, 'vgg16');
  for (const [content, message] of [
    ['{', /cannot be read: /],
    ['[]', /is no JSON object/],
    ['{}', /has no source/],
    ['{"source":""}', /has no source/],
    ['{"source":"a"}', /has no networks/],
    ['{"source":"a","networks":{}}', /has no networks/],
    ['{"source":"a","networks":{"alexnet":{"imagesPerSec":1,"batchSize":1}}}', /network 'alexnet' that does not exist/],
    ['{"source":"a","networks":{"vgg16":{"imagesPerSec":0,"batchSize":1}}}', /no imagesPerSec > 0 of vgg16/],
    ['{"source":"a","networks":{"vgg16":{"imagesPerSec":1,"batchSize":1.5}}}', /no whole batchSize/],
  ] as const)
    refused(write(content), message);
  refused('k81', /There is no profile 'k81'\. There are k80, or the path/);
  refused('constructor', /There is no profile 'constructor'/);
  refused(path.join(t.testdir({}), 'none.json'), /cannot be read: ENOENT/);
  refused('k80', /no network 'alexnet'/, 'alexnet');
  refused('k80', /not 0/, 'vgg16', { ...options, batchSize: 0 });
  refused('k80', /at least 32×32/, 'vgg16', { ...options, imageSize: 31 });
});
