/** The servers' rules against TensorFlow.js's optimizers (mended) and hvd.train's, over 100 steps; what a kernel leaves alone and refuses; rules from peers. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { BugError, WireError } from '../../../src/errors';
import * as hvd from '../../../src/index';
import { createMemory } from '../../../src/memory/arena';
import { makeOptimizer } from '../../../src/parameter_server/optimizers';
import { checkedRule, type RuleSpec, slotsOf } from '../../../src/parameter_server/rules';
import { applierOf } from '../../../src/tensorflow/mends';
import { setLearningRate } from '../../../src/tensorflow/optimizer_state';

/** Of the largest value of a variable. float32 has 6e-8; a hundred steps add up, and tfjs's bias corrections of the first steps are off by 5e-5 of a step. */
const ERROR = 5e-6;
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
});
t.afterEach(() => tf.disposeVariables());

for (const [spec, rate, theirs] of cases) {
  t.test(`${titleOf(spec)}: as tfjs over ${STEPS} steps, with a changing rate, scaled gradients, and steps without one`, async (t) => {
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

    for (let step = 1; step <= STEPS; step += 1) {
      const rateNow = rate / (1 + 0.05 * step);
      const scale = [1, 0.5, 1 / 3][step % 3]!;
      setLearningRate(optimizer, rateNow);
      const gradients = kept.map(({ at }, i) => {
        const values = random(at.elems).map((value, k) => (value + 0.3) * 10 ** ((k % 5) - 2));
        if ((step + i) % 7 === 0) return null;
        floats.set(values, at.gradient / 4);
        ours.apply(at, step, rateNow, scale);
        t.same(floats.slice(at.gradient / 4, at.gradient / 4 + at.elems), values, 'the gradient stays');
        return tf.tensor(
          values.map((value) => value * Math.fround(scale)),
          shapes[i]!,
        );
      });
      apply(variables.map(({ name }, i) => ({ name, tensor: gradients[i]! })));
      tf.dispose(gradients as tf.Tensor[]);
    }

    const weights = (spec.kind === 'adamax' ? [] : await optimizer.getWeights()) as Array<{ name: string; tensor: tf.Tensor }>;
    for (const [i, { at, read }] of kept.entries()) {
      const error = errorOf(read(at.variable), variables[i]!.dataSync());
      t.ok(error < ERROR, `shape [${shapes[i]}]: off by ${error}`);
      if (at.elems > 0) t.ok(errorOf(read(at.variable), starts[i]!) > 1000 * ERROR, 'it has moved');
      for (const [k, { name }] of slotsOf(spec).entries()) {
        const slot = weights.find((one) => one.name === `${variables[i]!.name}/${name}`);
        if (spec.kind === 'adamax') continue;
        const off = errorOf(read(at.slots[k]!), slot!.tensor.dataSync());
        t.ok(off < ERROR, `slot ${name} of shape [${shapes[i]}]: off by ${off}`);
      }
    }
    t.ok(
      kept.every(({ guards }) => guards.every((index) => floats[index] === GUARD)),
      'what lies behind is untouched',
    );
    optimizer.dispose();
  });
}
