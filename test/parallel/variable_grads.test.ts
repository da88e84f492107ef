/** variableGrads on every rank: what tf.variableGrads gives, with gradients that are averaged. Each rank checks against numbers that it computes by itself. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const mean = (size - 1) / 2;
const several = size > 1 ? {} : { skip: 'one rank has nobody to differ from' };

t.before(async () => {
  await hvd.selectBackend();
});
t.afterEach(() => tf.disposeVariables());

const variable = (name: string, values: number[] = [1, 2], trainable = true): tf.Variable =>
  tf.tidy(() => tf.variable(tf.tensor1d(values), trainable, name));
const times = (one: tf.Tensor, factor: number): tf.Scalar => one.mul(factor).sum() as tf.Scalar;
const valuesOf = (grads: Record<string, tf.Tensor | null>): Record<string, number[] | null> =>
  Object.fromEntries(Object.entries(grads).map(([name, tensor]) => [name, tensor && [...tensor.dataSync()]]));

t.test('with and without a list, step after step, no tensor is left', async (t) => {
  const [a, b, idle, fixed] = [variable('a'), variable('b', [3]), variable('idle'), variable('fixed', [1, 2], false)];
  const loss = (): tf.Scalar => tf.addN([times(a, rank), times(b, 2 * rank), times(fixed, 1)]) as tf.Scalar;
  let tensors = 0;
  for (let step = 0; step < 4; step += 1) {
    const listed = hvd.variableGrads(loss, [b, idle, a, fixed]);
    t.same([...listed.value.dataSync()], [3 * rank + 6 * rank + 3], 'the value is the local one');
    t.same(valuesOf(listed.grads), { b: [2 * mean], a: [mean, mean], fixed: null });
    const named = hvd.variableGrads(loss);
    t.same(valuesOf(named.grads), { a: [mean, mean], b: [2 * mean] });
    tf.dispose([listed, named] as never);
    if (step === 0) tensors = tf.memory().numTensors;
  }
  t.equal(tf.memory().numTensors, tensors);
});

t.test('options: sum, a name, groups; a variable without gradient on some ranks counts as zeros', async (t) => {
  const [a, b] = [variable('a'), variable('b', [3])];
  const loss = (): tf.Scalar => (rank === 0 ? times(a, 1) : times(b, 2));
  for (const options of [{ op: hvd.Sum }, { op: hvd.Sum, name: 'mine' }, { op: hvd.Sum, groups: 2 }] as const) {
    const { value, grads } = hvd.variableGrads(loss, [a, b], options);
    t.same(valuesOf(grads), { a: [1, 1], ...(size > 1 ? { b: [2 * (size - 1)] } : {}) });
    tf.dispose([value, grads] as never);
  }
});

t.test('averaged gradients are clipped by hand, then applied', async (t) => {
  const a = variable('a');
  const { value, grads } = hvd.variableGrads(() => times(a, 10 * (rank + 1)), [a]);
  tf.tidy(() => {
    const norm = grads.a!.norm().dataSync()[0]!;
    tf.train.sgd(1).applyGradients({ a: grads.a!.mul(Math.min(1, 1 / norm)) });
  });
  t.ok(Math.abs(grads.a!.dataSync()[0]! - 10 * (mean + 1)) < 1e-4);
  const moved = [...a.dataSync()].map((x, i) => i + 1 - x);
  t.ok(
    moved.every((x) => Math.abs(x - Math.SQRT1_2) < 1e-6),
    `${moved}`,
  );
  tf.dispose([value, grads] as never);
});

t.test('more kinds of options than are kept: the shared memory is given back', async (t) => {
  const a = variable('a', new Array(100_000).fill(1));
  const nextPlace = (): number => {
    const array = hvd.allocate(Float32Array, 100_000);
    hvd.release(array);
    return array.byteOffset;
  };
  const before = nextPlace();
  for (let i = 0; i < 100; i += 1) {
    const { value, grads } = hvd.variableGrads(() => times(a, rank), [a], { name: `one.${i}` });
    if (grads.a!.dataSync()[0] !== mean) t.fail(`call ${i}`);
    tf.dispose([value, grads] as never);
  }
  const grown = nextPlace() - before;
  t.ok(grown < 20e6, `grown by ${grown} bytes; what 100 calls had kept would be 40 MB`);
});

t.test('ranks with different lists get a MismatchError, lose no tensor, and go on', several, async (t) => {
  const [a, b] = [variable('a'), variable('b', [3])];
  const before = tf.memory().numTensors;
  t.throws(() => hvd.variableGrads(() => times(a, 1), rank === 0 ? [a] : [a, b]), { code: 'ERR_HVD_MISMATCH' });
  t.equal(tf.memory().numTensors, before);
  const { value, grads } = hvd.variableGrads(() => times(a, rank), [a]);
  t.same(valuesOf(grads), { a: [mean, mean] });
  tf.dispose([value, grads] as never);
});

t.test('gradients of gradients: inside f they are right, around it they are refused', async (t) => {
  const a = variable('a', [1 + rank]);
  // d/da (3a²)² = 36a³
  const penalty = (): tf.Scalar =>
    tf
      .grad((x: tf.Tensor) => x.pow(3).sum())(a)
      .square()
      .sum() as tf.Scalar;
  const { value, grads } = hvd.variableGrads(penalty, [a]);
  const expected = Array.from({ length: size }, (_, r) => 36 * (1 + r) ** 3).reduce((sum, x) => sum + x, 0) / size;
  t.ok(Math.abs(grads.a!.dataSync()[0]! / expected - 1) < 1e-5, `${grads.a!.dataSync()[0]} for ${expected}`);
  tf.dispose([value, grads] as never);
  const outer = tf.grad((x: tf.Tensor) => hvd.variableGrads(() => a.mul(x).sum() as tf.Scalar, [a]).grads.a!.sum());
  t.throws(() => tf.tidy(() => outer(tf.tensor1d([1]))), { code: 'ERR_HVD_USAGE', message: /inside another gradient.*constants/ });
});

t.test('a process set: the others get their own gradients', several, async (t) => {
  const set = hvd.addProcessSet([0]);
  const a = variable('a');
  const { value, grads } = hvd.variableGrads(() => times(a, rank), [a], { processSet: set });
  t.same(valuesOf(grads), { a: [rank, rank] });
  tf.dispose([value, grads] as never);
  hvd.removeProcessSet(set);
});

t.test('what is wrong is said at the call; and the next job', async (t) => {
  const a = variable('a');
  const wrong = (options: object, message: RegExp): void =>
    void t.throws(() => hvd.variableGrads(() => times(a, 1), [a], options), { code: 'ERR_HVD_USAGE', message });
  wrong({ passes: 1 }, /variableGrads has no option 'passes'/);
  wrong({ backwardPassesPerStep: 2 }, /variableGrads keeps nothing/);
  hvd.shutdown();
  t.throws(() => hvd.variableGrads(() => times(a, 1)), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  const { value, grads } = hvd.variableGrads(() => times(a, rank));
  t.same(valuesOf(grads), { a: [mean, mean] });
  tf.dispose([value, grads] as never);
});
