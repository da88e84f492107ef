/** The products of PowerSGD against plain loops, and what orthogonalisation promises. */
import t from 'tap';
import { addProduct, firstQ, lowRankOf, orthogonalise, timesP, timesQ, warmed } from '../../../src/collective/power_sgd';

const run = (work: Generator<void>): number => [...work].length;
const at =
  (seed: number) =>
  (_: number, i: number): number =>
    Math.sin(i * 1.3 + seed);

t.test('products are those of plain loops, whatever the shape', async (t) => {
  for (const [rows, columns, rank] of [
    [1, 1, 1],
    [7, 5, 2],
    [3, 2500, 3],
    [300, 9, 4],
  ] as const) {
    const size = { rows, columns, rank };
    const [m, q, p] = [
      new Float32Array(rows * columns).map(at(1)),
      new Float32Array(rank * columns).map(at(2)),
      new Float32Array(rank * rows),
    ];
    run(timesQ(m, size, q, p));
    let off = 0;
    for (let c = 0; c < rank; c += 1)
      for (let i = 0; i < rows; i += 1) {
        let sum = 0;
        for (let j = 0; j < columns; j += 1) sum += m[i * columns + j]! * q[c * columns + j]!;
        off = Math.max(off, Math.abs(p[c * rows + i]! - sum));
      }
    const back = new Float32Array(rank * columns);
    run(timesP(m, size, p, back));
    for (let c = 0; c < rank; c += 1)
      for (let j = 0; j < columns; j += 1) {
        let sum = 0;
        for (let i = 0; i < rows; i += 1) sum += m[i * columns + j]! * p[c * rows + i]!;
        off = Math.max(off, Math.abs(back[c * columns + j]! - sum) / rows);
      }
    const left = m.slice();
    run(addProduct(left, size, p, q, -1));
    for (let i = 0; i < rows; i += 1)
      for (let j = 0; j < columns; j += 1) {
        let sum = m[i * columns + j]!;
        for (let c = 0; c < rank; c += 1) sum -= p[c * rows + i]! * q[c * columns + j]!;
        off = Math.max(off, Math.abs(left[i * columns + j]! - sum) / columns);
      }
    t.ok(off < 1e-4, `${rows} × ${columns}, rank ${rank}: ${off}`);
  }
});

t.test('columns become orthonormal; what is nothing new becomes 0', async (t) => {
  const [rows, rank] = [50, 4];
  const p = new Float32Array(rank * rows).map(at(3));
  for (let i = 0; i < rows; i += 1) p[2 * rows + i] = 2 * p[i]! - 3 * p[rows + i]!;
  orthogonalise(p, { rows, rank });
  const product = (a: number, b: number): number =>
    Array.from({ length: rows }, (_, i) => p[a * rows + i]! * p[b * rows + i]!).reduce((sum, one) => sum + one);
  // Sines of one frequency have two dimensions.
  for (let a = 0; a < rank; a += 1)
    for (let b = 0; b < rank; b += 1) t.ok(Math.abs(product(a, b) - (a === b && a < 2 ? 1 : 0)) < 1e-5, `${a} · ${b}`);
  const zeros = new Float32Array(8);
  orthogonalise(zeros, { rows: 4, rank: 2 });
  t.same(zeros, new Float32Array(8));
});

t.test('which tensors are worth it, and what a step begins with', async (t) => {
  t.same(lowRankOf([3, 3, 16, 32], 4), { rows: 144, columns: 32, rank: 4 });
  for (const shape of [[], [1000], [4, 1000], [8, 8]]) t.equal(lowRankOf(shape, 4), undefined, `[${shape}]`);
  const q = firstQ({ columns: 100, rank: 2 });
  t.same(q, firstQ({ columns: 100, rank: 2 }), 'the same everywhere');
  t.notSame(q.slice(0, 100), q.slice(100));
  const idle = q.slice().fill(0, 100);
  t.same(warmed(idle, { columns: 100, rank: 2 }), q, 'a row of zeros begins anew');
});

t.test('long products look up in between', async (t) => {
  const size = { rows: 3000, columns: 1000, rank: 2 };
  t.ok(run(timesQ(new Float32Array(3_000_000), size, new Float32Array(2000), new Float32Array(6000))) >= 2);
});
