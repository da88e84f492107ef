/**
 * The largest elements of a tensor. Pure; work of more than some milliseconds yields in between.
 *
 * Selected by the magnitude's bits, in two counting passes (a radix selection: what a pivot would be does not matter, and equal elements cost nothing): a NaN counts as larger than an infinity; of equal magnitudes the
 * lower index goes first. Source of the scheme: Aji, Heafield, "Sparse Communication for Distributed Gradient Descent" (2017); Lin et al., "Deep Gradient Compression" (2018).
 */

/** How many of so many elements travel. */
export const countOf = (elems: number, ratio: number): number => Math.min(elems, Math.max(1, Math.ceil(ratio * elems)));

/** Whether an index and a value for each chosen element, from every rank to all others, are fewer bytes than the ring's: 8 · count · (N−1) against 2(N−1)/N · 4 · elems. */
export const isWorthSelecting = (elems: number, count: number, ranks: number): boolean => count * ranks < elems;

const SLICE_ELEMS = 1 << 20;
/** A float32's magnitude has 31 bits. */
const [MAGNITUDE, LOW_BITS] = [0x7fffffff, 15];
const LOW = (1 << LOW_BITS) - 1;

/** @param indices of the chosen ones, ascending; their length says how many @param chosen their values */
export function* selectLargest(values: Float32Array, indices: Uint32Array, chosen: Float32Array): Generator<void> {
  let left = indices.length;
  if (left === 0) return;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const high = new Uint32Array(1 << (31 - LOW_BITS));
  for (const { from, until } of slicesOf(bits.length)) {
    if (from > 0) yield;
    for (let i = from; i < until; i += 1) high[(bits[i]! & MAGNITUDE) >>> LOW_BITS]! += 1;
  }
  let bin = high.length - 1;
  for (; high[bin]! < left; bin -= 1) left -= high[bin]!;
  const low = new Uint32Array(LOW + 1);
  for (const { from, until } of slicesOf(bits.length)) {
    if (from > 0) yield;
    for (let i = from; i < until; i += 1) {
      const magnitude = bits[i]! & MAGNITUDE;
      if (magnitude >>> LOW_BITS === bin) low[magnitude & LOW]! += 1;
    }
  }
  let rest = LOW;
  for (; low[rest]! < left; rest -= 1) left -= low[rest]!;
  // All above it are chosen, and the first `left` that are equal to it.
  const threshold = (bin << LOW_BITS) | rest;
  let at = 0;
  for (const { from, until } of slicesOf(bits.length)) {
    if (from > 0) yield;
    for (let i = from; i < until; i += 1) {
      const magnitude = bits[i]! & MAGNITUDE;
      if (magnitude < threshold || (magnitude === threshold && left === 0)) continue;
      if (magnitude === threshold) left -= 1;
      indices[at] = i;
      chosen[at] = values[i]!;
      at += 1;
    }
  }
}

export function* slicesOf(elems: number): Generator<{ readonly from: number; readonly until: number }> {
  for (let from = 0; from < elems; from += SLICE_ELEMS) yield { from, until: Math.min(elems, from + SLICE_ELEMS) };
}
