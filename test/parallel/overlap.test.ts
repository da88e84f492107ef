/**
 * Gradients that leave while backpropagation still runs give the bits of those that leave after it, in every way the optimizer can be set, for models of many shapes; and a step that fails in the middle is
 * said, never mixed up with the next.
 */
import * as tf from '@tensorflow/tfjs';
import t, { type Test } from 'tap';
import * as hvd from '../../src/index';
import { bytesOf, smallBatch, smallNetwork, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const most = size > 1 ? hvd.addProcessSet(everyone.slice(1)) : hvd.globalProcessSet;
const STEPS = 3;

t.before(async () => {
  await hvd.selectBackend('wasm');
});
t.afterEach(() => tf.disposeVariables());

const softmaxLoss = (model: tf.LayersModel, step: number) => (): tf.Scalar => {
  const { xs, ys } = smallBatch((step * size + rank) * 4, 4);
  return tf.metrics.categoricalCrossentropy(ys, model.apply(xs, { training: true }) as tf.Tensor).mean() as tf.Scalar;
};

/** A layer used twice, a branch around it, one that is frozen, embeddings, and a branch that only every other rank takes in every other step. */
function branched(): { model: tf.LayersModel; loss: (step: number) => () => tf.Scalar } {
  const initial = (n: number) => tf.initializers.glorotUniform({ seed: n });
  const words = tf.input({ shape: [3], dtype: 'int32' });
  const embedded = tf.layers.embedding({ inputDim: 9, outputDim: 4, embeddingsInitializer: initial(1) }).apply(words) as tf.SymbolicTensor;
  const flat = tf.layers.flatten().apply(embedded) as tf.SymbolicTensor;
  const shared = tf.layers.dense({ units: 12, activation: 'tanh', kernelInitializer: initial(2) });
  const twice = shared.apply(shared.apply(flat)) as tf.SymbolicTensor;
  const frozen = tf.layers.dense({ units: 12, kernelInitializer: initial(3), trainable: false }).apply(flat) as tf.SymbolicTensor;
  const sum = tf.layers.add().apply([twice, frozen, flat]) as tf.SymbolicTensor;
  const common = tf.layers.dense({ units: 1, kernelInitializer: initial(4) }).apply(sum) as tf.SymbolicTensor;
  const rare = tf.layers.dense({ units: 1, kernelInitializer: initial(5) }).apply(sum) as tf.SymbolicTensor;
  const model = tf.model({ inputs: words, outputs: [common, rare] });
  const loss = (step: number) => (): tf.Scalar => {
    const x = tf.tensor2d(
      [0, 1, 2, 3, 4, 5].map((n) => (n * (rank + 2) + step) % 9),
      [2, 3],
      'int32',
    );
    const [a, b] = model.apply(x) as tf.Tensor[];
    const mean = a!.square().mean();
    return ((rank + step) % 2 === 0 ? mean.add(b!.abs().mean()) : mean) as tf.Scalar;
  };
  return { model, loss };
}

const models: Record<string, () => { model: tf.LayersModel; loss: (step: number) => () => tf.Scalar }> = {
  convolutions: () => {
    const model = smallNetwork(3);
    return { model, loss: (step) => softmaxLoss(model, step) };
  },
  'a model with branches': branched,
};
const settings: Record<string, (model: tf.LayersModel) => hvd.DistributedOptimizerOptions> = {
  'as it comes': () => ({}),
  'in three groups': () => ({ groups: 3 }),
  'in lists, summed': (model) => {
    const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    return { op: 'sum', groups: [[variables[0]!, variables.at(-1)!], [variables[1]!]] };
  },
  compressed: () => ({ compression: hvd.Compression.fp16, groups: 2, gradientPredivideFactor: 2 }),
  'by Adasum': () => ({ op: 'adasum', groups: 2 }),
  'on a process set': () => ({ processSet: most, groups: 4 }),
};
/** How a step is made: all give the same bits. */
const ways: Record<string, (optimizer: tf.Optimizer, loss: () => tf.Scalar, variables: tf.Variable[] | undefined) => void> = {
  minimize: (optimizer, loss, variables) => void optimizer.minimize(loss, false, variables),
  'compute, then apply': (optimizer, loss, variables) => {
    const { value, grads } = optimizer.computeGradients(loss, variables);
    optimizer.applyGradients(variables ? variables.map(({ name }) => ({ name, tensor: grads[name]! })) : grads);
    tf.dispose([value, grads]);
  },
};

/** With a list of variables and without; the weights after some steps. */
function trained(
  make: (typeof models)[string],
  options: (model: tf.LayersModel) => hvd.DistributedOptimizerOptions,
  overlap: boolean,
  way: string,
  isListed: boolean,
): Uint8Array {
  tf.disposeVariables();
  const { model, loss } = make();
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(0.02, 0.9), { ...options(model), overlap });
  const variables = isListed ? model.trainableWeights.map((weight) => weight.read() as tf.Variable) : undefined;
  let tensors = 0;
  for (let step = 0; step < STEPS; step += 1) {
    tf.tidy(() => ways[way]!(optimizer, loss(step), variables));
    if (step === 1) tensors = tf.memory().numTensors;
  }
  t.equal(tf.memory().numTensors, tensors, 'no tensor is left over');
  const bytes = bytesOf(weightsOf(model)).slice();
  optimizer.dispose();
  model.dispose();
  return bytes;
}

/** In every setting, each model at least once; gradients by name where only the way they come matters. */
const cases = Object.keys(settings).flatMap((setting, i) =>
  i < 2
    ? Object.keys(models).flatMap((kind) => [true, false].map((isListed) => ({ kind, setting, isListed })))
    : [{ kind: 'a model with branches', setting, isListed: true }],
);
for (const { kind, setting, isListed } of cases) {
  t.test(`${kind}, ${setting}, gradients ${isListed ? 'as a list' : 'by name'}: the same bits with overlap and without`, async (t) => {
    const [make, options] = [models[kind]!, settings[setting]!];
    const plain = trained(make, options, false, 'minimize', isListed);
    t.strictSame(trained(make, options, true, 'minimize', isListed), plain, 'overlapped');
    t.strictSame(trained(make, options, true, 'compute, then apply', isListed), plain, 'computed and applied');
    t.strictNotSame(plain, bytesOf(weightsOf(make().model)), 'it has learnt');
  });
}

t.test('minimize inside another gradient', async (t) => {
  const w = tf.variable(tf.tensor1d([1, 2]));
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1));
  const slope = tf.grad((x: tf.Tensor) => {
    optimizer.minimize(() => w.mul(rank + 1).sum() as tf.Scalar, false, [w]);
    return x.square();
  });
  t.equal(slope(tf.scalar(3)).dataSync()[0], 6);
  const mean = everyone.reduce((sum, r) => sum + r + 1, 0) / size;
  t.ok(Math.abs(w.dataSync()[0]! - (1 - mean)) < 1e-6);
});

/** Two variables in two buckets; backpropagation reaches b, then a. */
function twoBuckets(): { a: tf.Variable; b: tf.Variable; optimizer: tf.Optimizer } {
  const [a, b] = [tf.variable(tf.tensor1d([1, 2])), tf.variable(tf.tensor1d([3, 4]))];
  return { a, b, optimizer: hvd.DistributedOptimizer(tf.train.sgd(1), { groups: 2 }) };
}
const failing = (x: tf.Tensor): tf.Tensor =>
  (tf.customGrad as unknown as (f: (x: tf.Tensor) => { value: tf.Tensor; gradFunc: () => tf.Tensor }) => (x: tf.Tensor) => tf.Tensor)(
    (x) => ({
      value: x.clone(),
      gradFunc: () => {
        throw new Error('no gradient today');
      },
    }),
  )(x);

t.test('a loss that throws on every rank: nothing had left, the next step is right', async (t: Test) => {
  const { a, b, optimizer } = twoBuckets();
  const broken = (): tf.Scalar => {
    throw new Error('no loss today');
  };
  t.throws(() => optimizer.minimize(broken, false, [a, b]), { message: 'no loss today' });
  optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]);
  t.strictSame([...a.dataSync(), ...b.dataSync()], [-2, -2, 2, 2]);
});

t.test(
  'a gradient that throws on one rank after a bucket has left: an error on every rank, applied on none, and the next step is right',
  async (t: Test) => {
    const { a, b, optimizer } = twoBuckets();
    const loss = (): tf.Scalar => (rank === size - 1 ? failing(a) : a).mul(b).sum() as tf.Scalar;
    const expected =
      rank === size - 1 ? { message: 'no gradient today' } : { code: 'ERR_HVD_MISMATCH', message: /Another rank failed in the middle/ };
    t.throws(() => optimizer.minimize(loss, false, [a, b]), expected);
    t.strictSame([...a.dataSync(), ...b.dataSync()], [1, 2, 3, 4]);
    optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]);
    t.strictSame([...a.dataSync(), ...b.dataSync()], [-2, -2, 2, 2]);
  },
);

t.test('a gradient that throws on every rank after a bucket has left: said, and the next step is right', async (t: Test) => {
  const { a, b, optimizer } = twoBuckets();
  t.throws(() => optimizer.minimize(() => failing(a).mul(b).sum() as tf.Scalar, false, [a, b]), { message: 'no gradient today' });
  optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]);
  t.strictSame([...a.dataSync(), ...b.dataSync()], [-2, -2, 2, 2]);
});
