/** Typed arrays of every dtype, filled and read as numbers. */
import type { NumericArray } from '../../src/index';

export type ArrayType = new (elems: number) => NumericArray;
export const arrayTypes: ArrayType[] = [
  Float32Array,
  Float64Array,
  Int32Array,
  Uint32Array,
  Int16Array,
  Uint16Array,
  Int8Array,
  Uint8Array,
  BigInt64Array,
  BigUint64Array,
];
const isBig = (type: ArrayType): boolean => type.name.startsWith('Big');
export function filled(type: ArrayType, elems: number, at: (i: number) => number): NumericArray {
  const array = new type(elems) as unknown as { [i: number]: number | bigint };
  for (let i = 0; i < elems; i += 1) array[i] = isBig(type) ? BigInt(at(i)) : at(i);
  return array as unknown as NumericArray;
}
export const numbers = (array: NumericArray): number[] => Array.from(array as Float32Array, Number);
