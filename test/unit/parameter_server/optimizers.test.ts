/** The servers' rules against TensorFlow.js's optimizers (mended) and hvd.train's, over 100 steps; what a kernel leaves alone and refuses; rules from peers. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { BugError, WireError } from '../../../src/errors';
import * as hvd from '../../../src/index';
import { createMemory } from '../../../src/memory/arena';
import { makeOptimizer } from '../../../src/parameter_server/optimizers';
import { checkedRule, type RuleKind, type RuleSpec, slotsOf } from '../../../src/parameter_server/rules';
import { applierOf } from '../../../src/tensorflow/mends';
import { setLearningRate } from '../../../src/tensorflow/optimizer_state';
import { prepareOptimizers } from '../../../src/tensorflow/train';

/**
 * How far off a rule may be, of the largest value of a variable or slot; others give the same bits. Corrections of bias are factors here and in float64; tfjs's Adam takes its first ones from powers
 * that are off by 5e-5 (one minus a float32 near one).
 */
const errors: Partial<Record<RuleKind, number>> = { adam: 5e-6, adamax: 5e-7, nadam: 5e-7, adamw: 5e-7 };
const STEPS = 100;
/** Elements: whole turns of the kernel, whole vectors, and what is left of either. */
const shapes = [[4, 4], [5], [], [2, 2, 3], [0], [7, 9], [67]];

const memory = createMemory(64);
const floats = new Float32Array(memory.buffer);

/** The same sequence every time, between −1 and 1. */
function randomNumbers(): (count: number) => Float32Array {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return (count) => Float32Array.from({ length: count }, next);
}
const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const cases: ReadonlyArray<readonly [spec: RuleSpec, rate: number, theirs: (rate: number) => tf.Optimizer]> = [
  [{ kind: 'sgd' }, 0.1, (rate) => tf.train.sgd(rate)],
  [{ kind: 'momentum', momentum: 0.9, nesterov: false }, 0.1, (rate) => tf.train.momentum(rate, 0.9)],
  [{ kind: 'momentum', momentum: 0.8, nesterov: true }, 0.1, (rate) => tf.train.momentum(rate, 0.8, true)],
  [{ kind: 'rmsprop', decay: 0.9, momentum: 0, epsilon: 1e-7, centered: false }, 0.01, (rate) => tf.train.rmsprop(rate)],
  [{ kind: 'rmsprop', decay: 0.8, momentum: 0.5, epsilon: 1e-3, centered: false }, 0.01, (r) => tf.train.rmsprop(r, 0.8, 0.5, 1e-3)],
  // A small epsilon would show how a difference of nearly equal numbers is rounded.
  [{ kind: 'rmsprop', decay: 0.9, momentum: 0.3, epsilon: 1e-2, centered: true }, 0.01, (r) => tf.train.rmsprop(r, 0.9, 0.3, 1e-2, true)],
  [{ kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, 0.01, (rate) => tf.train.adam(rate)],
  [{ kind: 'adam', beta1: 0.7, beta2: 0.9, epsilon: 1e-2 }, 0.01, (rate) => tf.train.adam(rate, 0.7, 0.9, 1e-2)],
  [{ kind: 'adagrad', initialAccumulatorValue: 0.1 }, 0.1, (rate) => tf.train.adagrad(rate)],
  [{ kind: 'adagrad', initialAccumulatorValue: 0 }, 0.1, (rate) => tf.train.adagrad(rate, 0)],
  [{ kind: 'adadelta', rho: 0.95, epsilon: 1e-7 }, 1, (rate) => tf.train.adadelta(rate)],
  [{ kind: 'adadelta', rho: 0.8, epsilon: 1e-2 }, 1, (rate) => tf.train.adadelta(rate, 0.8, 1e-2)],
  [{ kind: 'adamax', beta1: 0.9, beta2: 0.999, epsilon: 1e-7, decay: 0 }, 0.01, (rate) => tf.train.adamax(rate)],
  [{ kind: 'adamax', beta1: 0.8, beta2: 0.9, epsilon: 1e-2, decay: 0.1 }, 0.05, (r) => tf.train.adamax(r, 0.8, 0.9, 1e-2, 0.1)],
  [{ kind: 'nadam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, 0.01, (rate) => hvd.train.nadam(rate)],
  [{ kind: 'nadam', beta1: 0.8, beta2: 0.9, epsilon: 1e-2 }, 0.01, (rate) => hvd.train.nadam(rate, 0.8, 0.9, 1e-2)],
  [{ kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0.004 }, 0.01, (rate) => hvd.train.adamw(rate)],
  [{ kind: 'adamw', beta1: 0.8, beta2: 0.9, epsilon: 1e-2, weightDecay: 0.2 }, 0.01, (r) => hvd.train.adamw(r, 0.8, 0.9, 1e-2, 0.2)],
];
const titleOf = (spec: RuleSpec): string => Object.values(spec).join(' ');

/** A variable in the shared memory, with a gap of guards behind everything. */
interface Kept {
  readonly at: { readonly variable: number; readonly gradient: number; readonly slots: readonly number[]; readonly elems: number };
  readonly guards: readonly number[];
  read(byteOffset: number): Float32Array;
}
const GUARD = 12345;
function place(spec: RuleSpec, elems: number, from: number): Kept {
  const ranges = [0, 0, ...slotsOf(spec).map(({ initial }) => initial)].map((initial, i) => {
    // Vectors that begin at any multiple of 4.
    const index = from + i * (elems + 5) + i;
    floats.fill(initial, index, index + elems);
    floats[index + elems] = GUARD;
    return index * 4;
  });
  const [variable, gradient, ...slots] = ranges as [number, number, ...number[]];
  return {
    at: { variable, gradient, slots, elems },
    guards: ranges.map((at) => at / 4 + elems),
    read: (byteOffset) => floats.slice(byteOffset / 4, byteOffset / 4 + elems),
  };
}

/** The largest difference, of the largest expected value; a NaN is infinitely far off. */
function errorOf(found: Float32Array, expected: ArrayLike<number>): number {
  const scale = Math.max(1e-9, ...Array.from(expected, Math.abs));
  const differences = Array.from(found, (value, i) => Math.abs(value - expected[i]!) / scale);
  return Math.max(0, ...differences.map((one) => (Number.isNaN(one) ? Number.POSITIVE_INFINITY : one)));
}

t.before(async () => {
  await tf.setBackend('cpu');
  prepareOptimizers(tf);
});
t.afterEach(() => tf.disposeVariables());

for (const [spec, rate, theirs] of cases) {
  t.test(`${titleOf(spec)}: as tfjs over ${STEPS} steps, with a changing rate, scaled gradients, and steps without one`, async (t) => {
    const allowed = errors[spec.kind] ?? 0;
    const random = randomNumbers();
    const starts = shapes.map((shape) => random(sizeOf(shape)));
    const variables = shapes.map((shape, i) => tf.variable(tf.tensor(starts[i]!, shape)));
    const optimizer = theirs(rate);
    const apply = applierOf(tf, optimizer);
    const ours = makeOptimizer(checkedRule(JSON.parse(JSON.stringify(spec))), memory);
    let from = 1;
    const kept = shapes.map((shape, i) => {
      const one = place(spec, sizeOf(shape), from);
      from = one.guards.at(-1)! + 2;
      floats.set(starts[i]!, one.at.variable / 4);
      return one;
    });

    let areGradientsKept = true;
    for (let step = 1; step <= STEPS; step += 1) {
      const rateNow = rate / (1 + 0.05 * step);
      const scale = [1, 0.5, 1 / 3][step % 3]!;
      setLearningRate(optimizer, rateNow);
      const gradients = kept.map(({ at, read }, i) => {
        const values = random(at.elems).map((value, k) => (value + 0.3) * 10 ** ((k % 5) - 2));
        if ((step + i) % 7 === 0) return null;
        floats.set(values, at.gradient / 4);
        ours.apply(at, step, rateNow, scale);
        areGradientsKept &&= read(at.gradient).every((value, k) => value === values[k]);
        return tf.tensor(
          values.map((value) => value * Math.fround(scale)),
          shapes[i]!,
        );
      });
      apply(variables.map(({ name }, i) => ({ name, tensor: gradients[i]! })));
      tf.dispose(gradients as tf.Tensor[]);
    }

    const weights = (await optimizer.getWeights()) as Array<{ name: string; tensor: tf.Tensor }>;
    for (const [i, { at, read }] of kept.entries()) {
      const error = errorOf(read(at.variable), variables[i]!.dataSync());
      t.ok(error <= allowed, `shape [${shapes[i]}]: off by ${error}`);
      if (at.elems > 0) t.ok(errorOf(read(at.variable), starts[i]!) > 1e-3, 'it has moved');
      for (const [k, { name }] of slotsOf(spec).entries()) {
        const slot = weights.find((one) => one.name === `${variables[i]!.name}/${name}`);
        const off = errorOf(read(at.slots[k]!), slot!.tensor.dataSync());
        t.ok(off <= allowed, `slot ${name} of shape [${shapes[i]}]: off by ${off}`);
      }
    }
    t.ok(areGradientsKept, 'gradients are only read');
    t.ok(
      kept.every(({ guards }) => guards.every((index) => floats[index] === GUARD)),
      'what lies behind is untouched',
    );
    optimizer.dispose();
  });
}

t.test('an element changes by the same bits wherever it stands', async (t) => {
  for (const [spec, rate] of cases) {
    const elems = 35;
    const { at, read } = place(spec, elems, 1);
    const ours = makeOptimizer(spec, memory);
    floats.fill(0.7, at.variable / 4, at.variable / 4 + elems);
    for (let step = 1; step < 4; step += 1) {
      floats.fill(0.3 / step, at.gradient / 4, at.gradient / 4 + elems);
      ours.apply(at, step, rate, 0.9);
    }
    for (const range of [at.variable, ...at.slots]) t.equal(new Set(read(range)).size, 1, titleOf(spec));
  }
});

t.test('late steps and many of them: corrections come to an end', async (t) => {
  for (const [spec, rate] of cases) {
    const { at, read } = place(spec, 3, 1);
    floats.fill(1, at.variable / 4, at.variable / 4 + 3);
    floats.fill(0.5, at.gradient / 4, at.gradient / 4 + 3);
    makeOptimizer(spec, memory).apply(at, 1e5, rate, 1);
    t.ok(
      read(at.variable).every((value) => Number.isFinite(value) && value < 1),
      titleOf(spec),
    );
  }
});

t.test('what no caller may do is a BugError', async (t) => {
  const adam = makeOptimizer({ kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 }, memory);
  const good = { variable: 0, gradient: 400, slots: [800, 1200], elems: 100 };
  const end = memory.buffer.byteLength;
  const wrong: Array<readonly [why: string, update: typeof good, step: number]> = [
    ['a slot is missing', { ...good, slots: [800] }, 1],
    ['a slot too many', { ...good, slots: [800, 1200, 1600] }, 1],
    ['not aligned', { ...good, variable: 2 }, 1],
    ['a slot beyond the memory', { ...good, slots: [800, end - 396] }, 1],
    ['a gradient before it', { ...good, gradient: -400 }, 1],
    ['step 0', good, 0],
    ['half a step', good, 1.5],
  ];
  for (const [why, update, step] of wrong) t.throws(() => adam.apply(update, step, 0.1, 1), BugError, why);
  adam.apply({ ...good, slots: [800, end - 400] }, 1, 0.1, 1);
});

t.test('checkedRule: what this version sends, and nothing else', async (t) => {
  const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
  for (const [spec] of cases) t.same(checkedRule(JSON.parse(JSON.stringify(spec))), spec);
  const copy = checkedRule(adam);
  t.not(copy, adam, 'a copy, which the peer cannot change');
  const hostile: readonly unknown[] = [
    undefined,
    null,
    'adam',
    7,
    [],
    ['adam'],
    {},
    { kind: 'lars', momentum: 0.9 },
    { kind: 'Adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
    { kind: '__proto__' },
    { kind: 'constructor' },
    { kind: 'toString' },
    { kind: ['sgd'] },
    { ...adam, beta1: undefined },
    { ...adam, beta1: '0.9' },
    { ...adam, beta1: Number.NaN },
    { ...adam, epsilon: Number.POSITIVE_INFINITY },
    { ...adam, epsilon: { valueOf: () => 1 } },
    { ...adam, weightDecay: 0.1 },
    { kind: 'adam', beta1: 0.9, beta2: 0.999 },
    { kind: 'momentum', momentum: 0.9, nesterov: 1 },
    { kind: 'momentum', momentum: 0.9 },
    JSON.parse('{"kind":"sgd","__proto__":{"rate":1}}'),
    Object.create({ kind: 'sgd' }),
    Object.assign(Object.create({ momentum: 0.9 }), { kind: 'momentum', nesterov: true }),
  ];
  for (const value of hostile) t.throws(() => checkedRule(value), WireError, JSON.stringify(value));
});
