/** syncBatchNormalization with one rank is TensorFlow.js's own layer: forward, gradients, moving averages, configuration, files. And the sums that travel. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { momentsOf, sumsOf } from '../../../src/tensorflow/sync_batch_norm';
import { largestDifference } from '../../helpers/small_network';

t.before(async () => {
  await tf.setBackend('cpu');
  hvd.init();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

type Args = hvd.SyncBatchNormalizationArgs;
const values = (shape: number[], seed: number): tf.Tensor => tf.randomUniform(shape, -2, 3, 'float32', seed);
const read = (one: tf.Tensor): Float32Array => one.dataSync() as Float32Array;

/** The layer applied in training, and all that follows from it: output, gradients of x, γ and β of a loss that weighs each output differently, weights afterwards, output of inference. */
function everythingOf(layer: tf.layers.Layer, x: tf.Tensor): Record<string, Float32Array> {
  layer.build(x.shape);
  layer.setWeights(layer.weights.map((weight, i) => values(weight.shape as number[], 50 + i).add(2.5)));
  const weigh = values(x.shape, 9);
  const trainable = layer.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const loss = (input: tf.Tensor): tf.Scalar => tf.sum(tf.mul(layer.apply(input, { training: true }) as tf.Tensor, weigh));
  const ofInput = tf.grad(loss as never)(x);
  const { value, grads } = tf.variableGrads(() => loss(x), trainable);
  return {
    loss: read(value),
    ofInput: read(ofInput),
    ...Object.fromEntries(trainable.map(({ name }, i) => [`gradient ${i}`, read(grads[name]!)])),
    ...Object.fromEntries(layer.getWeights().map((weight, i) => [`weight ${i}`, read(weight)])),
    training: read(layer.apply(x, { training: true }) as tf.Tensor),
    inference: read(layer.apply(x) as tf.Tensor),
  };
}

for (const [shape, args] of [
  [[6, 3], {}],
  [[4, 5, 2], { momentum: 0.7, epsilon: 0.01 }],
  [[2, 3, 3, 4], { axis: 3 }],
] as Array<[number[], Args]>)
  t.test(`one rank, [${shape}] ${JSON.stringify(args)}: as tf.layers.batchNormalization`, async (t) => {
    const x = values(shape, 1);
    const [own, plain] = [everythingOf(hvd.syncBatchNormalization(args), x), everythingOf(tf.layers.batchNormalization(args), x)];
    t.same(Object.keys(own), Object.keys(plain));
    for (const [name, expected] of Object.entries(plain))
      t.ok(largestDifference(own[name]!, expected) < 5e-5, `${name} is off by ${largestDifference(own[name]!, expected)}`);
    t.ok(largestDifference(own['weight 2']!, read(values([shape.at(-1)!], 52).add(2.5))) > 0.001, 'the moving average has moved');
  });

t.test('channels that are not last: as the transposed input, channels last', async (t) => {
  const x = values([3, 4, 2, 2], 1);
  const [first, last] = [hvd.syncBatchNormalization({ axis: 1 }), hvd.syncBatchNormalization({ axis: -1 })];
  const y = first.apply(x, { training: true }) as tf.Tensor;
  const expected = tf.transpose(last.apply(tf.transpose(x, [0, 2, 3, 1]), { training: true }) as tf.Tensor, [0, 3, 1, 2]);
  t.ok(largestDifference(read(y), read(expected)) < 1e-6);
  for (const [i, weight] of first.getWeights().entries()) t.ok(largestDifference(read(weight), read(last.getWeights()[i]!)) < 1e-6);
});

t.test('without scale or center, in training too', async (t) => {
  const x = values([8, 2], 1);
  const { mean, variance } = tf.moments(x, [0]);
  const hat = x.sub(mean).div(variance.add(1e-3).sqrt());
  for (const args of [{ scale: false }, { center: false }, { scale: false, center: false }]) {
    const layer = hvd.syncBatchNormalization(args);
    t.ok(largestDifference(read(layer.apply(x, { training: true }) as tf.Tensor), read(hat)) < 1e-5, JSON.stringify(args));
    t.equal(layer.weights.length, 4 - Object.keys(args).length);
    const gradient = tf.grad(((input: tf.Tensor) => tf.sum((layer.apply(input, { training: true }) as tf.Tensor).mul(x))) as never)(x);
    t.ok(read(gradient).every(Number.isFinite));
  }
});

t.test('configuration, names and files are those of the ordinary layer, which is what loads', async (t) => {
  const args: Args = { name: 'norm', axis: -1, momentum: 0.8, epsilon: 0.01, gammaInitializer: 'randomNormal', betaRegularizer: 'l1l2' };
  const [own, plain] = [hvd.syncBatchNormalization(args), tf.layers.batchNormalization(args)];
  t.same(own.getConfig(), plain.getConfig());
  t.equal(own.getClassName(), 'BatchNormalization');
  const count = (layer: tf.layers.Layer): number => Number(/\d+$/.exec(layer.name)![0]);
  const before = count(tf.layers.batchNormalization());
  t.equal(count(hvd.syncBatchNormalization()), before + 1, 'names count as the ordinary layer’s do');

  const model = tf.sequential({ layers: [tf.layers.dense({ units: 3, inputShape: [2] }), hvd.syncBatchNormalization({ name: 'norm' })] });
  model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
  const [xs, ys] = [values([6, 2], 1), values([6, 3], 2)];
  await model.fit(xs, ys, { epochs: 3, verbose: 0 });
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(saved!));
  t.equal(loaded.getLayer('norm').constructor, tf.layers.batchNormalization().constructor, 'an ordinary layer');
  t.same(read(loaded.predict(xs) as tf.Tensor), read(model.predict(xs) as tf.Tensor), 'that predicts the same');
});

t.test('no tensor is left by training steps', async (t) => {
  const layer = hvd.syncBatchNormalization();
  const x = values([4, 2], 1);
  const step = (): void =>
    tf.tidy(() => void tf.grad(((input: tf.Tensor) => tf.sum((layer.apply(input, { training: true }) as tf.Tensor).square())) as never)(x));
  step();
  const before = tf.memory().numTensors;
  step();
  t.equal(tf.memory().numTensors, before);
});

t.test('sums of parts of any size give mean and variance of the whole; a large mean does not swallow the variance', async (t) => {
  const parts = [[1, 2, 4], [7], [10, -3, 0.5, 8]];
  for (const offset of [0, 1e6]) {
    const momentsIn = (part: number[]): [number, number] => {
      const mean = part.reduce((sum, x) => sum + x, 0) / part.length;
      return [mean, part.reduce((sum, x) => sum + (x - mean) ** 2, 0) / part.length];
    };
    const shifted = parts.map((part) => part.map((x) => x + offset));
    const sums = new Float64Array(3);
    for (const part of shifted) {
      const [mean, variance] = momentsIn(part);
      for (const [i, value] of sumsOf(part.length, [mean], [variance]).entries()) sums[i]! += value;
    }
    const [mean, variance] = momentsIn(shifted.flat());
    const found = momentsOf(sums);
    t.ok(Math.abs(found.mean[0]! - mean) < 1e-9 * Math.max(1, offset), `mean ${found.mean[0]} for ${mean}`);
    t.ok(Math.abs(found.variance[0]! / variance - 1) < 1e-3, `variance ${found.variance[0]} for ${variance}`);
  }
  t.same([...momentsOf(sumsOf(3, [0.1], [0])).variance], [0], 'a constant channel has none, never less');
});

t.test('what it refuses', async (t) => {
  t.throws(() => hvd.syncBatchNormalization(null as never), { code: 'ERR_HVD_USAGE' });
  t.throws(() => hvd.syncBatchNormalization('norm' as never), { code: 'ERR_HVD_USAGE', message: /takes the arguments of tf.layers/ });
  t.throws(() => hvd.syncBatchNormalization().apply(tf.ones([2, 2, 2, 2, 2]), { training: true }), /not implemented for array of rank 5/);
});
