/**
 * DistributedOptimizer on every rank: all ways of giving it gradients, gradients that some ranks lack, variables that differ, local aggregation; and broadcastVariables. Each rank checks
 * against numbers that it computes by itself.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const mean = (of: (r: number) => number): number => everyone.reduce((sum, r) => sum + of(r), 0) / size;
const only = size > 1 ? {} : { skip: 'one rank has nobody to differ from' };

t.before(async () => {
  await hvd.selectBackend();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

const variable = (name: string, values: number[] = [1, 2]): tf.Variable => tf.variable(tf.tensor1d(values), true, name);
const read = (one: tf.Tensor): number[] => [...one.dataSync()];
const close = (t: { ok(is: boolean, text: string): void }, found: number[], expected: number[], text: string): void =>
  t.ok(found.length === expected.length && found.every((x, i) => Math.abs(x - expected[i]!) < 1e-5), `${text}: ${found} for ${expected}`);
/** Its gradient is `factor` everywhere. */
const times = (one: tf.Variable, factor: number): tf.Scalar => one.mul(factor).sum() as tf.Scalar;
const sgd = (options?: hvd.DistributedOptimizerOptions): tf.Optimizer => hvd.DistributedOptimizer(tf.train.sgd(1), options);

t.test('minimize with and without a list, computeGradients and applyGradients as map and list', async (t) => {
  const [a, b] = [variable('a'), variable('b')];
  const loss = (): tf.Scalar => times(a, rank).add(times(b, 2 * rank)) as tf.Scalar;
  const step = mean((r) => r);
  const optimizer = sgd();
  const cost = optimizer.minimize(loss, true, [a, b]);
  close(t, read(cost!), [9 * rank], 'the cost is the local one');
  close(t, read(a), [1 - step, 2 - step], 'a, from a list');
  t.equal(optimizer.minimize(loss), null);
  close(t, read(b), [1 - 4 * step, 2 - 4 * step], 'b, without a list');
  const { grads } = optimizer.computeGradients(loss);
  close(t, read(grads.a!), [rank, rank], 'computed gradients are local');
  optimizer.applyGradients(grads);
  optimizer.applyGradients([
    { name: 'a', tensor: grads.a! },
    { name: 'b', tensor: grads.b! },
  ]);
  close(t, read(a), [1 - 4 * step, 2 - 4 * step], 'after four steps');
  t.equal(optimizer.iterations, 4);
  optimizer.dispose();
});

t.test('sum, and a predivide factor that changes nothing but rounding', async (t) => {
  const [a, b, c] = [variable('a'), variable('b'), variable('c')];
  sgd({ op: 'sum' }).minimize(() => times(a, rank + 1), false, [a]);
  sgd({ gradientPredivideFactor: 3 }).minimize(() => times(b, rank + 1), false, [b]);
  sgd({ gradientPredivideFactor: size }).minimize(() => times(c, rank + 1), false, [c]);
  const sum = size * mean((r) => r + 1);
  close(t, read(a), [1 - sum, 2 - sum], 'sum');
  for (const one of [b, c]) close(t, read(one), [1 - sum / size, 2 - sum / size], 'average');
});

t.test('three passes a step: summed, or averaged, here; applied at the third; every pass counts', async (t) => {
  for (const averageAggregatedGradients of [false, true]) {
    const a = variable(`a${averageAggregatedGradients}`);
    const optimizer = sgd({ backwardPassesPerStep: 3, averageAggregatedGradients });
    const before = tf.memory().numTensors;
    const step = mean((r) => r * (1 + 2 + 3)) / (averageAggregatedGradients ? 3 : 1);
    for (let pass = 1; pass <= 6; pass += 1) {
      optimizer.minimize(() => times(a, rank * (((pass - 1) % 3) + 1)), false, [a]);
      t.equal(optimizer.iterations, pass);
      const applied = Math.floor(pass / 3);
      close(t, read(a), [1 - applied * step, 2 - applied * step], `after pass ${pass}`);
    }
    t.equal(tf.memory().numTensors, before);
  }
  // Without a list: the passes of a step may have gradients of other variables each.
  const [b, c] = [variable('b'), variable('c')];
  const optimizer = sgd({ backwardPassesPerStep: 2 });
  optimizer.minimize(() => times(b, 1));
  optimizer.minimize(() => times(c, 1));
  close(t, [...read(b), ...read(c)], [0, 1, 0, 1], 'both were applied');
});

t.test('a variable without gradient on some ranks counts as zeros, on all: it is left alone', async (t) => {
  const [a, b, idle] = [variable('a'), variable('b'), variable('idle')];
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(1, 0.5));
  for (let step = 0; step < 2; step += 1) optimizer.minimize(() => (rank === 0 ? times(a, 1) : times(b, 1)), false, [a, idle, b]);
  // Momentum 0.5: steps of 1 and 1.5 times the average.
  const others = (size - 1) / size;
  close(t, read(a), [1 - 2.5 / size, 2 - 2.5 / size], 'a has one on rank 0');
  close(t, read(b), [1 - 2.5 * others, 2 - 2.5 * others], 'b has one on the others');
  t.same(read(idle), [1, 2]);
});

t.test('the same without a list: the ranks agree on the variables, and on more when more come', only, async (t) => {
  const [a, b, late] = [variable('a'), variable('b'), variable('late')];
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(1, 0.5));
  optimizer.minimize(() => (rank === 0 ? times(a, 1) : times(b, 1)));
  const others = (size - 1) / size;
  close(t, [...read(a), ...read(b)], [1 - 1 / size, 2 - 1 / size, 1 - others, 2 - others], 'first step');
  // Only the last rank has a gradient of `late`: all hear of it with the gradients.
  optimizer.minimize(() => (rank === size - 1 ? times(late, 1) : times(a, 1)));
  const share = (size - 1) / size;
  close(t, read(late), [1 - 1 / size, 2 - 1 / size], 'the new one');
  close(t, read(a), [1 - 1 / size - (0.5 / size + share), 2 - 1 / size - (0.5 / size + share)], 'slots stay with their variables');
  close(t, read(b), [1 - others, 2 - others], 'b had no gradient on any rank: it is left alone, its momentum too');
  optimizer.minimize(() => times(late, 1));
  close(t, read(late), [1 - 1 / size - (0.5 / size + 1), 2 - 1 / size - (0.5 / size + 1)], 'the new one has a slot');
});

t.test('a variable that is disposed of after it was agreed on stands in nobody’s way', async (t) => {
  for (const [name, make] of Object.entries({ adam: tf.train.adam, ...hvd.train })) {
    const [a, b] = [variable('a'), variable('b')];
    const optimizer = hvd.DistributedOptimizer(make(0.1));
    optimizer.minimize(() => times(a, 1).add(times(b, 1)) as tf.Scalar);
    b.dispose();
    const before = read(a);
    for (let step = 0; step < 2; step += 1) optimizer.minimize(() => times(a, 1));
    t.ok(read(a)[0]! < before[0]!, name);
    optimizer.dispose();
    a.dispose();
  }
});

t.test('variables of other names on some ranks, as after loading a model, are met by position', only, async (t) => {
  const suffix = rank === 0 ? '' : '_1';
  const [a, b] = [variable(`a${suffix}`), variable(`b${suffix}`, [1, 2, 3])];
  sgd().minimize(() => times(a, rank).add(times(b, 1)) as tf.Scalar);
  close(t, read(a), [1 - mean((r) => r), 2 - mean((r) => r)], 'a');
  close(t, read(b), [0, 1, 2], 'b');
});

t.test('ranks with different variables get a MismatchError that shows both, and go on', only, async (t) => {
  const [a, b] = [variable('a'), variable('b', [1, 2, 3])];
  const own = rank === 0 ? variable('first') : variable('other', [1, 2, 3, 4]);
  const optimizer = sgd();
  const before = tf.memory().numTensors;
  // TensorFlow.js's minimize disposes of cost and gradients only when it succeeds.
  const minimize = (loss: () => tf.Scalar, list?: tf.Variable[]) => () => tf.tidy(() => void optimizer.minimize(loss, false, list));
  const both = (): tf.Scalar => times(a, 1).add(times(b, 1)) as tf.Scalar;
  t.throws(minimize(both, rank === 0 ? [a, b] : [b, a]), {
    code: 'ERR_HVD_MISMATCH',
    message: /\[3\] as tensor 0 of the group on rank 0 .*\[2\] as tensor 0 of the group on rank 1.*same order, on every rank/,
  });
  const one = (): tf.Scalar => times(a, 1);
  t.throws(minimize(one, rank === 0 ? [a] : [a, b]), { code: 'ERR_HVD_MISMATCH' });
  t.throws(
    minimize(() => times(own, 1)),
    { code: 'ERR_HVD_MISMATCH', message: /no trainable variable of that name and shape/ },
  );
  t.equal(tf.memory().numTensors, before, 'no tensor is left');
  optimizer.minimize(() => times(a, 1), false, [a, b]);
  close(t, read(a), [0, 1], 'the next step is right');
});

t.test('more gradients than fit into a bucket', async (t) => {
  const big = [0, 1, 2].map((i) => tf.variable(tf.fill([2_500_000], i), true, `big${i}`));
  const optimizer = sgd();
  optimizer.minimize(() => tf.addN(big.map((one, i) => times(one, rank + i))) as tf.Scalar, false, big);
  for (const [i, one] of big.entries()) {
    const expected = i - mean((r) => r + i);
    const values = one.dataSync();
    t.ok(
      values.every((value) => Math.abs(value - expected) < 1e-5),
      `variable ${i}`,
    );
  }
  optimizer.dispose();
});

t.test('two lists in turn by one optimizer, and two optimizers in turn', async (t) => {
  const [a, b] = [variable('a'), variable('b', [5, 6, 7])];
  const [first, second] = [sgd(), sgd()];
  for (let step = 0; step < 3; step += 1) {
    first.minimize(() => times(a, rank), false, [a]);
    first.minimize(() => times(b, rank), false, [b]);
    second.minimize(() => times(a, 1), false, [a]);
  }
  const step = mean((r) => r);
  close(t, read(a), [1 - 3 * step - 3, 2 - 3 * step - 3], 'a');
  close(t, read(b), [5 - 3 * step, 6 - 3 * step, 7 - 3 * step], 'b');
});

t.test('broadcastVariables: lists, dictionaries, models; float32, int32, bool; no tensor is left', async (t) => {
  const root = size - 1;
  const whole = tf.variable(tf.tensor1d([rank, 7], 'int32'), false, 'whole', 'int32');
  const truth = tf.variable(tf.tensor1d([rank === root, true], 'bool'), false, 'truth', 'bool');
  const nothing = tf.variable(tf.zeros([0, 3]), true, 'nothing');
  // Names differ between ranks, positions count.
  const single = tf.variable(tf.scalar(rank + 0.5), true, `single${rank}`);
  const before = tf.memory().numTensors;
  hvd.broadcastVariables([whole, truth, nothing, single], root);
  t.same([read(whole), read(truth), read(nothing), read(single)], [[root, 7], [1, 1], [], [root + 0.5]]);
  t.same([whole.dtype, truth.dtype], ['int32', 'bool']);
  tf.tidy(() => single.assign(tf.scalar(rank + 0.25)));
  hvd.broadcastVariables({ single }, 0);
  t.same(read(single), [0.25]);
  const layer = tf.layers.dense({ units: 2, inputShape: [3], kernelInitializer: tf.initializers.glorotUniform({ seed: rank + 1 }) });
  const model = tf.sequential({ layers: [layer] });
  hvd.broadcastVariables(layer.trainableWeights as unknown as hvd.LayerVariable[], root);
  const kernel = read(model.getWeights()[0]!);
  const all = hvd.allgather(Float32Array.from(kernel));
  t.ok(all.every((value, i) => value === all[i % kernel.length]));
  tf.dispose(model.getWeights());
  t.equal(tf.memory().numTensors, before);
  t.throws(() => hvd.broadcastVariables([single], size), { code: 'ERR_HVD_USAGE', message: /rootRank/ });
  t.throws(() => hvd.broadcastVariables([3 as never]), { code: 'ERR_HVD_USAGE', message: /entry 0/ });
});

t.test('broadcastVariables gives the very values: no constraint is applied to them, on the root neither', async (t) => {
  const layer = tf.layers.dense({ units: 1, inputShape: [4], useBias: false, kernelInitializer: 'ones', kernelConstraint: 'unitNorm' });
  const model = tf.sequential({ layers: [layer] });
  const kernel = layer.trainableWeights[0]!.read() as tf.Variable;
  if (rank > 0) tf.tidy(() => kernel.assign(tf.fill([4, 1], 7)));
  const before = tf.memory().numTensors;
  hvd.broadcastVariables(model);
  hvd.broadcastVariables(layer.trainableWeights as unknown as hvd.LayerVariable[]);
  t.same(read(kernel), [1, 1, 1, 1]);
  t.equal(tf.memory().numTensors, before);
});

t.test('the same optimizer in the next job', async (t) => {
  const [a, b] = [variable('a'), variable('b')];
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(1, 0.5), { name: 'lasting' });
  optimizer.minimize(() => (rank === 0 ? times(a, 1) : times(b, 1)));
  hvd.shutdown();
  t.throws(() => optimizer.minimize(() => times(a, 1)), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  optimizer.minimize(() => times(a, 1));
  close(t, read(a), [1 - 1 / size - (0.5 / size + 1), 2 - 1 / size - (0.5 / size + 1)], 'slots are kept');
  optimizer.minimize(() => times(a, 1), false, [a]);
  optimizer.dispose();
});
