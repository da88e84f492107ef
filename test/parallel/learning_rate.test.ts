/**
 * Callbacks in training, on every rank: the rate that each batch was really trained with (how far a weight moved) against Horovod's formulas, momentum correction against the formulas of Goyal et
 * al., and who saves the best model.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { smallBatch, smallNetwork } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const { learningRateWarmup, learningRateSchedule, bestModelCheckpoint, metricAverage } = hvd.callbacks;

t.before(async () => {
  await hvd.selectBackend();
});
t.afterEach(() => tf.disposeVariables());

type Settings = tf.Optimizer & { learningRate: number; momentum?: number };
/** One weight w from 0 on; its gradient in a batch is the batch's mean x. */
function oneWeight(optimizer: tf.Optimizer): tf.LayersModel {
  const layer = tf.layers.dense({ units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros' });
  const model = tf.sequential({ layers: [layer] });
  model.compile({ optimizer, loss: ((_: tf.Tensor, output: tf.Tensor) => tf.mean(output)) as never });
  return model;
}
interface Seen {
  readonly weights: number[];
  readonly rates: number[];
  readonly momenta: Array<number | undefined>;
  readonly momentaAfter: Array<number | undefined>;
}
/** Stands behind the callbacks under test. */
function recorder(): { seen: Seen; callback: tf.Callback } {
  const seen: Seen = { weights: [], rates: [], momenta: [], momentaAfter: [] };
  class Recorder extends tf.Callback {
    private settings(): Settings {
      return (this as unknown as { model: { optimizer: Settings } }).model.optimizer;
    }
    override async onBatchBegin(): Promise<void> {
      seen.rates.push(this.settings().learningRate);
      seen.momenta.push(this.settings().momentum);
    }
    override async onBatchEnd(): Promise<void> {
      seen.momentaAfter.push(this.settings().momentum);
      const model = (this as unknown as { model: tf.LayersModel }).model;
      seen.weights.push(model.getWeights()[0]!.dataSync()[0]!);
    }
  }
  return { seen, callback: new Recorder() };
}
const STEPS = 4;
/** A sample is a batch; the same on every rank. */
async function train(optimizer: tf.Optimizer, callbacks: tf.Callback[], epochs: number, xs = [1, 1, 1, 1]) {
  const { seen, callback } = recorder();
  const x = tf.tensor2d(xs, [STEPS, 1]);
  const { history } = await oneWeight(optimizer).fit(x, x, {
    batchSize: 1,
    epochs,
    shuffle: false,
    verbose: 0,
    callbacks: [...callbacks, callback],
  });
  x.dispose();
  return { seen, history };
}
const isClose = (found: ArrayLike<number>, expected: readonly number[], tolerance: number): boolean =>
  found.length === expected.length && expected.every((value, i) => Math.abs(value - found[i]!) <= tolerance);
const batches = (epochs: number): number[] => Array.from({ length: epochs * STEPS }, (_, i) => i / STEPS);
const warmed = (lr: number, warmupEpochs: number, epoch: number): number =>
  epoch >= warmupEpochs ? lr : (lr / size) * ((epoch * (size - 1)) / warmupEpochs + 1);

for (const warmupEpochs of [2, 1.5])
  t.test(`warm-up over ${warmupEpochs} epochs: every batch is trained with the formula's rate`, async (t) => {
    const callbacks = [learningRateWarmup({ initialLr: 0.25, warmupEpochs })];
    const { seen, history } = await train(hvd.DistributedOptimizer(tf.train.sgd(9)), callbacks, 3);
    const expected = batches(3).map((epoch) => warmed(0.25, warmupEpochs, epoch));
    t.ok(isClose(seen.rates, expected, 1e-12), `${seen.rates} for ${expected}`);
    const moved = seen.weights.map((weight, i) => (seen.weights[i - 1] ?? 0) - weight);
    t.ok(isClose(moved, expected, 1e-5), `steps of ${moved}`);
    t.equal(history.lr![1], 0.25, 'logs tell the rate an epoch ended with: warm-up ends at the whole one');
  });

t.test('a schedule takes over after warm-up, whichever stands first; after its end the last rate stays', async (t) => {
  for (const isScheduleFirst of [false, true]) {
    const callbacks = [
      learningRateWarmup({ initialLr: 0.5, warmupEpochs: 1 }),
      learningRateSchedule({ initialLr: 0.5, multiplier: 0.1, startEpoch: 1, endEpoch: 3 }),
    ];
    if (isScheduleFirst) callbacks.reverse();
    const { seen } = await train(hvd.DistributedOptimizer('adam'), callbacks, 4);
    const expected = batches(4).map((epoch) => (epoch < 1 ? warmed(0.5, 1, epoch) : 0.5 * 0.1 ** (Math.min(2, Math.floor(epoch)) - 1)));
    t.ok(isClose(seen.rates, expected, 1e-12), `${seen.rates} for ${expected}`);
  }
});

t.test('fitDataset: a schedule without staircase, the size known from the data set, from batchesPerEpoch, or given', async (t) => {
  const dataset = tf.data.array([1, 1, 1, 1].map((x) => ({ xs: tf.tensor2d([x], [1, 1]), ys: tf.tensor2d([x], [1, 1]) })));
  const unsized = tf.data.generator(function* () {
    for (let i = 0; i < STEPS; i += 1) yield { xs: tf.tensor2d([1], [1, 1]), ys: tf.tensor2d([1], [1, 1]) };
  } as never);
  const expected = batches(2).map((epoch) => 0.2 * Math.cos(epoch / 2));
  for (const [data, batchesPerEpoch, stepsPerEpoch] of [
    [dataset, undefined, undefined],
    [unsized.repeat(2), STEPS, undefined],
    [unsized, undefined, STEPS],
  ] as Array<[tf.data.Dataset<tf.TensorContainer>, number?, number?]>) {
    const { seen, callback } = recorder();
    const schedule = learningRateSchedule({ initialLr: 0.2, multiplier: (epoch) => Math.cos(epoch / 2), staircase: false, stepsPerEpoch });
    await oneWeight(hvd.DistributedOptimizer('sgd')).fitDataset(data, {
      epochs: 2,
      verbose: 0,
      batchesPerEpoch,
      callbacks: [schedule, callback],
    });
    t.ok(isClose(seen.rates, expected, 1e-12), `${seen.rates} for ${expected}`);
  }
});

/** Rates of a warm-up of one epoch and a schedule that multiplies by 4, then by 1/8. */
const turbulent = (momentumCorrection?: boolean): tf.Callback[] => [
  learningRateWarmup({ initialLr: 0.1, warmupEpochs: 1, momentumCorrection }),
  learningRateSchedule({ initialLr: 0.1, multiplier: (epoch) => (epoch === 1 ? 4 : 0.5), startEpoch: 1, momentumCorrection }),
];
const turbulentRates = batches(3).map((epoch) => (epoch < 1 ? warmed(0.1, 1, epoch) : epoch < 2 ? 0.4 : 0.05));
const xs = [1, -2, 3, 0.5];

for (const isNesterov of [false, true])
  t.test(`momentumCorrection: true, ${isNesterov ? 'Nesterov' : 'momentum'}: m · new / old for the batch of the change`, async (t) => {
    const optimizer = hvd.DistributedOptimizer(tf.train.momentum(0.1, 0.9, isNesterov));
    const { seen } = await train(optimizer, turbulent(true), 3, xs);
    const momenta = turbulentRates.map((rate, i) => (0.9 * rate) / (turbulentRates[i - 1] ?? 0.1));
    t.ok(isClose(seen.momenta as number[], momenta, 1e-12), `${seen.momenta} for ${momenta}`);
    t.ok(
      seen.momentaAfter.every((momentum) => momentum === 0.9),
      'restored exactly at the end of the batch',
    );
    // And the steps are made with it.
    let [velocity, weight] = [0, 0];
    const weights = turbulentRates.map((rate, i) => {
      const gradient = xs[i % STEPS]!;
      velocity = momenta[i]! * velocity + gradient;
      weight -= rate * (isNesterov ? gradient + momenta[i]! * velocity : velocity);
      return weight;
    });
    t.ok(isClose(seen.weights, weights, 1e-4), `${seen.weights} for ${weights}`);
  });

t.test('without the option tf.train.momentum trains as the momentum of Keras does with the correction', async (t) => {
  const { seen } = await train(hvd.DistributedOptimizer(tf.train.momentum(0.1, 0.9)), turbulent(), 3, xs);
  t.ok(seen.momenta.every((momentum) => momentum === 0.9));
  // v ← m · (new / old) · v + rate · g, w ← w − v
  let [velocity, weight] = [0, 0];
  const weights = turbulentRates.map((rate, i) => {
    velocity = 0.9 * (rate / (turbulentRates[i - 1] ?? rate)) * velocity + rate * xs[i % STEPS]!;
    weight -= velocity;
    return weight;
  });
  t.ok(isClose(seen.weights, weights, 1e-5), `${seen.weights} for ${weights}`);
});

t.test('without the option RMSProp, whose velocity holds the rate, is corrected; Adam and SGD have nothing to correct', async (t) => {
  const { seen } = await train(hvd.DistributedOptimizer(tf.train.rmsprop(0.1, 0.9, 0.5)), turbulent(), 3, xs);
  const momenta = turbulentRates.map((rate, i) => (0.5 * rate) / (turbulentRates[i - 1] ?? 0.1));
  t.ok(isClose(seen.momenta as number[], momenta, 1e-12), `${seen.momenta} for ${momenta}`);
  t.ok(seen.momentaAfter.every((momentum) => momentum === 0.5));
  const off = await train(hvd.DistributedOptimizer(tf.train.rmsprop(0.1, 0.9, 0.5)), turbulent(false), 3, xs);
  t.ok(off.seen.momenta.every((momentum) => momentum === 0.5));
  for (const name of ['sgd', 'adam']) {
    const { seen } = await train(hvd.DistributedOptimizer(name), turbulent(true), 3, xs);
    t.ok(isClose(seen.rates, turbulentRates, 1e-12) && seen.momenta.every((momentum) => momentum === undefined), name);
  }
});

t.test('bestModelCheckpoint: rank 0 saves when the average improves; the ranks stay together', async (t) => {
  const saved: Array<{ epoch: number; optimizer: string }> = [];
  let epoch = 0;
  const save = async (artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> => {
    const { optimizer_config: config } = artifacts.trainingConfig as unknown as { optimizer_config: { class_name: string } };
    // Others train on meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 50));
    saved.push({ epoch, optimizer: config.class_name });
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  };
  const router = (url: string | string[]) => (url === 'test://best' ? { save } : (null as never));
  tf.io.registerSaveRouter(router);
  // What each epoch's metric is, by rank: on rank 0 it falls for ever, on average it does not.
  const metric = [5, 4, 6, 3, Number.NaN, 2].map((mean, i) => (size === 1 ? mean : rank === 0 ? mean - i : rank === 1 ? mean + i : mean));
  class Metric extends tf.Callback {
    override async onEpochEnd(at: number, logs: Record<string, number>): Promise<void> {
      epoch = at;
      logs.judged = metric[at]!;
    }
  }
  for (const [mode, epochs] of [
    ['min', [0, 1, 3, 5]],
    ['max', [0, 2]],
  ] as const) {
    saved.length = 0;
    const model = smallNetwork(4);
    model.compile({ optimizer: hvd.DistributedOptimizer('adam'), loss: 'categoricalCrossentropy' });
    const { xs, ys } = smallBatch(rank * 8, 8);
    const { history } = await model.fit(xs, ys, {
      batchSize: 4,
      epochs: metric.length,
      verbose: 0,
      callbacks: [new Metric(), metricAverage(), bestModelCheckpoint({ url: 'test://best', monitor: 'judged', mode })],
    });
    const expected = rank === 0 ? epochs.map((at) => ({ epoch: at, optimizer: 'Adam' })) : [];
    t.same(saved, expected, `${mode}, rank ${rank}`);
    t.same((history.judged as number[]).slice(0, 4), [5, 4, 6, 3]);
    tf.dispose([xs, ys]);
  }
});

t.test('without a metric of that name every rank is told, and none waits', async (t) => {
  const model = smallNetwork(4);
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'categoricalCrossentropy' });
  const { xs, ys } = smallBatch(rank * 8, 8);
  const save = async (): Promise<never> => {
    throw new Error('nothing is saved');
  };
  await t.rejects(model.fit(xs, ys, { verbose: 0, callbacks: [bestModelCheckpoint({ url: { save }, monitor: 'val_acc' })] }), {
    code: 'ERR_HVD_USAGE',
    message: /no metric 'val_acc'; there are loss/,
  });
  tf.dispose([xs, ys]);
});
