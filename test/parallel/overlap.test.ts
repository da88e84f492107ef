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
  await hvd.selectBackend();
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
const failing = (x: tf.Tensor, error = new Error('no gradient today')): tf.Tensor =>
  (tf.customGrad as unknown as (f: (x: tf.Tensor) => { value: tf.Tensor; gradFunc: () => tf.Tensor }) => (x: tf.Tensor) => tf.Tensor)(
    (x) => ({
      value: x.clone(),
      gradFunc: () => {
        throw error;
      },
    }),
  )(x);

/** The step fails on every rank, on one with its own error; the next one is right on all. */
function failsOnce(t: Test, optimizer: tf.Optimizer, loss: () => tf.Scalar, isCause: boolean, own: { message: string }): void {
  const [a, b] = Object.values(tf.engine().registeredVariables) as [tf.Variable, tf.Variable];
  t.throws(
    () => optimizer.minimize(loss, false, [a, b]),
    isCause ? own : { code: 'ERR_HVD_STEP', message: /Another rank failed in the middle/ },
  );
  t.strictSame([...a.dataSync(), ...b.dataSync()], [1, 2, 3, 4], 'applied on none');
  optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]);
  t.strictSame([...a.dataSync(), ...b.dataSync()], [-2, -2, 2, 2], 'the next step');
}
const everybody = { every: () => true, one: (): boolean => rank === size - 1 };
for (const [who, isCause] of Object.entries(everybody).map(([who, is]) => [who, is()] as const)) {
  t.test(`a loss that throws on ${who} rank, before anything has left`, async (t: Test) => {
    const { a, b, optimizer } = twoBuckets();
    const broken = (): tf.Scalar => {
      if (isCause) throw new Error('no loss today');
      return a.mul(b).sum();
    };
    failsOnce(t, optimizer, broken, isCause, { message: 'no loss today' });
  });
  t.test(`a gradient that throws on ${who} rank, after a bucket has left`, async (t: Test) => {
    const { a, b, optimizer } = twoBuckets();
    failsOnce(t, optimizer, () => (isCause ? failing(a) : a).mul(b).sum() as tf.Scalar, isCause, { message: 'no gradient today' });
  });
}
t.test("an error of this package's that the user's code throws is this rank's alone, too", async (t: Test) => {
  const { a, b, optimizer } = twoBuckets();
  const isCause = rank === size - 1;
  const own = new hvd.UsageError('not like that');
  failsOnce(t, optimizer, () => (isCause ? failing(a, own) : a).mul(b).sum() as tf.Scalar, isCause, { message: 'not like that' });
});
t.test(
  'the error comes at once, though the other ranks come to the step later',
  { skip: size === 1 && 'needs two ranks' },
  async (t: Test) => {
    const { a, b, optimizer } = twoBuckets();
    if (rank === 0) {
      t.throws(() => optimizer.minimize(() => failing(a).mul(b).sum() as tf.Scalar, false, [a, b]), { message: 'no gradient today' });
      hvd.barrier();
    } else {
      hvd.barrier();
      t.throws(() => optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]), { code: 'ERR_HVD_STEP' });
    }
    optimizer.minimize(() => a.mul(b).sum() as tf.Scalar, false, [a, b]);
    t.strictSame([...a.dataSync(), ...b.dataSync()], [-2, -2, 2, 2]);
  },
);

t.test('a loss that reaches no variable on some ranks counts as zeros there; on all, it is refused on all', async (t: Test) => {
  const [a, b] = [tf.variable(tf.tensor1d([1, 2])), tf.variable(tf.tensor1d([3, 4]))];
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(size), { groups: 2 });
  const nothing = (): tf.Scalar => tf.scalar(1);
  for (const list of [[a, b], undefined]) {
    optimizer.minimize(() => (rank === 0 ? (a.sum() as tf.Scalar) : nothing()), false, list);
    t.throws(() => optimizer.minimize(nothing, false, list), size > 1 ? { code: 'ERR_HVD_USAGE', message: /reaches none/ } : Error);
  }
  t.strictSame([...a.dataSync(), ...b.dataSync()], [-1, 0, 3, 4]);
});

t.test('variables without a name, by name: slots stay with their variables when more come', async (t: Test) => {
  // Their names are numbers, which objects would put into an order of their own.
  const [late, early] = [tf.variable(tf.scalar(1)), tf.variable(tf.scalar(1))];
  const [one, other] = [tf.variable(tf.scalar(1), true, 'early'), tf.variable(tf.scalar(1), true, 'late')];
  const train = (optimizer: tf.Optimizer, early: tf.Variable, late: tf.Variable, isListed: boolean): number[] => {
    optimizer.minimize(() => early.square() as tf.Scalar, false, isListed ? [early] : undefined);
    for (let step = 0; step < 2; step += 1)
      optimizer.minimize(() => early.square().add(late.mul(3)) as tf.Scalar, false, isListed ? [early, late] : undefined);
    return [early.dataSync()[0]!, late.dataSync()[0]!];
  };
  const options = { processSet: hvd.globalProcessSet };
  const listed = train(hvd.DistributedOptimizer(tf.train.adam(0.1), options), one, other, true);
  tf.dispose([one, other]);
  if (size > 1) t.strictSame(train(hvd.DistributedOptimizer(tf.train.adam(0.1), options), early, late, false), listed);
  t.ok(listed.every((x) => x < 1));
});
