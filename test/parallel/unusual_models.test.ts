/**
 * Models and programs that are not the plain case, on every rank: embeddings, branches, shared and frozen layers, two optimizers, gradients of gradients, models that differ between ranks, a checkpoint
 * on one rank only. Each rank checks against numbers that it computes by itself.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const mean = (of: (r: number) => number): number => Array.from({ length: size }, (_, r) => of(r)).reduce((sum, x) => sum + x, 0) / size;
const several = size > 1 ? {} : { skip: 'one rank has nobody to differ from' };

t.before(async () => {
  await hvd.selectBackend();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

const isClose = (found: ArrayLike<number>, expected: number[]): boolean =>
  found.length === expected.length && Array.from(found).every((x, i) => Math.abs(x - expected[i]!) < 1e-5);
const read = (one: tf.Tensor): number[] => [...one.dataSync()];
const sgd = (options?: hvd.DistributedOptimizerOptions): tf.Optimizer => hvd.DistributedOptimizer(tf.train.sgd(1), options);

function areEqualEverywhere(model: tf.LayersModel): boolean {
  const own = model.weights.flatMap((weight) => [...(weight.read().dataSync() as Float32Array)]);
  const all = hvd.allgather(Float32Array.from(own));
  return all.length === own.length * size && all.every((value, i) => value === own[i % own.length]);
}

t.test('an embedding: every rank looks up other rows, all rows are averaged', async (t) => {
  const table = tf.variable(tf.zeros([size + 1, 2]), true, 'table');
  const optimizer = sgd();
  optimizer.minimize(() => tf.gather(table, tf.tensor1d([rank, rank], 'int32')).sum() as tf.Scalar, false, [table]);
  t.ok(isClose(read(table), [...new Array(2 * size).fill(-2 / size), 0, 0]), `${read(table)}`);
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: 5, outputDim: 3, inputLength: 2, embeddingsInitializer: tf.initializers.glorotUniform({ seed: 1 }) }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 1, kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }) }),
    ],
  });
  model.compile({ optimizer: hvd.DistributedOptimizer('adam'), loss: 'meanSquaredError' });
  for (let step = 0; step < 3; step += 1) await model.trainOnBatch(tf.tensor2d([[rank % 5, step]]), tf.tensor2d([[1]]));
  t.ok(areEqualEverywhere(model));
});

t.test('a layer that stands in two places has one gradient; a frozen one stays', async (t) => {
  const kernelInitializer = 'ones';
  const shared = tf.layers.dense({ units: 1, useBias: false, kernelInitializer });
  const frozen = tf.layers.dense({ units: 1, useBias: false, kernelInitializer, trainable: false });
  const input = tf.input({ shape: [1] });
  const output = shared.apply(frozen.apply(shared.apply(input))) as tf.SymbolicTensor;
  const model = tf.model({ inputs: input, outputs: output });
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.sgd(0.1)), loss: 'meanAbsoluteError' });
  await model.trainOnBatch(tf.tensor2d([[rank + 1]]), tf.zeros([1, 1]));
  // y = w · w · x: twice x.
  t.ok(isClose(read(shared.getWeights()[0]!), [1 - 0.1 * mean((r) => 2 * (r + 1))]), `${read(shared.getWeights()[0]!)}`);
  t.same(read(frozen.getWeights()[0]!), [1]);
});

t.test('a layer that is frozen on one rank only: the ranks are told', several, async (t) => {
  const model = tf.sequential({
    layers: [tf.layers.dense({ units: 2, inputShape: [1], trainable: rank !== 0 }), tf.layers.dense({ units: 1 })],
  });
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'meanSquaredError' });
  await t.rejects(model.trainOnBatch(tf.ones([1, 1]), tf.ones([1, 1])), {
    code: 'ERR_HVD_MISMATCH',
    message: /same variables, in the same order/,
  });
});

t.test('variables that only some ranks use, changing from step to step', async (t) => {
  const all = Array.from({ length: size + 1 }, (_, i) => tf.variable(tf.scalar(0), true, `own${i}`));
  const [listed, named] = [sgd(), sgd()];
  const loss = (step: number) => (): tf.Scalar => all[(rank + step) % size]!.mul(2) as tf.Scalar;
  for (let step = 0; step < size; step += 1) listed.minimize(loss(step), false, all);
  for (let step = 0; step < size; step += 1) named.minimize(loss(step));
  t.ok(isClose(all.flatMap(read), [...new Array(size).fill(-4), 0]), `${all.flatMap(read)}`);
});

t.test('a GAN: two optimizers in turn, as many tensors after ten rounds as after one', async (t) => {
  const dense = (units: number, seed: number, inputShape: number[]) =>
    tf.sequential({ layers: [tf.layers.dense({ units, inputShape, kernelInitializer: tf.initializers.glorotUniform({ seed }) })] });
  const [generator, judge] = [dense(2, 1, [3]), dense(1, 2, [2])];
  const variablesOf = (model: tf.LayersModel): tf.Variable[] => model.trainableWeights.map((one) => one.read() as tf.Variable);
  const [forGenerator, forJudge] = [hvd.DistributedOptimizer(tf.train.adam(0.01)), hvd.DistributedOptimizer(tf.train.rmsprop(0.01))];
  let tensors = 0;
  for (let round = 0; round < 10; round += 1) {
    tf.tidy(() => {
      const noise = tf.add(tf.range(0, 12).reshape([4, 3]).div(12), rank);
      const real = tf.ones([4, 2]).mul(rank + 1);
      const score = (x: tf.Tensor): tf.Tensor => judge.apply(x) as tf.Tensor;
      const fake = (): tf.Tensor => generator.apply(noise) as tf.Tensor;
      forJudge.minimize(
        () => score(fake()).square().mean().add(score(real).sub(1).square().mean()) as tf.Scalar,
        false,
        variablesOf(judge),
      );
      forGenerator.minimize(() => score(fake()).sub(1).square().mean() as tf.Scalar, false, variablesOf(generator));
    });
    if (round === 0) tensors = tf.memory().numTensors;
  }
  t.equal(tf.memory().numTensors, tensors);
  t.ok(areEqualEverywhere(generator) && areEqualEverywhere(judge), 'replicas are equal');
});

t.test('a loss that holds a gradient: its own gradient is right', async (t) => {
  const w = tf.variable(tf.scalar(1), true, 'w');
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(0.01));
  // (d/dx w²x³)² at x = r + 1 is 9w⁴x⁴; by w: 36w³x⁴.
  const penalty = (): tf.Scalar =>
    tf
      .grad((x: tf.Tensor) => w.square().mul(x.pow(3)).sum())(tf.scalar(rank + 1))
      .square() as tf.Scalar;
  optimizer.minimize(penalty, false, [w]);
  t.ok(Math.abs(read(w)[0]! - (1 - 0.36 * mean((r) => (r + 1) ** 4))) < 1e-3, `${read(w)}`);
});

t.test('a model whose number of weights differs between ranks: said, at the step', several, async (t) => {
  const layers = [tf.layers.dense({ units: 1, inputShape: [1] }), tf.layers.dense({ units: 1 })];
  const model = tf.sequential({ layers: rank === 0 ? layers : layers.slice(0, 1) });
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'meanSquaredError' });
  await t.rejects(model.trainOnBatch(tf.ones([1, 1]), tf.ones([1, 1])), { code: 'ERR_HVD_MISMATCH', message: /rank 0 .*rank 1/ });
});

t.test('a checkpoint that only the root has loaded: made right by broadcasts', async (t) => {
  const build = (seed: number): tf.LayersModel => {
    const model = tf.sequential({
      layers: [tf.layers.dense({ units: 2, inputShape: [2], kernelInitializer: tf.initializers.glorotUniform({ seed }) })],
    });
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
    return model;
  };
  const root = size - 1;
  let model = build(rank + 1);
  if (rank === root) {
    for (let step = 0; step < 3; step += 1) await model.trainOnBatch(tf.ones([1, 2]), tf.ones([1, 2]));
    let artifacts: tf.io.ModelArtifacts | undefined;
    const keep = tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    });
    await model.save(keep, { includeOptimizer: true });
    model = await hvd.loadModel(tf.io.fromMemory(artifacts!), { name: 'restored' });
  } else (model as unknown as { optimizer: tf.Optimizer }).optimizer = hvd.DistributedOptimizer(model.optimizer, { name: 'restored' });
  hvd.broadcastVariables(model, root);
  await hvd.broadcastOptimizerState(model.optimizer, root);
  t.equal(model.optimizer.iterations, 3);
  for (let step = 0; step < 3; step += 1) await model.trainOnBatch(tf.ones([1, 2]).mul(rank), tf.ones([1, 2]));
  t.equal(model.optimizer.iterations, 6);
  t.ok(areEqualEverywhere(model), 'to the bit');
});

t.test('used outside a job: NotInitializedError, and right again in the next', async (t) => {
  const w = tf.variable(tf.scalar(1), true, 'w');
  hvd.shutdown();
  const optimizer = sgd({ backwardPassesPerStep: 2 });
  t.throws(() => tf.tidy(() => void optimizer.minimize(() => w.mul(1) as tf.Scalar, false, [w])), { code: 'ERR_HVD_NOT_INITIALIZED' });
  t.throws(() => hvd.broadcastVariables([w]), { code: 'ERR_HVD_NOT_INITIALIZED' });
  await t.rejects(hvd.broadcastOptimizerState(optimizer), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  for (let pass = 0; pass < 2; pass += 1) optimizer.minimize(() => w.mul(rank) as tf.Scalar, false, [w]);
  t.ok(isClose(read(w), [1 - 2 * mean((r) => r)]), `${read(w)}`);
});

t.test(
  'an optimizer that one rank makes for itself, and those of process sets, leave the names of the others alone',
  several,
  async (t) => {
    const [a, b] = [tf.variable(tf.scalar(0)), tf.variable(tf.scalar(0))];
    if (rank === 0) hvd.DistributedOptimizer(tf.train.sgd(1)).dispose();
    const last = hvd.addProcessSet([size - 1]);
    const rest = size > 2 ? hvd.addProcessSet(Array.from({ length: size - 1 }, (_, r) => r + 1)) : last;
    for (const processSet of [last, rest]) {
      if (processSet.included())
        hvd.DistributedOptimizer(tf.train.sgd(1), { processSet }).minimize(() => a.mul(rank) as tf.Scalar, false, [a]);
      if (processSet.included()) hvd.variableGrads(() => a.mul(rank) as tf.Scalar, [a], { processSet });
    }
    const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1));
    optimizer.minimize(() => b.mul(rank) as tf.Scalar, false, [b]);
    const mean = (size - 1) / 2;
    t.equal(b.dataSync()[0], -mean);
    t.equal(hvd.variableGrads(() => b.mul(rank) as tf.Scalar, [b]).grads[b.name]!.dataSync()[0], mean);
    for (const set of new Set([last, rest])) hvd.removeProcessSet(set);
  },
);

t.test('by name: a variable that was disposed of, and one of its name in another shape', several, async (t) => {
  const keep = tf.variable(tf.scalar(1), true, 'keep');
  const first = tf.variable(tf.tensor1d([1, 2, 3]), true, 'changing');
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(1, 0.5));
  optimizer.minimize(() => keep.add(first.sum()) as tf.Scalar);
  first.dispose();
  optimizer.minimize(() => keep.mul(1) as tf.Scalar);
  t.equal(keep.dataSync()[0], 1 - 1 - 1.5);
  for (const values of [
    [1, 2],
    [1, 2, 3, 4, 5],
  ]) {
    const second = tf.variable(tf.tensor1d(values), true, 'changing');
    optimizer.minimize(() => second.sum() as tf.Scalar);
    if (size > 1)
      t.strictSame(
        [...second.dataSync()],
        values.map((x) => x - 1),
      );
    second.dispose();
  }
});
