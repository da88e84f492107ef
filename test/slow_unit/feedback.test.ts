/** Allreduces that keep a residual, over the transport in memory: within the promised error, the same bits on all ranks, nothing lost over many steps, and nothing kept that should not be. */
import t from 'tap';
import type { Call } from '../../src/engine/call';
import { Residuals } from '../../src/engine/residuals';
import { call } from '../unit/engine/calls';
import { arrayOf, bytesIn, makeOperations, numbersIn, runOn } from '../unit/engine/operating';

type Ranks = ReturnType<typeof makeOperations>;
const MOST_RANKS = 4;

/** Different on every rank and at every step. */
const element = (rank: number, i: number, step: number): number =>
  Math.fround(Math.sin(i * 12.9898 + rank * 78.233 + step * 3.7) * 2 ** (i % 9));
const operandsOf = (one: Call, size: number, step: number): Uint8Array[] =>
  Array.from({ length: size }, (_, rank) => {
    const elems = one.parts.reduce((sum, shape) => sum + shape.reduce((product, axis) => product * axis, 1), 0);
    return bytesIn(
      arrayOf(
        one.dtype,
        Array.from({ length: elems }, (_, i) => element(rank, i, step)),
      ),
    );
  });
const sumOf = (one: Call, size: number, i: number, step: number): number => {
  const terms = Array.from({ length: size }, (_, rank) => one.prescale * element(rank, i, step));
  return (one.postscale * terms.reduce((sum, term) => sum + term)) / (one.op === 'average' ? size : 1);
};

/** One step on all ranks. */
async function stepOn(ranks: Ranks, one: Call, step = 0): Promise<{ results: Uint8Array[]; numbers: number[] }> {
  const outcomes = await runOn(ranks, Array(ranks.length).fill(one), operandsOf(one, ranks.length, step));
  const results = outcomes.map(({ bytes }) => bytes);
  return { results, numbers: numbersIn(one.dtype, results[0]!) };
}
const areEqual = (results: readonly Uint8Array[]): boolean => results.every((bytes) => Buffer.compare(bytes, results[0]!) === 0);
const int8 = (fields: Partial<Call> = {}): Call => call('x', { compression: 'int8', parts: [[1000]], ...fields });

/** Largest magnitude of any element: a block's scale is at most a 127th. */
const MOST = 2 ** 8;

for (const dtype of ['float32', 'float64'] as const)
  t.test(`int8, ${dtype}: any number of ranks and elements, within the bound and equal; the same bits in another run`, async (t) => {
    for (const size of [2, 3, MOST_RANKS]) {
      const [ranks, others] = [makeOperations(size), makeOperations(size)];
      for (const elems of [0, 1, 256, 5001])
        for (const op of ['sum', 'average'] as const) {
          const one = int8({ name: `${op} ${elems}`, dtype, op, parts: [[elems]], prescale: 0.7, postscale: 3.1 });
          const { results, numbers } = await stepOn(ranks, one);
          const scale = ((one.prescale * MOST) / (op === 'average' ? size : 1)) * (1 / 127);
          // Each rank but the owner rounds once, and the owner a sum that is as many times as large.
          const bound = one.postscale * (((size - 1) * scale) / 2 + (size * scale) / 2) * 1.01;
          const wrong = numbers.findIndex((value, i) => !(Math.abs(value - sumOf(one, size, i, 0)) <= bound));
          t.equal(wrong, -1, `${op} of ${elems} on ${size} ranks`);
          t.ok(areEqual(results), 'replicas');
          t.same((await stepOn(others, one)).results, results, 'again');
        }
    }
  });

t.test('int8: a quarter of the bytes travel', async (t) => {
  const ranks = makeOperations(4);
  const sent = (): number[] => ranks.map(({ transport }) => transport.bytesSent);
  await stepOn(ranks, int8({ parts: [[20_480]] }));
  t.same(sent(), Array(4).fill(2 * (3 / 4) * 20_480 * (1 + 4 / 256)));
});

const topK = (ratio: number, fields: Partial<Call> = {}): Call => call('x', { compression: `topK(${ratio})`, parts: [[1000]], ...fields });

for (const dtype of ['float32', 'float64'] as const)
  t.test(`topK, ${dtype}: the largest of each rank's tensors are summed exactly, those that are no fewer bytes travel whole`, async (t) => {
    for (const size of [2, 4]) {
      const parts = [[300], [10, 5], [1], [0], [2, 2, 100]];
      const one = topK(0.02, { dtype, parts, grouped: true, prescale: 0.5, postscale: 2 });
      const { results, numbers } = await stepOn(makeOperations(size), one);
      t.ok(areEqual(results), 'replicas');
      let from = 0;
      for (const shape of parts) {
        const elems = shape.reduce((product, axis) => product * axis, 1);
        const count = Math.ceil(0.02 * elems);
        const isWhole = count * size >= elems;
        const expected = new Float64Array(elems);
        for (let rank = 0; rank < size; rank += 1) {
          const all = Array.from({ length: elems }, (_, i) => ({ i, value: element(rank, from + i, 0) }));
          all.sort((a, b) => Math.abs(b.value) - Math.abs(a.value) || a.i - b.i);
          for (const { i, value } of isWhole ? all : all.slice(0, count)) expected[i]! += value;
        }
        const found = numbers.slice(from, from + elems);
        t.ok(
          found.every((value, i) => Math.abs(value - expected[i]!) <= 1e-4),
          `[${shape}] on ${size} ranks`,
        );
        from += elems;
      }
    }
  });

t.test('topK: what travels is an index and a value for each chosen element', async (t) => {
  const ranks = makeOperations(3);
  await stepOn(ranks, topK(0.01, { parts: [[10_000]] }));
  t.same(
    ranks.map(({ transport }) => transport.bytesSent),
    Array(3).fill(2 * 100 * 8),
  );
});

t.test('topK: what was not chosen is sent by and by', async (t) => {
  // The same elements at every step: each is sent at last, and on the average of many steps as it is.
  const one = topK(0.05, { parts: [[200]] });
  const ranks = makeOperations(2);
  const total = new Float64Array(200);
  const STEPS = 200;
  for (let step = 0; step < STEPS; step += 1)
    for (const [i, value] of (await stepOn(ranks, one, 0)).numbers.entries()) total[i]! += value / STEPS;
  const off = total.reduce((most, value, i) => Math.max(most, Math.abs(value - sumOf(one, 2, i, 0))), 0);
  t.ok(off < 0.1 * MOST, `${off}`);
  t.ok(total.filter((value) => value !== 0).length > 100, 'of 20 a step');
});

const powerSGD = (rank: number, fields: Partial<Call> = {}): Call =>
  call('x', { compression: `powerSGD(${rank})`, parts: [[40, 25]], ...fields });

for (const dtype of ['float32', 'float64'] as const)
  t.test(`powerSGD, ${dtype}: a sum of low rank comes back as it is, vectors travel whole, replicas are equal`, async (t) => {
    for (const size of [2, 3]) {
      const parts = [[30], [6, 5, 20], [], [2, 2], [12, 30]];
      const elems = parts.map((shape) => shape.reduce((product, axis) => product * axis, 1));
      const one = powerSGD(2, { dtype, parts, grouped: true, op: 'average', postscale: 2 });
      // Each rank's matrices are of rank 1, of the same columns: together too.
      const matrixAt = (rank: number, i: number, columns: number): number =>
        Math.cos(rank + Math.floor(i / columns)) * Math.sin(1 + (i % columns));
      const operand = (rank: number): number[] =>
        parts.flatMap((shape, part) => Array.from({ length: elems[part]! }, (_, i) => matrixAt(rank, i, shape.at(-1) ?? 1)));
      const all = Array.from({ length: size }, (_, rank) => operand(rank));
      const outcomes = await runOn(
        makeOperations(size),
        Array(size).fill(one),
        all.map((numbers) => bytesIn(arrayOf(dtype, numbers))),
      );
      t.ok(areEqual(outcomes.map(({ bytes }) => bytes)), 'replicas');
      const off = numbersIn(dtype, outcomes[0]!.bytes).map((value, i) =>
        Math.abs(value - (2 / size) * all.reduce((sum, one) => sum + one[i]!, 0)),
      );
      t.ok(Math.max(...off) < 1e-5, `${Math.max(...off)} on ${size} ranks`);
    }
  });

t.test('powerSGD: two thin factors travel', async (t) => {
  const ranks = makeOperations(2);
  await stepOn(ranks, powerSGD(4, { parts: [[512, 256]] }));
  t.ok(ranks.every(({ transport }) => transport.bytesSent <= 4 * (512 + 256) * 4));
});

t.test('powerSGD: what lies beside the columns is sent by and by, and nothing grows', async (t) => {
  const one = powerSGD(2);
  const ranks = makeOperations(2);
  const STEPS = 60;
  const total = new Float64Array(1000);
  for (let step = 0; step < STEPS; step += 1) {
    const { results, numbers } = await stepOn(ranks, one, 0);
    t.ok(areEqual(results), `step ${step}`);
    for (const [i, value] of numbers.entries()) total[i]! += value / STEPS;
  }
  const norm = (of: (i: number) => number): number => Math.hypot(...Array.from({ length: 1000 }, (_, i) => of(i)));
  const off = norm((i) => total[i]! - sumOf(one, 2, i, 0)) / norm((i) => sumOf(one, 2, i, 0));
  t.ok(off < 0.25, `${off}`);
});

t.test('powerSGD: a matrix that is not finite is NaN as a whole, and the next step begins anew', async (t) => {
  const one = powerSGD(2, { parts: [[40, 25], [3]], grouped: true });
  const [ranks, fresh] = [makeOperations(2), makeOperations(2)];
  const operands = operandsOf(one, 2, 0);
  new Float32Array(operands[0]!.buffer)[7] = Number.NaN;
  const [bad] = await runOn(ranks, [one, one], operands);
  const numbers = numbersIn('float32', bad!.bytes);
  t.ok(numbers.slice(0, 1000).every(Number.isNaN) && numbers.slice(1000).every(Number.isFinite));
  t.same((await stepOn(ranks, one, 1)).results, (await stepOn(fresh, one, 1)).results);
  const empty = powerSGD(2, { name: 'zeros' });
  const zeros = await runOn(ranks, [empty, empty], [new Uint8Array(4000), new Uint8Array(4000)]);
  t.ok(numbersIn('float32', zeros[1]!.bytes).every((value) => value === 0));
  t.ok(
    (await stepOn(ranks, empty, 1)).numbers.some((value) => value !== 0),
    'zeros do not stay',
  );
});

t.test('over many steps errors do not add up: the sum of the results is off by what is kept, no more', async (t) => {
  const [STEPS, SIZE] = [40, 3];
  const one = int8({ op: 'average', parts: [[700]] });
  const ranks = makeOperations(SIZE);
  const [total, exact] = [new Float64Array(700), new Float64Array(700)];
  let single = 0;
  for (let step = 0; step < STEPS; step += 1) {
    const { results, numbers } = await stepOn(ranks, one, step);
    t.ok(areEqual(results), `step ${step}`);
    for (let i = 0; i < 700; i += 1) {
      total[i]! += numbers[i]!;
      exact[i]! += sumOf(one, SIZE, i, step);
      single = Math.max(single, Math.abs(numbers[i]! - sumOf(one, SIZE, i, step)));
    }
  }
  const off = total.reduce((most, value, i) => Math.max(most, Math.abs(value - exact[i]!)), 0);
  t.ok(off > 0 && off < 2 * single, `${off} after ${STEPS} steps, ${single} in one`);
});

t.test('another shape, op or factor under the name begins anew, and so does another name', async (t) => {
  const first = int8();
  for (const other of [int8({ op: 'average' }), int8({ prescale: 2 }), int8({ parts: [[500]] }), int8({ name: 'y' })]) {
    const ranks = makeOperations(2);
    const fresh = await stepOn(makeOperations(2), other, 1);
    await stepOn(ranks, first, 0);
    t.same((await stepOn(ranks, other, 1)).results, fresh.results);
  }
  const ranks = makeOperations(2);
  const fresh = await stepOn(ranks, first, 0);
  t.notSame((await stepOn(ranks, first, 0)).results, fresh.results, 'what was kept is sent');
});

t.test('a step with an infinity or a NaN leaves nothing behind', async (t) => {
  const one = int8({ parts: [[256]] });
  const ranks = makeOperations(2);
  const operands = operandsOf(one, 2, 0);
  new Float32Array(operands[1]!.buffer)[3] = Number.NaN;
  const bad = await runOn(ranks, [one, one], operands);
  t.ok(areEqual(bad.map(({ bytes }) => bytes)) && numbersIn('float32', bad[0]!.bytes).every(Number.isNaN));
  const { numbers } = await stepOn(ranks, one, 1);
  t.ok(numbers.every(Number.isFinite));
  const sparse = topK(0.05, { parts: [[256]] });
  const marked = operandsOf(sparse, 2, 0);
  new Float32Array(marked[1]!.buffer)[3] = Number.NaN;
  const [first] = await runOn(ranks, [sparse, sparse], marked);
  t.same(numbersIn('float32', first!.bytes).filter(Number.isNaN).length, 1, 'topK sends it at once');
  t.ok((await stepOn(ranks, sparse, 1)).numbers.every(Number.isFinite));
});

t.test('with one rank nothing is rounded', async (t) => {
  const one = int8({ op: 'average' });
  const [operand] = operandsOf(one, 1, 0);
  t.same((await runOn(makeOperations(1), [one], [operand!]))[0]!.bytes, operand);
});

t.test('a rank that has joined gives zeros and what it still holds; all stay alike afterwards', async (t) => {
  const one = int8({ parts: [[600]] });
  const ranks = makeOperations(3);
  await stepOn(ranks, one, 0);
  const operands = operandsOf(one, 3, 1);
  const [joined] = ranks.splice(2, 1) as [Ranks[number]];
  const zeros = joined.operations.contributeZeros({ keys: ['0:x'], kind: 'allreduce', processSet: 0, tag: 1, sizes: [], zeros: one }, one);
  const [a, b] = await runOn(ranks, [one, one], operands);
  await zeros;
  t.same(a!.bytes, b!.bytes);
  const off = numbersIn('float32', a!.bytes).map((value, i) => Math.abs(value - element(0, i, 1) - element(1, i, 1)));
  t.ok(Math.max(...off) < (4 * MOST) / 127, 'two operands');
  ranks.push(joined);
  t.ok(areEqual((await stepOn(ranks, one, 2)).results));
});

t.test('what is kept is bounded, the oldest goes first; a set that is gone takes its own with it', async (t) => {
  const kept = new Residuals(2, 1 << 20);
  const [a, b] = [kept.of(int8({ name: 'a' })), kept.of(int8({ name: 'b' }))];
  t.equal(kept.of(int8({ name: 'a' })), a, 'used last');
  kept.of(int8({ name: 'c' }));
  t.equal(kept.of(int8({ name: 'a' })), a);
  t.not(kept.of(int8({ name: 'b' })), b);
  const other = kept.of(int8({ name: 'a', processSet: 1 }));
  t.not(other, a, 'each set has its own');
  kept.forget(1);
  t.not(kept.of(int8({ name: 'a', processSet: 1 })), other);
  const narrow = new Residuals(9, 5000);
  const large = narrow.of(int8({ name: 'a', parts: [[9000]] }));
  t.equal(narrow.of(int8({ name: 'a', parts: [[9000]] })), large, 'the newest is kept, however large');
  narrow.of(int8({ name: 'b' }));
  t.not(narrow.of(int8({ name: 'a', parts: [[9000]] })), large);
});
