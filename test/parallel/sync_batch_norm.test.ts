/**
 * syncBatchNormalization on every rank: N ranks with batch b are one with batch N·b (the ordinary layer, computed here), in weights and moving averages; batches of different sizes; op sum; process sets;
 * ranks that evaluate alone.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { bytesOf, largestDifference, smallBatch, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const BATCH = 4;
const everyone = Array.from({ length: size }, (_, r) => r);

t.before(async () => {
  await hvd.selectBackend();
});
t.afterEach(() => tf.disposeVariables());

type Norm = (args?: hvd.SyncBatchNormalizationArgs) => tf.layers.Layer;
const plain: Norm = (args) => tf.layers.batchNormalization(args as never);
/** A convolution without bias, a norm, ReLU; twice; then dense, a norm of two axes, softmax. */
function network(norm: Norm, processSet?: hvd.ProcessSet): tf.Sequential {
  const kernelInitializer = (seed: number) => tf.initializers.glorotUniform({ seed });
  const conv = (seed: number, inputShape?: number[]) =>
    tf.layers.conv2d({ filters: 4, kernelSize: 3, useBias: false, kernelInitializer: kernelInitializer(seed), inputShape });
  const made = (name: string) => norm({ name, momentum: 0.8, processSet });
  return tf.sequential({
    layers: [
      conv(1, [8, 8, 1]),
      made('first'),
      tf.layers.activation({ activation: 'relu' }),
      conv(2),
      made('second'),
      tf.layers.activation({ activation: 'relu' }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 3, kernelInitializer: kernelInitializer(3) }),
      made('third'),
      tf.layers.activation({ activation: 'softmax' }),
    ],
  });
}
const variablesOf = (model: tf.LayersModel): tf.Variable[] => model.trainableWeights.map((weight) => weight.read() as tf.Variable);
/** Mean loss of images `from` … `from + count − 1` of the outputs for a batch that begins at image `base`. */
const lossOf = (outputs: tf.Tensor, ys: tf.Tensor, at: number, count: number): tf.Scalar =>
  tf.losses.softmaxCrossEntropy(ys.slice([at, 0], [count, -1]), outputs.slice([at, 0], [count, -1]));

function areEqualEverywhere(model: tf.LayersModel): boolean {
  const own = bytesOf(weightsOf(model));
  return hvd.allgather(own).every((byte, i) => byte === own[i % own.length]);
}

t.test(`fit: ${size} ranks with batch ${BATCH} as one with batch ${size * BATCH}`, async (t) => {
  const [distributed, whole] = [network(hvd.syncBatchNormalization), network(plain)];
  distributed.compile({ optimizer: hvd.DistributedOptimizer(tf.train.momentum(0.05, 0.9)), loss: 'categoricalCrossentropy' });
  whole.compile({ optimizer: tf.train.momentum(0.05, 0.9), loss: 'categoricalCrossentropy' });
  const start = weightsOf(whole);
  let tensors = 0;
  for (let step = 0; step < 10; step += 1) {
    const mine = smallBatch((step * size + rank) * BATCH, BATCH);
    const all = smallBatch(step * size * BATCH, BATCH * size);
    await distributed.fit(mine.xs, mine.ys, { batchSize: BATCH, shuffle: false, verbose: 0 });
    await whole.fit(all.xs, all.ys, { batchSize: BATCH * size, shuffle: false, verbose: 0 });
    tf.dispose([mine, all] as never);
    if (step === 1) tensors = tf.memory().numTensors;
  }
  t.equal(tf.memory().numTensors, tensors, 'no tensor is left');
  t.ok(largestDifference(weightsOf(whole), start) > 0.1, 'it has learnt');
  for (const [i, weight] of distributed.getWeights().entries()) {
    const expected = whole.getWeights()[i]!;
    const off = largestDifference(weight.dataSync(), expected.dataSync());
    t.ok(off < 2e-4, `${distributed.weights[i]!.originalName} is off by ${off}`);
  }
  t.ok(areEqualEverywhere(distributed), 'replicas are equal to the bit, moving averages too');
});

for (const op of ['average', 'sum'] as const)
  t.test(`batches of different sizes, op ${op}: the gradients of the ranks' losses, ${op === 'sum' ? 'summed' : 'averaged'}`, async (t) => {
    const counts = everyone.map((r) => 2 + r);
    const starts = counts.map((_, r) => counts.slice(0, r).reduce((sum, n) => sum + n, 0));
    const total = starts.at(-1)! + counts.at(-1)!;
    const [distributed, whole] = [network(hvd.syncBatchNormalization), network(plain)];
    const [own, all] = [hvd.DistributedOptimizer(tf.train.sgd(0.1), { op }), tf.train.sgd(0.1)];
    const start = weightsOf(whole);
    for (let step = 0; step < 5; step += 1) {
      const mine = smallBatch(step * total + starts[rank]!, counts[rank]!);
      const together = smallBatch(step * total, total);
      own.minimize(
        () => lossOf(distributed.apply(mine.xs, { training: true }) as tf.Tensor, mine.ys, 0, counts[rank]!),
        false,
        variablesOf(distributed),
      );
      all.minimize(
        () => {
          const outputs = whole.apply(together.xs, { training: true }) as tf.Tensor;
          const sum = tf.addN(everyone.map((r) => lossOf(outputs, together.ys, starts[r]!, counts[r]!)));
          return (op === 'sum' ? sum : sum.div(size)) as tf.Scalar;
        },
        false,
        variablesOf(whole),
      );
      tf.dispose([mine, together] as never);
    }
    t.ok(largestDifference(weightsOf(whole), start) > 0.05, 'it has learnt');
    const off = largestDifference(weightsOf(distributed), weightsOf(whole));
    t.ok(off < 2e-4, `off by ${off}`);
    t.ok(areEqualEverywhere(distributed));
  });

t.test('inference communicates nothing: a rank predicts and evaluates alone', async (t) => {
  const model = network(hvd.syncBatchNormalization);
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd'), loss: 'categoricalCrossentropy' });
  if (rank === 0) {
    const { xs, ys } = smallBatch(0, 4);
    const loss = model.evaluate(xs, ys) as tf.Scalar;
    t.ok(Number.isFinite(loss.dataSync()[0]!));
    t.same((model.predict(xs) as tf.Tensor).shape, [4, 3]);
    const { xs: one } = smallBatch(0, 1);
    t.same((model.predict(one) as tf.Tensor).dataSync().length, 3);
  }
  t.equal(hvd.allreduce(Float32Array.of(1), { op: 'sum' })[0], size);
});

t.test('ranks whose layers differ are told', async (t) => {
  const layer = hvd.syncBatchNormalization({ name: 'different' });
  const apply = (): unknown => layer.apply(tf.ones([2, rank === 0 ? 3 : 2]), { training: true });
  if (size > 1) t.throws(apply, { code: 'ERR_HVD_MISMATCH', message: /SyncBatchNormalization.different.forward/ });
  else t.doesNotThrow(apply);
});

t.test('over the ranks of a process set', async (t) => {
  const others = size > 2 ? hvd.addProcessSet(everyone.slice(1)) : hvd.globalProcessSet;
  const layer = hvd.syncBatchNormalization({ name: 'of_a_set', processSet: others });
  const apply = (): tf.Tensor => layer.apply(tf.fill([2, 1], rank), { training: true }) as tf.Tensor;
  if (!others.included()) t.throws(apply, { code: 'ERR_HVD_PROCESS_SET' });
  else {
    apply();
    const mean = others.ranks.reduce((sum, r) => sum + r, 0) / others.size();
    t.ok(Math.abs(layer.getWeights()[2]!.dataSync()[0]! - 0.01 * mean) < 1e-6, 'the moving mean moves to that of the set');
  }
  if (size > 2) hvd.removeProcessSet(others);
});
