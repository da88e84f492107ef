/** alltoall, reducescatter and Adasum on 1 to 6 ranks over the transport in memory, against what their definitions give. */
import t from 'tap';
import { dtypes, isFloat } from '../../../src/dtype';
import { randomFrom } from '../collective/simulation';
import { call } from './calls';
import { arrayOf, bytesIn, makeOperations, numbersIn, runOn, value } from './operating';

const sizes = [1, 2, 3, 4, 5, 6];
const reducible = dtypes.filter((dtype) => dtype !== 'bool');
const ranksOf = (size: number): number[] => Array.from({ length: size }, (_, rank) => rank);
const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

t.test('alltoall takes each row to the rank it is for, however the rows are split, and leaves its input alone', async (t) => {
  for (const size of sizes) {
    const ranks = makeOperations(size);
    const everyone = ranksOf(size);
    const tables: Record<string, number[][]> = {
      equal: everyone.map(() => everyone.map(() => 3)),
      ragged: everyone.map((from) => everyone.map((to) => (from * 5 + to * 3) % 4)),
      'nothing from rank 0': everyone.map((from) => everyone.map(() => (from === 0 ? 0 : 2))),
      'nothing for the last': everyone.map(() => everyone.map((to) => (to === size - 1 ? 0 : 2))),
      nothing: everyone.map(() => everyone.map(() => 0)),
    };
    for (const [what, splits] of Object.entries(tables)) {
      for (const dtype of dtypes) {
        for (const axes of [[], [2], [2, 0]]) {
          const rowElems = axes.reduce((product, axis) => product * axis, 1);
          // Tells from whom, for whom and which.
          const rowsFor = (from: number, to: number): number[] =>
            Array.from({ length: splits[from]![to]! * rowElems }, (_, i) => (from * 36 + to * 6 + (i % 6)) % 127);
          const operands = everyone.map((from) =>
            bytesIn(
              arrayOf(
                dtype,
                everyone.flatMap((to) => rowsFor(from, to)),
              ),
            ),
          );
          const calls = everyone.map((from) =>
            call('x', { kind: 'alltoall', dtype, parts: [[sum(splits[from]!), ...axes]], splits: splits[from]! }),
          );
          const results = await runOn(ranks, calls, operands, splits);
          for (const [to, { result, bytes }] of results.entries()) {
            const expected = everyone.flatMap((from) => rowsFor(from, to));
            const found = numbersIn(dtype, new Uint8Array(result.outputs![0]!));
            const rows = everyone.map((from) => splits[from]![to]!);
            if (String(found) !== String(expected) || String(result.rows) !== String([rows]) || Buffer.compare(bytes, operands[to]!) !== 0)
              t.fail(`${size} ranks, ${what}, ${dtype} of rows [${axes}], rank ${to}: ${found}`);
          }
        }
      }
    }
  }
  t.pass();
});

t.test('reducescatter leaves every rank its rows of the sum or the average, for every dtype and for groups', async (t) => {
  for (const size of sizes) {
    const ranks = makeOperations(size);
    for (const dtype of reducible) {
      for (const op of ['sum', 'average'] as const) {
        for (const parts of [[[size * 2, 3]], [[size + 1]], [[1, 2]], [[0, 4]], [[3, 2, 2], [0], [size * 3 - 1, 5]]]) {
          const elemsOf = (shape: number[]): number => shape.reduce((product, axis) => product * axis, 1);
          const elems = sum(parts.map(elemsOf));
          // Sums of few small quarters are exact in any order.
          const at = (rank: number, i: number): number => (isFloat(dtype) ? (((rank * 5 + i * 3) % 9) - 4) / 4 : ((rank + i) % 4) + 1);
          const operands = ranksOf(size).map((rank) =>
            bytesIn(
              arrayOf(
                dtype,
                Array.from({ length: elems }, (_, i) => at(rank, i)),
              ),
            ),
          );
          const one = call('x', { kind: 'reducescatter', dtype, op, parts, grouped: parts.length > 1 });
          const results = await runOn(
            ranks,
            ranksOf(size).map(() => one),
            operands,
          );
          for (const [rank, { bytes }] of results.entries()) {
            const found = numbersIn(dtype, bytes);
            let from = 0;
            for (const shape of parts) {
              const [rows, rowElems] = [shape[0]!, elemsOf(shape.slice(1))];
              const rowsOf = (r: number): number => Math.floor(rows / size) + (r < rows % size ? 1 : 0);
              const first = from + sum(ranksOf(rank).map(rowsOf)) * rowElems;
              for (let i = first; i < first + rowsOf(rank) * rowElems; i += 1) {
                const total = sum(ranksOf(size).map((r) => at(r, i)));
                const divided = total / size;
                const wanted = op === 'sum' ? total : isFloat(dtype) ? divided : Math.trunc(divided);
                if (Math.abs(found[i]! - wanted) > 1e-6)
                  t.fail(`${size} ranks, ${op} of [${shape}] ${dtype}, rank ${rank}: ${found[i]}, not ${wanted}`);
              }
              from += rows * rowElems;
            }
          }
        }
      }
    }
  }
  t.pass();
});

t.test('reducescatter scales before and after', async (t) => {
  const ranks = makeOperations(3);
  for (const dtype of ['float32', 'int32'] as const) {
    const one = call('x', { kind: 'reducescatter', dtype, op: 'sum', parts: [[3]], prescale: 0.5, postscale: 3 });
    const results = await runOn(
      ranks,
      [one, one, one],
      ranksOf(3).map((rank) => bytesIn(arrayOf(dtype, [rank + 3, 4, 5]))),
    );
    // 3, 4 and 5 halved are 1.5, 2 and 2.5; integers lose the fractions.
    const expected = dtype === 'int32' ? [15, 18, 18] : [18, 18, 22.5];
    t.same(
      results.map(({ bytes }, rank) => numbersIn(dtype, bytes)[rank]),
      expected,
    );
  }
});

/** In float64 throughout, neighbours first. */
function adasumOf(vectors: readonly number[][]): number[] {
  if (vectors.length === 1) return vectors[0]!;
  const half = 2 ** Math.ceil(Math.log2(vectors.length) - 1);
  const [a, b] = [adasumOf(vectors.slice(0, half)), adasumOf(vectors.slice(half))];
  const product = (x: number[], y: number[]): number => sum(x.map((one, i) => one * y[i]!));
  const [dot, aa, bb] = [product(a, b), product(a, a), product(b, b)];
  return a.map((x, i) => (aa ? 1 - dot / (2 * aa) : 1) * x + (bb ? 1 - dot / (2 * bb) : 1) * b[i]!);
}

t.test('Adasum is its definition on any number of ranks, per tensor of a group, and the same bits everywhere', async (t) => {
  const random = randomFrom(7);
  for (const size of sizes) {
    const ranks = makeOperations(size);
    for (const dtype of ['float32', 'float64'] as const) {
      for (const elems of [[1], [300], [0], [5, 0, 1000]]) {
        const parts = elems.map((count) => [count]);
        const tensors = ranksOf(size).map(() => elems.map((count) => Array.from({ length: count }, () => Math.fround(random() - 0.4))));
        const operands = tensors.map((ofRank) => bytesIn(arrayOf(dtype, ofRank.flat())));
        const one = call('x', { dtype, op: 'adasum', parts, grouped: parts.length > 1, prescale: 2, postscale: 0.25 });
        const results = await runOn(
          ranks,
          ranksOf(size).map(() => one),
          operands,
        );
        const expected = elems.flatMap((_, part) => adasumOf(tensors.map((ofRank) => ofRank[part]!.map((x) => x * 2))).map((x) => x / 4));
        const found = numbersIn(dtype, results[0]!.bytes);
        const tolerance = dtype === 'float32' ? 1e-5 : 1e-13;
        for (const [i, wanted] of expected.entries())
          if (!(Math.abs(found[i]! - wanted) < tolerance))
            t.fail(`${size} ranks, ${elems} ${dtype}, element ${i}: ${found[i]}, not ${wanted}`);
        for (const { bytes } of results)
          if (Buffer.compare(bytes, results[0]!.bytes) !== 0) t.fail(`${size} ranks, ${elems} ${dtype}: bits differ`);
      }
    }
  }
  t.pass();
});

t.test('Adasum of orthogonal vectors is their sum, of equal ones the vector, of parallel ones on two ranks the mean', async (t) => {
  for (const size of sizes) {
    const ranks = makeOperations(size);
    const one = call('x', { op: 'adasum', parts: [[size]] });
    const run = async (of: (rank: number, i: number) => number) => {
      const operands = ranksOf(size).map((rank) => bytesIn(Float32Array.from({ length: size }, (_, i) => of(rank, i))));
      const results = await runOn(
        ranks,
        ranksOf(size).map(() => one),
        operands,
      );
      return numbersIn('float32', results[size - 1]!.bytes);
    };
    t.same(
      await run((rank, i) => (i === rank ? rank + 1 : 0)),
      ranksOf(size).map((rank) => rank + 1),
    );
    t.same(
      await run((_, i) => i + 1),
      ranksOf(size).map((i) => i + 1),
    );
    if (size === 2) t.same(await run((rank, i) => (rank + 1) * 4 * (i + 1)), [6, 12]);
    t.same(await run(() => 0), new Array(size).fill(0));
  }
});

t.test('one operation after the other on the same ranks, of all kinds', async (t) => {
  const ranks = makeOperations(3);
  for (let round = 0; round < 3; round += 1) {
    for (const fields of [
      { op: 'adasum' as const },
      { kind: 'alltoall' as const, splits: [2, 0, 1] },
      { kind: 'reducescatter' as const },
      { op: 'max' as const },
    ]) {
      const one = call('x', { parts: [[3]], ...fields });
      const results = await runOn(
        ranks,
        [one, one, one],
        ranksOf(3).map((rank) => bytesIn(arrayOf('float32', [value('float32', rank, 0), 1, 2]))),
        'splits' in fields ? ranksOf(3).map(() => fields.splits!) : [],
      );
      t.equal(results.length, 3);
    }
  }
});
