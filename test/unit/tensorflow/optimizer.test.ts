/** DistributedOptimizer in one process without a launcher: to the bit what the plain optimizer does, by object and by name; what it refuses. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { bytesOf, smallBatch, smallNetwork, trainStep, weightsOf } from '../../helpers/small_network';

t.before(async () => {
  await hvd.selectBackend('wasm');
});

t.test('before init() it can be made, but not used', async (t) => {
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1));
  const x = tf.variable(tf.scalar(1));
  t.throws(() => optimizer.minimize(() => x.square() as tf.Scalar), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  optimizer.minimize(() => x.square() as tf.Scalar);
  t.equal(x.dataSync()[0], -1);
  tf.dispose(x);
});

const loss = 'categoricalCrossentropy';
const makers: Record<string, () => tf.Optimizer> = {
  sgd: () => tf.train.sgd(0.05),
  momentum: () => tf.train.momentum(0.05, 0.9),
  rmsprop: () => tf.train.rmsprop(0.01, 0.9, 0.5),
  adam: () => tf.train.adam(0.01),
  adamax: () => tf.train.adamax(0.01),
  adagrad: () => tf.train.adagrad(0.1),
  adadelta: () => tf.train.adadelta(1),
  nadam: () => hvd.train.nadam(0.01),
  adamw: () => hvd.train.adamw(0.01),
  lars: () => hvd.train.lars(1),
  lamb: () => hvd.train.lamb(0.01),
};

for (const [name, make] of Object.entries(makers)) {
  t.test(`${name}: the bits of the plain optimizer in fit, fitDataset, trainOnBatch and minimize`, async (t) => {
    const results: Float32Array[] = [];
    for (const optimizer of [make(), hvd.DistributedOptimizer(make(), { gradientPredivideFactor: 3 })]) {
      const model = smallNetwork(1);
      model.compile({ optimizer, loss });
      const { xs, ys } = smallBatch(0, 12);
      await model.fit(xs, ys, { batchSize: 4, epochs: 2, shuffle: false, verbose: 0 });
      await trainStep(model, 12, 4);
      const dataset = tf.data.array([smallBatch(20, 4), smallBatch(24, 4)] as never) as tf.data.Dataset<tf.TensorContainer>;
      await model.fitDataset(dataset, { epochs: 1, verbose: 0 });
      const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
      optimizer.minimize(() => tf.addN(variables.map((one) => one.square().mean())) as tf.Scalar, false, variables);
      results.push(weightsOf(model));
    }
    t.same(bytesOf(results[1]!), bytesOf(results[0]!));
  });
}

t.test('by name, with the learning rates of model.compile', async (t) => {
  for (const name of ['sgd', 'adam', 'adamax', 'adagrad', 'adadelta', 'rmsprop', 'SGD', 'Adam', 'RMSProp']) {
    const model = smallNetwork(1);
    model.compile({ optimizer: name, loss });
    const byName = hvd.DistributedOptimizer(name);
    t.same(byName.getConfig(), model.optimizer.getConfig(), name);
    t.equal(byName.getClassName(), model.optimizer.getClassName());
  }
});

t.test('the learning rate can be read and set, for rates that are baked into a tensor too', async (t) => {
  type WithRate = tf.Optimizer & { learningRate: number };
  for (const make of [makers.sgd!, makers.momentum!, makers.adagrad!]) {
    const optimizer = hvd.DistributedOptimizer(make()) as WithRate;
    const [x, y] = [tf.variable(tf.scalar(1)), tf.variable(tf.scalar(1))];
    optimizer.learningRate = 0;
    t.equal(optimizer.learningRate, 0);
    optimizer.minimize(() => x.square() as tf.Scalar, false, [x]);
    t.equal(x.dataSync()[0], 1, 'nothing moves at rate 0');
    optimizer.learningRate = 0.5;
    optimizer.minimize(() => y.square() as tf.Scalar, false, [y]);
    t.not(y.dataSync()[0], 1);
    tf.dispose([x, y]);
  }
});

t.test('no tensor is left by steps, nor by dispose()', async (t) => {
  const before = tf.memory().numTensors;
  const x = tf.tidy(() => tf.variable(tf.tensor1d([1, 2])));
  for (const passes of [1, 2]) {
    const optimizer = hvd.DistributedOptimizer(tf.train.adagrad(0.1), { backwardPassesPerStep: passes });
    for (let step = 0; step < 3; step += 1) optimizer.minimize(() => x.square().sum() as tf.Scalar);
    optimizer.dispose();
  }
  tf.dispose(x);
  t.equal(tf.memory().numTensors, before);
});

const fourPasses = (inner: tf.Optimizer): tf.Optimizer => hvd.DistributedOptimizer(inner, { backwardPassesPerStep: 4 });

t.test('adam with four passes a step: weights that are taken and given back change nothing, to a new one neither', async (t) => {
  const run = async (goOn: (optimizer: tf.Optimizer) => Promise<tf.Optimizer>): Promise<number[]> => {
    const x = tf.variable(tf.tensor1d([1, -2, 3]));
    let optimizer = fourPasses(tf.train.adam(0.05));
    for (let call = 0; call < 24; call += 1) {
      if (call === 12) optimizer = await goOn(optimizer);
      optimizer.minimize(() => x.square().sum() as tf.Scalar, false, [x]);
    }
    const values = [...x.dataSync()];
    x.dispose();
    return values;
  };
  const whole = await run(async (same) => same);
  const restored = await run(async (same) => {
    await same.setWeights(await same.getWeights());
    return same;
  });
  const moved = await run(async (old) => {
    const inner = tf.train.adam(0.05);
    await inner.setWeights(await old.getWeights());
    return fourPasses(inner);
  });
  t.same(restored, whole);
  t.same(moved, whole);
});

t.test('adam that has stepped by itself, then is wrapped with four passes a step: its powers of beta are those of its steps', async (t) => {
  const x = tf.variable(tf.tensor1d([1, -2, 3]));
  const inner = tf.train.adam(0.05);
  for (let step = 0; step < 30; step += 1) inner.minimize(() => x.square().sum() as tf.Scalar, false, [x]);
  const powers = (): number[] => {
    const { accBeta1, accBeta2 } = inner as unknown as Record<string, tf.Variable>;
    return [accBeta1!, accBeta2!].map((power) => power.dataSync()[0]!);
  };
  const before = powers();
  fourPasses(inner);
  t.same(powers(), before);
  x.dispose();
});

t.test('what is wrong is said at the call', async (t) => {
  const sgd = tf.train.sgd(1);
  const wrong = (options: object, message: RegExp, optimizer: unknown = sgd): void =>
    void t.throws(() => hvd.DistributedOptimizer(optimizer as tf.Optimizer, options as never), { code: 'ERR_HVD_USAGE', message });
  wrong({}, /no optimizer is named 'nadamm'/, 'nadamm');
  wrong({}, /no optimizer is named 'toString'/, 'toString');
  wrong({}, /takes a tf.Optimizer/, null);
  wrong({}, /takes a tf.Optimizer/, {});
  wrong({}, /wrapped already/, hvd.DistributedOptimizer(tf.train.sgd(1)));
  wrong({ overlap: 1 as unknown as boolean }, /overlap is true or false, but was 1/);
  wrong({ op: 'min' }, /'min'/);
  for (const options of [null, 3, 'sum']) wrong(options as never, /DistributedOptimizer takes its options as an object with name, op, /);
  wrong({ backward: 2 }, /no option 'backward'/);
  for (const passes of [0, -1, 1.5, '2']) wrong({ backwardPassesPerStep: passes }, /backwardPassesPerStep/);
  for (const factor of [0, -1, Number.NaN, '2']) wrong({ gradientPredivideFactor: factor }, /gradientPredivideFactor/);
  wrong({ gradientPredivideFactor: 2, op: 'sum' }, /needs the op 'average'/);
  t.doesNotThrow(() => hvd.DistributedOptimizer(tf.train.sgd(1), { op: 'sum', name: undefined }));
});
