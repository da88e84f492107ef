/** What the optimizers' study takes for its arguments, which folder it goes on in, and what it then does. */
import path from 'node:path';
import t from 'tap';
import { optimizers } from '../../../examples/cifar10/network';

interface Arguments {
  readonly optimizers: string[];
  readonly epochs: number;
  readonly until: number;
  readonly ranks: number;
  readonly batchSize: number;
  readonly images?: number;
  readonly learningRate: number;
  readonly seed: number;
  readonly data?: string;
  readonly out: string;
  readonly table?: string;
}
interface Data {
  readonly trainImages: number;
  readonly testImages: number;
  readonly sha256: string;
}
type Settings = Record<string, number | string>;
interface Module {
  readonly OPTIMIZERS: string[];
  readonly StudyError: new (message: string) => Error;
  readArguments(words: readonly string[]): Arguments;
  settingsOf(given: Arguments, data: Data): Settings;
  checkFolder(folder: string, found: Settings | undefined, settings: Settings): void;
  planOf(optimizers: readonly string[], epochs: number, done: Record<string, number | undefined>): unknown[];
}
const { OPTIMIZERS, StudyError, readArguments, settingsOf, checkFolder, planOf } = require(
  path.join(__dirname, '../../../../scripts/study/settings.mjs'),
) as Module;

const data: Data = { trainImages: 100, testImages: 20, sha256: 'abc' };
const settingsFor = (...words: string[]): Settings => settingsOf(readArguments(words), data);

t.test('the seven optimizers are those of the example', async (t) => {
  t.same([...OPTIMIZERS].sort(), Object.keys(optimizers).sort());
});

t.test('arguments and what stands for those that are not given', async (t) => {
  t.same(readArguments([]), {
    optimizers: OPTIMIZERS,
    epochs: 150,
    until: 150,
    ranks: 2,
    batchSize: 32,
    images: undefined,
    learningRate: 0.001,
    seed: 1,
    data: undefined,
    out: 'results/study/optimizers',
  });
  const words = '-np 4 --epochs 3 --batch-size 8 --images 40 --lr 1e-2 --seed=-5 --optimizers nadam,sgd,sgd --data d --out o';
  t.same(readArguments(words.split(' ')), {
    optimizers: ['sgd', 'nadam'],
    epochs: 3,
    until: 3,
    ranks: 4,
    batchSize: 8,
    images: 40,
    learningRate: 0.01,
    seed: -5,
    data: 'd',
    out: 'o',
  });
  t.equal(readArguments(['--until', '50']).until, 50);
  t.equal(readArguments(['--until', '50', '--epochs', '20']).until, 20);
  t.same(readArguments(['--table', 'd']), { table: 'd' });
});

t.test('what is wrong is refused, with what it was and what it has to be', async (t) => {
  for (const [words, message] of [
    ['--epochs 0', /--epochs is a whole number >= 1, but was '0'/],
    ['--epochs 1.5', /--epochs .* was '1.5'/],
    ['-np none', /-np is a whole number >= 1, but was 'none'/],
    ['--batch-size 0', /--batch-size is/],
    ['--images 0', /--images is/],
    ['--lr 0', /--lr is a number > 0, but was '0'/],
    ['--lr Infinity', /--lr is/],
    ['--seed 0.5', /--seed is a whole number/],
    ['--optimizers sgd,adamw', /'adamw' is none of sgd, momentum/],
    ['--optimizers ,', /'' is none of/],
    ['--epoch 3', /Unknown option '--epoch'/],
    ['--epochs', /--epochs/],
    ['more', /Unexpected argument 'more'/],
    ['--table d --epochs 3', /takes no other option/],
  ] as const)
    t.ok(t.throws(() => readArguments(words.split(' ')), { message }, words) instanceof StudyError);
  t.throws(() => readArguments(['--lr', '']), { message: /--lr is a number > 0, but was ''/ });
  t.throws(() => readArguments(['--out', '']), { message: /--out is the path of a folder, but was empty/ });
});

t.test('more images than there are, and a step of more than there are, are refused', async (t) => {
  t.throws(() => settingsFor('--images', '101'), { message: /--images 101: there are only 100/ });
  t.throws(() => settingsFor('-np', '4', '--batch-size', '26'), { message: /takes 104 images a step, but there are 100/ });
  t.same(settingsFor('-np', '4', '--batch-size', '25'), { epochs: 150, ranks: 4, batchSize: 25, learningRate: 0.001, seed: 1, ...data });
});

t.test(
  'a folder is gone on in with the same settings only; nothing hangs on which optimizers run, until when, and where the images lie',
  async (t) => {
    const found = settingsFor();
    t.doesNotThrow(() => checkFolder('d', undefined, found));
    t.doesNotThrow(() => checkFolder('d', found, settingsFor('--optimizers', 'sgd', '--until', '9', '--data', 'elsewhere', '--out', 'd')));
    for (const [words, message] of [
      [
        '--lr 0.01 --epochs 3',
        /^d holds a run with other settings: epochs is 150 there and 3 here, learningRate is 0.001 there and 0.01 here\./,
      ],
      ['-np 1', /ranks is 2 there and 1 here/],
      ['--batch-size 16', /batchSize is 32 there and 16 here/],
      ['--seed 2', /seed is 1 there and 2 here/],
    ] as const)
      t.throws(() => checkFolder('d', found, settingsFor(...words.split(' '))), { message });
    const others = settingsOf(readArguments([]), { ...data, sha256: 'def' });
    t.throws(() => checkFolder('d', found, others), { message: /sha256 is abc there and def here/ });
    t.throws(() => checkFolder('d', {}, found), { message: /batchSize is undefined there and 32 here/ });
  },
);

t.test('what is done is not done again', async (t) => {
  t.same(planOf(['sgd', 'adam', 'nadam'], 5, { sgd: 5, adam: 3, nadam: undefined }), [
    { optimizer: 'sgd', from: 5, act: 'done' },
    { optimizer: 'adam', from: 3, act: 'go on' },
    { optimizer: 'nadam', from: 0, act: 'start' },
  ]);
});
