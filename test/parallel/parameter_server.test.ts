/**
 * Training through parameter servers, on every rank; each serves a share. Synchronously N workers with batch b come to the weights of one with batch N·b, for every optimizer that servers know; otherwise no
 * push is lost and the bound on staleness holds.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { elementwiseOptimizers } from '../helpers/optimizers';
import { bytesOf, largestDifference, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const BATCH = 4;
const loss = 'categoricalCrossentropy';
const areEqualEverywhere = (values: Float32Array): boolean => {
  const own = bytesOf(values);
  return hvd.allgather(own).every((byte, i) => byte === own[i % own.length]);
};

t.before(async () => {
  await hvd.selectBackend();
});

const optimizers: Record<string, () => tf.Optimizer> = {
  ...elementwiseOptimizers,
  'RMSProp with momentum': () => tf.train.rmsprop(0.002, 0.9, 0.5, 1e-4),
};

for (const [name, make] of Object.entries(optimizers)) {
  t.test(`${name}: ${size} workers with batch ${BATCH} as one with batch ${size * BATCH}`, async (t) => {
    // Whatever the others begin with: training begins with worker 0's.
    const [served, plain] = [smallNetwork(1 + rank), smallNetwork(1)];
    served.compile({ optimizer: hvd.ParameterServerOptimizer(make()), loss });
    plain.compile({ optimizer: make(), loss });
    for (let step = 0; step < 20; step += 1) {
      const from = step * BATCH * size;
      await trainStep(served, from + rank * BATCH, BATCH);
      await trainStep(plain, from, BATCH * size);
    }
    const [own, whole] = [weightsOf(served), weightsOf(plain)];
    t.ok(largestDifference(own, weightsOf(smallNetwork(1))) > 0.01, 'it has learnt');
    t.ok(largestDifference(own, whole) < 5e-5, `off by ${largestDifference(own, whole)}`);
    t.ok(areEqualEverywhere(own), 'replicas are equal');
    const [servedSlots, plainSlots] = [await served.optimizer.getWeights(), await plain.optimizer.getWeights()];
    t.same(
      servedSlots.map(({ tensor }) => tensor.shape),
      plainSlots.map(({ tensor }) => tensor.shape),
      'its weights are described like the plain optimizer’s',
    );
    const differences = servedSlots.map(({ tensor }, i) => largestDifference(tensor.dataSync(), plainSlots[i]!.tensor.dataSync()));
    t.ok(Math.max(...differences) < 1e-3, `slots are off by ${Math.max(...differences)}`);
  });
}

t.test('what is saved goes on as if nothing had been', async (t) => {
  const make = () => hvd.ParameterServerOptimizer(tf.train.adam(0.002));
  const [whole, first] = [smallNetwork(3), smallNetwork(3)];
  for (const model of [whole, first]) model.compile({ optimizer: make(), loss });
  const batch = (step: number): number => (step * size + rank) * BATCH;
  for (let step = 0; step < 6; step += 1) await trainStep(whole, batch(step), BATCH);
  for (let step = 0; step < 3; step += 1) await trainStep(first, batch(step), BATCH);
  const second = smallNetwork(4);
  second.compile({ optimizer: make(), loss });
  second.setWeights(first.getWeights());
  await second.optimizer.setWeights((await first.optimizer.getWeights()).map(({ name, tensor }) => ({ name, tensor: tensor.clone() })));
  for (let step = 3; step < 6; step += 1) await trainStep(second, batch(step), BATCH);
  t.ok(largestDifference(weightsOf(second), weightsOf(whole)) < 1e-6, `off by ${largestDifference(weightsOf(second), weightsOf(whole))}`);
});

const line = (tfjs: typeof tf, variable: tf.Variable) => () => tfjs.sum(variable) as tf.Scalar;

t.test('asynchronous: no push is lost', (t) => {
  const variable = tf.variable(tf.zeros([50_000]));
  const optimizer = hvd.ParameterServerOptimizer(tf.train.sgd(0.125), { mode: 'async' });
  const steps = 5 + 3 * rank;
  for (let step = 0; step < steps; step += 1) optimizer.minimize(line(tf, variable), false, [variable]);
  hvd.barrier();
  // A push of nothing brings what is there.
  optimizer.applyGradients([{ name: variable.name, tensor: tf.zeros([50_000]) }]);
  const pushes = Array.from({ length: size }, (_, one) => 5 + 3 * one).reduce((a, b) => a + b);
  const values = variable.dataSync();
  t.ok(
    values.every((value) => value === -pushes / 8),
    `${pushes} pushes, ${values[0]! * -8} applied`,
  );
  hvd.barrier();
  t.end();
});

t.test('computeGradients and applyGradients are minimize in two parts; variables without gradient are left alone', (t) => {
  const variables = [tf.variable(tf.fill([3], rank + 1)), tf.variable(tf.fill([3], rank + 5))];
  const optimizer = hvd.ParameterServerOptimizer(tf.train.momentum(0.5, 0.9));
  for (let step = 0; step < 2; step += 1) {
    const { value, grads } = optimizer.computeGradients(() => variables[0]!.mul(2).sum() as tf.Scalar, variables);
    optimizer.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
    tf.dispose([value, grads]);
  }
  // Velocity 2, then 3.8: from 1 to −1.9.
  t.ok(
    variables[0]!.dataSync().every((value) => Math.abs(value + 1.9) < 1e-6),
    `${variables[0]!.dataSync()}`,
  );
  t.same([...variables[1]!.dataSync()], [5, 5, 5], 'as worker 0 has it');
  t.end();
});

t.test('a learning rate that changes counts from the next step on', (t) => {
  const variable = tf.variable(tf.zeros([4]));
  const optimizer = hvd.ParameterServerOptimizer(tf.train.sgd(1)) as tf.SGDOptimizer;
  optimizer.minimize(line(tf, variable), false, [variable]);
  optimizer.setLearningRate(0.25);
  optimizer.minimize(line(tf, variable), false, [variable]);
  t.same([...variable.dataSync()], Array(4).fill(-1.25));
  t.end();
});

t.test('a step that fails on one worker fails on all, and the next is right', { skip: size < 2 && 'needs two ranks' }, (t) => {
  const variable = tf.variable(tf.zeros([4]));
  const optimizer = hvd.ParameterServerOptimizer(tf.train.sgd(0.5));
  optimizer.minimize(line(tf, variable), false, [variable]);
  const failing = (): tf.Scalar => {
    if (rank === 1) throw new Error('no batch');
    return line(tf, variable)();
  };
  t.throws(() => optimizer.minimize(failing, false, [variable]), rank === 1 ? { message: 'no batch' } : { code: 'ERR_HVD_STEP' });
  optimizer.minimize(line(tf, variable), false, [variable]);
  t.same([...variable.dataSync()], Array(4).fill(-1));
  t.end();
});

t.test('fp16 gradients', async (t) => {
  const [served, plain] = [smallNetwork(1), smallNetwork(1)];
  served.compile({ optimizer: hvd.ParameterServerOptimizer(tf.train.sgd(0.05), { compression: hvd.Compression.fp16 }), loss });
  plain.compile({ optimizer: tf.train.sgd(0.05), loss });
  for (let step = 0; step < 10; step += 1) {
    await trainStep(served, (step * size + rank) * BATCH, BATCH);
    await trainStep(plain, step * BATCH * size, BATCH * size);
  }
  t.ok(largestDifference(weightsOf(served), weightsOf(plain)) < 2e-3);
  t.ok(areEqualEverywhere(weightsOf(served)));
});

t.test('workers that disagree are told', { skip: size < 2 && 'needs two ranks' }, (t) => {
  const variable = tf.variable(tf.zeros([4]));
  const optimizer = hvd.ParameterServerOptimizer(rank === 0 ? tf.train.sgd(0.5) : tf.train.adam(0.5));
  t.throws(() => optimizer.minimize(line(tf, variable), false, [variable]), { code: 'ERR_HVD_MISMATCH', message: /differ in rule/ });
  hvd.barrier();
  t.end();
});

t.test('what servers do not know is refused at the call', (t) => {
  t.throws(() => hvd.ParameterServerOptimizer(hvd.train.lamb(0.1)), { code: 'ERR_HVD_USAGE', message: /Lamb/ });
  t.throws(() => hvd.ParameterServerOptimizer(tf.train.sgd(0.1), { mode: 'fast' as never }), { code: 'ERR_HVD_USAGE', message: /mode/ });
  t.throws(() => hvd.ParameterServerOptimizer(tf.train.sgd(0.1), { mode: { staleness: -1 } }), {
    code: 'ERR_HVD_USAGE',
    message: /staleness/,
  });
  t.throws(() => hvd.ParameterServerOptimizer(hvd.DistributedOptimizer(tf.train.sgd(0.1))), {
    code: 'ERR_HVD_USAGE',
    message: /wrapped already/,
  });
  t.end();
});
