/**
 * What ranks contribute to a collective that is measured, and what must come out: every element is known, and differs from its neighbours and from those of other ranks and calls. Pure.
 *
 * Element i of rank r repeats every 251 elements, a prime: what lands a part, a segment or a block of any usual size beside its place is seen. Sums are exact in every dtype
 * (whole numbers; in narrow integers they wrap around, and so does what is expected); products are of ones and twos. With Adasum all ranks contribute the same, which it must leave as it is.
 */
import { arrayTypeOf, type Dtype, isFloat, type NumericArray } from '../dtype';
import type { Op } from './collective_args';

export const PERIOD = 251;

/** Small whole numbers. */
export function elementOf(rank: number, index: number, op: Op | undefined): number {
  const value = ((index % PERIOD) * 5 + (op === 'adasum' ? 0 : rank * 3)) % 7;
  return 1 + (op === 'product' ? value % 2 : value);
}

/** A whole period, element 0 first: of one rank, or of all of them reduced. */
export interface Tile {
  readonly values: NumericArray;
  /** Relative. */
  readonly tolerance: number;
}

export function tileOfRank(rank: number, dtype: Dtype, op: Op | undefined): Tile {
  return { values: typed(dtype, (index) => elementOf(rank, index, op)), tolerance: 0 };
}

/** @param roundoff the unit roundoff of what travels; 0: it travels as it is */
export function reducedTile(ranks: number, dtype: Dtype, op: Op, roundoff: number): Tile {
  const wrapped = typed(dtype, (index) => {
    const own = Array.from({ length: ranks }, (_, rank) => elementOf(rank, index, op));
    switch (op) {
      case 'min':
        return Math.min(...own);
      case 'max':
        return Math.max(...own);
      case 'product':
        return own.reduce((product, value) => product * value, 1);
      case 'adasum':
        return own[0]!;
      default:
        return own.reduce((sum, value) => sum + value, 0);
    }
  });
  const values = op === 'average' ? typed(dtype, (index) => quotient(Number(wrapped[index]), ranks, dtype)) : wrapped;
  const ownRounding = op === 'average' || op === 'adasum' ? roundingOf(dtype) * (op === 'adasum' ? 2 * ranks : 2) : 0;
  return { values, tolerance: ownRounding + (1 + roundoff) ** ranks - 1 };
}

/** Integers are divided exactly and truncated. */
const quotient = (sum: number, ranks: number, dtype: Dtype): number => (isFloat(dtype) ? sum / ranks : Math.trunc(sum / ranks));
const roundingOf = (dtype: Dtype): number => (dtype === 'float32' ? 2 ** -23 : dtype === 'float64' ? 2 ** -52 : 0);

function typed(dtype: Dtype, at: (index: number) => number): NumericArray {
  const array = new (arrayTypeOf(dtype))(PERIOD);
  for (let index = 0; index < PERIOD; index += 1)
    (array as Float32Array)[index] = (isLong(dtype) ? BigInt(at(index)) : at(index)) as number;
  return array;
}
const isLong = (dtype: Dtype): boolean => dtype === 'int64' || dtype === 'uint64';

/** Fills with the tile from its element `phase` on, over and over. */
export function fillWith(array: NumericArray, { values }: Tile, phase: number): void {
  const first = Math.min(PERIOD, array.length);
  for (let i = 0; i < first; i += 1) (array as Float32Array)[i] = values[(phase + i) % PERIOD] as number;
  for (let filled = first; filled < array.length; filled *= 2) array.copyWithin(filled, 0, Math.min(filled, array.length - filled));
}

/** How many of `array`'s elements from `at` on are not the tile's from `phase` on. */
export function wrongElems(array: NumericArray, at: number, elems: number, { values, tolerance }: Tile, phase: number): number {
  let wrong = 0;
  let next = phase % PERIOD;
  if (tolerance === 0) {
    for (let i = at; i < at + elems; i += 1) {
      if (array[i] !== values[next]) wrong += 1;
      next = next + 1 === PERIOD ? 0 : next + 1;
    }
    return wrong;
  }
  for (let i = at; i < at + elems; i += 1) {
    const exact = values[next] as number;
    if (!(Math.abs((array[i] as number) - exact) <= tolerance * exact)) wrong += 1;
    next = next + 1 === PERIOD ? 0 : next + 1;
  }
  return wrong;
}
