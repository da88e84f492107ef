/**
 * Low-rank products for PowerSGD: M ≈ P̂ · Qᵀ, with M of rows × columns, P̂ orthonormal. Pure; work of more than some milliseconds yields in between.
 *
 * P and Q lie transposed, one row of `rank` for each of their columns, so that every loop runs along a row of M. Sums are kept in float64, in one order: the same numbers give the same bits everywhere.
 * Source: Vogels, Karimireddy, Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed Optimization" (2019), algorithm 1.
 */
export interface LowRank {
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
}

/** All axes but the last one are rows. Undefined: P and Q would be no smaller than the tensor, which is so of every vector. */
export function lowRankOf(shape: readonly number[], rank: number): LowRank | undefined {
  const columns = shape.at(-1) ?? 1;
  const rows = shape.slice(0, -1).reduce((product, axis) => product * axis, 1);
  return shape.length >= 2 && (rows + columns) * rank < rows * columns ? { rows, columns, rank } : undefined;
}

/** Multiplications from one look at the peers to the next. */
const TURN_PRODUCTS = 1 << 21;
/** Elements of a row of M that are used for all columns of P or Q while they lie in the nearest cache. */
const BLOCK_COLUMNS = 1024;
/** A column shorter than so much of what it was before the others were taken out of it is rounding. */
const LEAST_SHARE = 1e-5;

/** What a first step begins with: the same on every rank. Marsaglia's xorshift, from a seed of the row. */
export function firstQ({ columns, rank }: Pick<LowRank, 'columns' | 'rank'>): Float32Array {
  const q = new Float32Array(rank * columns);
  for (let row = 0; row < rank; row += 1) fillRandomly(q.subarray(row * columns, (row + 1) * columns), row);
  return q;
}

function fillRandomly(row: Float32Array, number: number): void {
  let state = 0x9e3779b9 + number * 0x85ebca6b;
  for (let i = 0; i < row.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    row[i] = (state >>> 0) / 2 ** 31 - 1;
  }
}

/** Numbers of four columns of P or Q that are worked on together, so that an element of M is read once for all of them. Where fewer are left the last stands for those that are missing. */
type Four = readonly [number, number, number, number];
const TOGETHER = 4;
const groupsOf = (rank: number): Four[] =>
  Array.from({ length: Math.ceil(rank / TOGETHER) }, (_, group) => {
    const at = (i: number): number => Math.min(group * TOGETHER + i, rank - 1);
    return [at(0), at(1), at(2), at(3)];
  });
/** What each column of a group counts: one that stands for another, nothing. */
const factors = ([a, b, c, d]: Four, of: (column: number) => number): Four => [
  of(a),
  b > a ? of(b) : 0,
  c > b ? of(c) : 0,
  d > c ? of(d) : 0,
];

/** P = M · Q. */
export function* timesQ(m: Float32Array, { rows, columns, rank }: LowRank, q: Float32Array, p: Float32Array): Generator<void> {
  const sums = new Float64Array(rank * rows);
  const found = new Float64Array(TOGETHER);
  const groups = groupsOf(rank);
  let products = 0;
  for (let first = 0; first < columns; first += BLOCK_COLUMNS) {
    const elems = Math.min(BLOCK_COLUMNS, columns - first);
    for (let row = 0; row < rows; row += 1) {
      for (const group of groups) {
        fourDots(m, row * columns + first, q, group, columns, first, elems, found);
        for (let c = group[0]; c <= group[3]; c += 1) sums[c * rows + row]! += found[c - group[0]]!;
      }
      products += rank * elems;
      if (products < TURN_PRODUCTS) continue;
      products = 0;
      yield;
    }
  }
  p.set(sums);
}

/** A part of a row of M times parts of four columns, which are `stride` long, from their element `first` on. */
function fourDots(
  m: Float32Array,
  at: number,
  q: Float32Array,
  group: Four,
  stride: number,
  first: number,
  elems: number,
  found: Float64Array,
): void {
  const [a, b, c, d] = [group[0] * stride + first, group[1] * stride + first, group[2] * stride + first, group[3] * stride + first];
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let i = 0; i < elems; i += 1) {
    const value = m[at + i]!;
    s0 += value * q[a + i]!;
    s1 += value * q[b + i]!;
    s2 += value * q[c + i]!;
    s3 += value * q[d + i]!;
  }
  found[0] = s0;
  found[1] = s1;
  found[2] = s2;
  found[3] = s3;
}

/** Q = Mᵀ · P. */
export function* timesP(m: Float32Array, { rows, columns, rank }: LowRank, p: Float32Array, q: Float32Array): Generator<void> {
  const sums = new Float64Array(rank * columns);
  const groups = groupsOf(rank);
  let products = 0;
  for (let first = 0; first < columns; first += BLOCK_COLUMNS) {
    const elems = Math.min(BLOCK_COLUMNS, columns - first);
    for (let row = 0; row < rows; row += 1) {
      for (const group of groups) {
        const by = factors(group, (c) => p[c * rows + row]!);
        addToFour(sums, group, columns, first, by, m, row * columns + first, elems);
      }
      products += rank * elems;
      if (products < TURN_PRODUCTS) continue;
      products = 0;
      yield;
    }
  }
  q.set(sums);
}

/** A part of a row of M, times a factor each, to parts of four columns. */
function addToFour(
  sums: Float64Array,
  group: Four,
  stride: number,
  first: number,
  [fa, fb, fc, fd]: Four,
  m: Float32Array,
  at: number,
  elems: number,
): void {
  const [a, b, c, d] = [group[0] * stride + first, group[1] * stride + first, group[2] * stride + first, group[3] * stride + first];
  for (let i = 0; i < elems; i += 1) {
    const value = m[at + i]!;
    sums[a + i]! += fa * value;
    sums[b + i]! += fb * value;
    sums[c + i]! += fc * value;
    sums[d + i]! += fd * value;
  }
}

/** M = M − P · Qᵀ, or with a sign of 1 plus. */
export function* addProduct(
  m: { [index: number]: number },
  { rows, columns, rank }: LowRank,
  p: Float32Array,
  q: Float32Array,
  sign: 1 | -1,
): Generator<void> {
  const groups = groupsOf(rank);
  let products = 0;
  for (let row = 0; row < rows; row += 1) {
    for (const group of groups) {
      const by = factors(group, (c) => sign * p[c * rows + row]!);
      addFour(m, row * columns, by, q, group, columns);
    }
    products += (rank + 1) * columns;
    if (products < TURN_PRODUCTS) continue;
    products = 0;
    yield;
  }
}

/** To a row of M four columns of Q, which are as long, times a factor each. */
function addFour(m: { [index: number]: number }, at: number, [fa, fb, fc, fd]: Four, q: Float32Array, group: Four, elems: number): void {
  const [a, b, c, d] = [group[0] * elems, group[1] * elems, group[2] * elems, group[3] * elems];
  for (let i = 0; i < elems; i += 1) m[at + i]! += fa * q[a + i]! + fb * q[b + i]! + (fc * q[c + i]! + fd * q[d + i]!);
}

/** Gram–Schmidt in float64, each column against those before it, twice. A column that is nothing new becomes 0. */
export function orthogonalise(p: Float32Array, { rows, rank }: Pick<LowRank, 'rows' | 'rank'>): void {
  const columns = Array.from({ length: rank }, (_, c) => Float64Array.from(p.subarray(c * rows, (c + 1) * rows)));
  const productOf = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  for (const [c, column] of columns.entries()) {
    const before = Math.sqrt(productOf(column, column));
    for (let pass = 0; pass < 2; pass += 1)
      for (const earlier of columns.slice(0, c)) {
        const share = productOf(column, earlier);
        for (let i = 0; i < rows; i += 1) column[i]! -= share * earlier[i]!;
      }
    const norm = Math.sqrt(productOf(column, column));
    const isNew = norm > LEAST_SHARE * before;
    for (let i = 0; i < rows; i += 1) column[i] = isNew ? column[i]! / norm : 0;
    p.set(column, c * rows);
  }
}

/** The next step's Q: a row of zeros would stay what it is, and begins anew. */
export function warmed(q: Float32Array, { columns, rank }: Pick<LowRank, 'columns' | 'rank'>): Float32Array {
  for (let c = 0; c < rank; c += 1) {
    const row = q.subarray(c * columns, (c + 1) * columns);
    if (row.every((value) => value === 0)) fillRandomly(row, c);
  }
  return q;
}
