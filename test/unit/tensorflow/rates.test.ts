/** The learning rates of the callbacks, against tables worked out by hand from Horovod's formulas; what the callbacks refuse. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { isBetter } from '../../../src/tensorflow/callbacks/best_model';
import { type Schedule, scheduledRate, stepsIn, warmupRate } from '../../../src/tensorflow/callbacks/rates';

const close = (t: { ok(is: boolean, text: string): void }, found: number | undefined, expected: number, text: string): void =>
  t.ok(found !== undefined && Math.abs(found - expected) < 1e-12, `${text}: ${found} for ${expected}`);

t.test('warm-up: lr / n · (epoch · (n − 1) / warmupEpochs + 1)', async (t) => {
  const rows: Array<[size: number, warmupEpochs: number, epoch: number, rate: number]> = [
    [4, 2, 0, 0.1],
    [4, 2, 0.25, 0.1375],
    [4, 2, 1, 0.25],
    [4, 2, 1.5, 0.325],
    [2, 5, 0, 0.2],
    [2, 5, 1, 0.24],
    [2, 5, 4.5, 0.38],
    [8, 5, 2.5, 0.225],
    [8, 2.5, 2, 0.33],
    [1, 5, 0, 0.4],
    [1, 5, 3.7, 0.4],
  ];
  for (const [size, warmupEpochs, epoch, rate] of rows)
    close(t, warmupRate({ initialLr: 0.4, warmupEpochs }, size, epoch), rate, `${size} ranks, epoch ${epoch} of ${warmupEpochs}`);
  for (const size of [1, 2, 3, 7, 49, 1000])
    t.equal(warmupRate({ initialLr: 0.3, warmupEpochs: 3 }, size, 3), 0.3, `${size} ranks: it ends exactly at the rate`);
  t.equal(warmupRate({ initialLr: 0.3, warmupEpochs: 2.5 }, 4, 2.75), 0.3, 'and never above it');
});

t.test('schedule: lr · multiplier(epoch) within its epochs', async (t) => {
  const plain: Schedule = { initialLr: 0.8, multiplier: 0.5, startEpoch: 0, endEpoch: Number.POSITIVE_INFINITY, staircase: true };
  const none = undefined;
  const rows: Array<[text: string, Schedule, epoch: number, batch: number, rate: number | undefined]> = [
    ['a number is a base', plain, 0, 0, 0.8],
    ['', plain, 3, 0, 0.1],
    ['a staircase changes at the first batch alone', plain, 3, 1, none],
    ['a base counts from startEpoch', { ...plain, startEpoch: 2 }, 3, 0, 0.4],
    ['before', { ...plain, startEpoch: 2 }, 1, 0, none],
    ['endEpoch is exclusive', { ...plain, endEpoch: 2 }, 1, 0, 0.4],
    ['', { ...plain, endEpoch: 2 }, 2, 0, none],
    ['a function is given whole epochs', { ...plain, multiplier: (epoch) => epoch + 1 }, 2, 0, 2.4],
    ['or, without staircase, where in the epoch', { ...plain, staircase: false, multiplier: (epoch) => epoch + 1 }, 2, 1, 2.6],
    ['a base too', { ...plain, staircase: false, startEpoch: 1 }, 1, 2, 0.8 * 0.5 ** 0.5],
  ];
  for (const [text, schedule, epoch, batch, rate] of rows) {
    const found = scheduledRate(schedule, epoch, batch, 4);
    if (rate === undefined) t.equal(found, undefined, text);
    else close(t, found, rate, text);
  }
});

t.test('batches in an epoch, from what fit and fitDataset say', async (t) => {
  t.equal(stepsIn({ steps: 7 }), 7);
  t.equal(stepsIn({ steps: null, samples: 64, batchSize: 32 }), 2);
  t.equal(stepsIn({ steps: null, samples: 65, batchSize: 32 }), 3, 'the last batch is smaller');
  for (const steps of [null, undefined, Number.POSITIVE_INFINITY, 0])
    t.equal(stepsIn({ steps, samples: null, batchSize: null }), undefined);
});

t.test('better is less or more; NaN is never, equal is not', async (t) => {
  const rows: Array<[value: number, best: number | undefined, mode: 'min' | 'max', isIt: boolean]> = [
    [5, undefined, 'min', true],
    [4, 5, 'min', true],
    [5, 5, 'min', false],
    [6, 5, 'min', false],
    [6, 5, 'max', true],
    [4, 5, 'max', false],
    [Number.NaN, undefined, 'min', false],
    [Number.NaN, 5, 'max', false],
  ];
  for (const [value, best, mode, isIt] of rows) t.equal(isBetter(value, best, mode), isIt, `${value} after ${best}, ${mode}`);
});

t.test('wrong arguments are said at the call', async (t) => {
  const { learningRateWarmup: warmup, learningRateSchedule: schedule, bestModelCheckpoint: best } = hvd.callbacks;
  const rows: Array<[() => unknown, RegExp]> = [
    [() => warmup(undefined as never), /takes an object with initialLr, stepsPerEpoch/],
    [() => warmup({} as never), /initialLr is a number > 0, but was undefined/],
    [() => warmup({ initialLr: 0 }), /initialLr is a number > 0, but was 0/],
    [() => warmup({ initialLr: 1, warmupEpochs: 0 }), /warmupEpochs is a number > 0/],
    [() => warmup({ initialLr: 1, stepsPerEpoch: 1.5 }), /stepsPerEpoch is a whole number > 0/],
    [() => warmup({ initialLr: 1, momentumCorrection: 1 as never }), /momentumCorrection is true or false/],
    [() => warmup({ initialLr: 1, epochs: 5 } as never), /has no argument 'epochs'. It has .*warmupEpochs/],
    [() => schedule({ initialLr: 1 } as never), /multiplier is a number >= 0, or a function of the epoch/],
    [() => schedule({ initialLr: 1, multiplier: 1, startEpoch: 3, endEpoch: 3 }), /endEpoch is a number > startEpoch \(3\)/],
    [() => schedule({ initialLr: 1, multiplier: 1, staircase: 'no' as never }), /staircase is true or false/],
    [() => best({ url: '' }), /url says where model.save writes to/],
    [() => best({ url: 'x://y', mode: 'auto' as never }), /mode is 'min' or 'max', but was auto/],
    [() => best({ url: 'x://y', monitor: 3 as never }), /monitor is the name of a metric/],
  ];
  for (const [act, message] of rows) t.throws(act, { code: 'ERR_HVD_USAGE', message });
});

t.test('what only training shows: no size of the data set, no such metric, nothing to save with, no rate', async (t) => {
  await tf.setBackend('cpu');
  hvd.init();
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [1] })] });
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'meanSquaredError', metrics: ['mse'] });
  const endless = tf.data.generator(function* () {
    for (;;) yield { xs: tf.ones([2, 1]), ys: tf.ones([2, 1]) };
  } as never);
  const { learningRateWarmup, learningRateSchedule, bestModelCheckpoint } = hvd.callbacks;
  const fit = (callback: tf.Callback, batchesPerEpoch?: number) =>
    model.fitDataset(batchesPerEpoch ? endless : endless.take(3), { epochs: 1, verbose: 0, batchesPerEpoch, callbacks: [callback] });
  const unknown = { code: 'ERR_HVD_USAGE', message: /Give stepsPerEpoch here, or batchesPerEpoch to fitDataset/ };
  const gradual = { initialLr: 0.1, multiplier: 1, staircase: false };
  await t.rejects(fit(learningRateWarmup({ initialLr: 0.1 })), unknown);
  await t.rejects(fit(learningRateSchedule(gradual)), unknown);
  const works: Array<[tf.Callback, number?]> = [
    [learningRateSchedule({ initialLr: 0.1, multiplier: 1 })],
    [learningRateSchedule({ ...gradual, stepsPerEpoch: 3 })],
    [learningRateWarmup({ initialLr: 0.1 }), 3],
  ];
  for (const [callback, batchesPerEpoch] of works) t.equal((await fit(callback, batchesPerEpoch)).epoch.length, 1);
  await t.rejects(fit(learningRateSchedule({ initialLr: 0.1, multiplier: () => Number.NaN })), {
    code: 'ERR_HVD_USAGE',
    message: /the learning rate of epoch 0 came to NaN/,
  });
  await t.rejects(fit(bestModelCheckpoint({ url: 'nowhere://x', monitor: 'loss' })), {
    code: 'ERR_HVD_USAGE',
    message: /nothing here that saves to 'nowhere:\/\/x'/,
  });
  const save = { save: async () => ({ modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' as const } }) };
  await t.rejects(fit(bestModelCheckpoint({ url: save })), {
    code: 'ERR_HVD_USAGE',
    message: /there is no metric 'val_loss'; there are loss, mse. Give one of them as monitor, or validationData to fit/,
  });
  const rateless = Object.assign(tf.train.sgd(0.1), { learningRate: undefined });
  model.compile({ optimizer: rateless, loss: 'meanSquaredError' });
  await t.rejects(fit(learningRateWarmup({ initialLr: 0.1 }), 3), { code: 'ERR_HVD_USAGE', message: /SGD has no learning rate/ });
});
