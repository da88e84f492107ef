/**
 * Adasum: a sum for gradients that does not overshoot. What two ranks agree on is averaged, what is news of one alone is added:
 *
 *        adasum(a, b) = (1 − a·b / 2|a|²) a + (1 − a·b / 2|b|²) b
 *
 * Orthogonal vectors are added, parallel ones averaged, equal ones stay as they are. If |a|² or |b|² is 0 that factor is 1: the sum. Pure.
 *
 * It is not associative, so the order is part of the result. Ranks are combined along a binomial tree, neighbours first: on the level of distance
 * d = 1, 2, 4, … every rank r that 2d divides takes the whole vector of rank r + d, if there is one, and combines it with its own, which stands first:
 *
 *        ranks   0 ◀── 1   2 ◀── 3   4           d = 1: 01, 23, 4
 *                0 ◀────── 2         4           d = 2: 01·23, 4
 *                0 ◀──────────────── 4           d = 4: (01·23)·4
 *
 * That is Horovod's order on 2^k ranks; any other number works too: whoever lacks a partner waits for a later level. Rank 0 then holds the result, and a
 * broadcast takes it to all.
 *
 * Cost: log2(N) latencies and as many times the vector into rank 0, then a broadcast; every level is arithmetic on one processor, twice over the vector.
 * Halving the vectors on the way (Horovod's way on 2^k ranks) would send half as much; but this way a dot product is summed in one place and order.
 *
 * Same bits: each combination is computed by one rank, with dot products in float64 in the order of the elements, each element rounded once to its
 * dtype; all others get copies. Squares of float64 elements beyond 1e±154 leave the range of float64, as anywhere in linear algebra.
 *
 * Source: S. Maleki et al., Scaling distributed training with adaptive summation, MLSys 3 (2021).
 */
import { type Plan, type PlanInput, segmentsOf } from './plan';

/** What a rank does on one level: it gives its vector away and is done, or takes one (into a buffer: the operand of that plan) and combines it with its own. */
export interface Level {
  readonly action: 'give' | 'take';
  readonly plan: Plan;
}

/** In their order; levels on which the rank has no partner are left out. */
export function adasumLevels({ rank, size, elems, segmentElems }: PlanInput): Level[] {
  const segments = segmentsOf({ from: 0, until: elems }, segmentElems);
  const levels: Level[] = [];
  for (let distance = 1; distance < size; distance *= 2) {
    if (rank % (2 * distance) !== 0) {
      const sends = segments.map((segment) => ({ to: rank - distance, ...segment, afterRecvs: 0 }));
      levels.push({ action: 'give', plan: { sends, recvs: [] } });
      break;
    }
    const peer = rank + distance;
    if (peer >= size) continue;
    const recvs = segments.map((segment) => ({ peer, ...segment, action: 'copy' as const, finish: false, afterSends: 0 }));
    levels.push({ action: 'take', plan: { sends: [], recvs } });
  }
  return levels;
}

export type Vector = Float32Array | Float64Array;

/** a·b, |a|² and |b|². */
export interface Products {
  dot: number;
  ownSquares: number;
  otherSquares: number;
}

/** Adds the products of so many elements more. Slices taken in order give the bits of the whole: each sum is one chain. */
export function addProducts(products: Products, own: Vector, other: Vector): void {
  let { dot, ownSquares, otherSquares } = products;
  for (let i = 0; i < own.length; i += 1) {
    const a = own[i]!;
    const b = other[i]!;
    dot += a * b;
    ownSquares += a * a;
    otherSquares += b * b;
  }
  Object.assign(products, { dot, ownSquares, otherSquares });
}

/** own = adasum(own, other), or the same slice of both. @param products of the whole vectors */
export function combine({ dot, ownSquares, otherSquares }: Products, own: Vector, other: Vector): void {
  const ownFactor = ownSquares === 0 ? 1 : 1 - dot / (2 * ownSquares);
  const otherFactor = otherSquares === 0 ? 1 : 1 - dot / (2 * otherSquares);
  for (let i = 0; i < own.length; i += 1) own[i] = ownFactor * own[i]! + otherFactor * other[i]!;
}
