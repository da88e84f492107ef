/**
 * Training on every rank: N ranks with batch b come to the weights of one rank with batch N·b (computed here with the plain optimizer), and all replicas are equal to the bit.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { elementwiseOptimizers } from '../helpers/optimizers';
import { bytesOf, largestDifference, smallBatch, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const BATCH = 4;
const loss = 'categoricalCrossentropy';

/** Every rank's weights are this rank's. */
function areEqualEverywhere(model: tf.LayersModel): boolean {
  const own = bytesOf(weightsOf(model));
  const all = hvd.allgather(own);
  return all.every((byte, i) => byte === own[i % own.length]);
}

t.before(async () => {
  await hvd.selectBackend();
});

const optimizers: Record<string, () => tf.Optimizer> = {
  ...elementwiseOptimizers,
  LARS: () => hvd.train.lars(2),
  LAMB: () => hvd.train.lamb(0.002),
};

for (const [name, make] of Object.entries(optimizers)) {
  t.test(`${name}: ${size} ranks with batch ${BATCH} as one with batch ${size * BATCH}`, async (t) => {
    const [distributed, plain] = [smallNetwork(1), smallNetwork(1)];
    distributed.compile({ optimizer: hvd.DistributedOptimizer(make()), loss });
    plain.compile({ optimizer: make(), loss });
    for (let step = 0; step < 20; step += 1) {
      const from = step * BATCH * size;
      await trainStep(distributed, from + rank * BATCH, BATCH);
      await trainStep(plain, from, BATCH * size);
    }
    const [own, whole] = [weightsOf(distributed), weightsOf(plain)];
    const moved = largestDifference(own, weightsOf(smallNetwork(1)));
    t.ok(moved > 0.01, `it has learnt: a weight moved by ${moved}`);
    if (size === 1) t.same(bytesOf(own), bytesOf(whole), 'one rank: to the bit what the plain optimizer gives');
    else t.ok(largestDifference(own, whole) < 5e-5, `off by ${largestDifference(own, whole)}`);
    t.ok(areEqualEverywhere(distributed), 'replicas are equal');
  });
}

t.test('replicas are equal to the bit after 100 steps, and no tensor is left', async (t) => {
  const model = smallNetwork(2);
  model.compile({ optimizer: hvd.DistributedOptimizer('adam'), loss });
  let tensors = 0;
  for (let step = 0; step < 100; step += 1) {
    await trainStep(model, (step * size + rank) * BATCH, BATCH);
    if (step === 1) tensors = tf.memory().numTensors;
  }
  t.equal(tf.memory().numTensors, tensors);
  t.ok(areEqualEverywhere(model));
});

/** Rank r has r + 1 times as strong a seed: models differ until something is broadcast. */
const differing = (): tf.Sequential => smallNetwork(10 + rank);
const datasetOf = (batches: number): tf.data.Dataset<tf.TensorContainer> =>
  tf.data.generator(function* () {
    for (let step = 0; step < batches; step += 1) yield smallBatch((step * size + rank) * BATCH, BATCH);
  } as never);

t.test('fit with broadcastGlobalVariables: replicas that start apart end equal, slots too', async (t) => {
  const model = differing();
  const optimizer = hvd.DistributedOptimizer(tf.train.adam(rank === 0 ? 0.003 : 0.001));
  model.compile({ optimizer, loss, metrics: ['accuracy'] });
  if (size > 1) t.notOk(areEqualEverywhere(model), 'they start apart');
  const { xs, ys } = smallBatch(rank * 24, 24);
  const held = smallBatch(1000 + rank * 8, 8);
  const before = tf.memory().numTensors;
  const { history } = await model.fit(xs, ys, {
    batchSize: BATCH,
    epochs: 2,
    shuffle: false,
    verbose: 0,
    validationData: [held.xs, held.ys],
    callbacks: [hvd.callbacks.broadcastGlobalVariables(0), hvd.callbacks.metricAverage()],
  });
  t.ok(areEqualEverywhere(model), 'weights');
  t.equal(optimizer.iterations, 12);
  t.equal((optimizer as unknown as { learningRate: number }).learningRate, 0.003, "the root's learning rate");
  const state = await optimizer.getWeights();
  state[0]!.tensor.dispose();
  const slots = state.slice(1).map(({ tensor }) => tensor.dataSync() as Float32Array);
  for (const slot of slots) {
    const all = hvd.allgather(slot);
    if (!all.every((value, i) => value === slot[i % slot.length])) t.fail('slots differ');
  }
  for (const name of ['loss', 'acc', 'val_loss', 'val_acc']) {
    const values = Float64Array.from(history[name] as number[]);
    const all = hvd.allgather(values);
    t.ok(
      all.every((value, i) => value === values[i % values.length]) && values.every(Number.isFinite),
      `${name} is the same on all ranks: ${values}`,
    );
  }
  // Two slots for each of six weights, and what Adam keeps (made before).
  t.equal(tf.memory().numTensors, before + 12);
  tf.dispose([xs, ys, held.xs, held.ys]);
});

for (const name of ['Adamax', 'Nadam', 'AdamW', 'LARS', 'LAMB'])
  t.test(`${name}: ranks that have taken differently many steps go on as the root does`, async (t) => {
    const model = differing();
    const inner = optimizers[name]!();
    const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    for (let step = 0; step < 2 + rank; step += 1)
      inner.minimize(() => tf.addN(variables.map((one) => one.square().sum())) as tf.Scalar, false, variables);
    model.compile({ optimizer: hvd.DistributedOptimizer(inner), loss });
    const { xs, ys } = smallBatch(rank * 24, 24);
    const callbacks = [hvd.callbacks.broadcastGlobalVariables(size - 1)];
    await model.fit(xs, ys, { batchSize: BATCH, epochs: 1, shuffle: false, verbose: 0, callbacks });
    t.equal(inner.iterations, 2 + (size - 1) + 6);
    t.ok(areEqualEverywhere(model));
    tf.dispose([xs, ys]);
  });

t.test('fitDataset with the same callbacks', async (t) => {
  const model = differing();
  model.compile({ optimizer: hvd.DistributedOptimizer('rmsprop'), loss });
  const { history } = await model.fitDataset(datasetOf(5), {
    epochs: 2,
    verbose: 0,
    callbacks: [hvd.callbacks.broadcastGlobalVariables(), hvd.callbacks.metricAverage()],
  });
  t.ok(areEqualEverywhere(model));
  const losses = hvd.allgather(Float64Array.from(history.loss as number[]));
  t.same([...losses.subarray(0, 2)], [...losses.subarray(losses.length - 2)]);
  const before = tf.memory().numTensors;
  await model.fitDataset(datasetOf(5), { epochs: 1, verbose: 0 });
  t.equal(tf.memory().numTensors, before);
});

t.test('metricAverage takes numbers and scalar tensors, in place, and says where ranks differ', async (t) => {
  const callback = hvd.callbacks.metricAverage();
  const before = tf.memory().numTensors;
  const logs: Record<string, number | tf.Tensor> = { b: rank, a: tf.scalar(2 * rank), text: 'x' as never };
  await callback.onEpochEnd(0, logs as never);
  if (size > 1) {
    t.same(logs, { b: (size - 1) / 2, a: size - 1, text: 'x' });
    t.equal(tf.memory().numTensors, before, 'the scalar is disposed of');
    await t.rejects(callback.onEpochEnd(1, { [rank === 0 ? 'loss' : 'acc']: 1 }), {
      code: 'ERR_HVD_MISMATCH',
      message: /rank 0 has the metrics loss, rank 1 has acc/,
    });
  } else tf.dispose(logs as never);
});

t.test('a model with batch normalisation and a frozen layer: all weights are broadcast', async (t) => {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({
        units: 4,
        inputShape: [3],
        trainable: false,
        kernelInitializer: tf.initializers.glorotUniform({ seed: rank + 1 }),
      }),
      tf.layers.batchNormalization(),
      tf.layers.dense({ units: 1, kernelInitializer: tf.initializers.glorotUniform({ seed: rank + 5 }) }),
    ],
  });
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'meanSquaredError' });
  const xs = tf.tensor2d([rank, 1, 2, 3, 4, 5], [2, 3]);
  const ys = tf.tensor2d([1, 2], [2, 1]);
  await model.trainOnBatch(xs, ys);
  if (size > 1) t.notOk(areEqualEverywhere(model), 'moving averages are local');
  hvd.broadcastVariables(model, size - 1);
  t.ok(areEqualEverywhere(model));
});

for (const name of ['SGD', 'momentum', 'RMSProp', 'Adam', 'Adagrad', 'Adadelta', 'Adamax', 'Nadam', 'AdamW', 'LARS', 'LAMB'])
  t.test(`save and load with ${name}: the file names the wrapped optimizer, and training resumes to the bit`, async (t) => {
    const model = smallNetwork(3);
    model.compile({ optimizer: hvd.DistributedOptimizer(optimizers[name]!()), loss });
    const steps = async (one: tf.LayersModel, from: number): Promise<void> => {
      for (let step = from; step < from + 4; step += 1) await trainStep(one, (step * size + rank) * BATCH, BATCH);
    };
    await steps(model, 0);
    let saved: tf.io.ModelArtifacts | undefined;
    const keep = tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    });
    await model.save(keep, { includeOptimizer: true });
    const { optimizer_config: config } = saved!.trainingConfig as unknown as { optimizer_config: { class_name: string } };
    t.equal(config.class_name, optimizers[name]!().getClassName());
    const loaded = await tf.loadLayersModel(tf.io.fromMemory(saved!));
    t.equal(loaded.optimizer.getClassName(), config.class_name);
    (loaded as unknown as { optimizer: tf.Optimizer }).optimizer = hvd.DistributedOptimizer(loaded.optimizer);
    t.equal(loaded.optimizer.iterations, 4);
    await steps(model, 4);
    await steps(loaded, 4);
    t.same(bytesOf(weightsOf(loaded)), bytesOf(weightsOf(model)));
    t.ok(areEqualEverywhere(loaded));
  });
