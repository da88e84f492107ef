/** Element types: names, sizes, and which typed array holds them. Any thread. */
export const dtypes = ['float32', 'float64', 'int32', 'uint32', 'int16', 'uint16', 'int8', 'uint8', 'int64', 'uint64', 'bool'] as const;
/** `bool` is tfjs's: one byte an element, moved but never reduced. */
export type Dtype = (typeof dtypes)[number];

/** How floats may travel: IEEE 754's binary16, or the upper half of a float32. */
export const halfFormats = ['fp16', 'bf16'] as const;
export type HalfFormat = (typeof halfFormats)[number];

/** The typed arrays that collectives take. They serve programs that use no TensorFlow.js, and carry the dtypes that its tensors lack. The shape of an array is [length]. */
export type NumericArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | BigInt64Array
  | BigUint64Array;

interface DtypeFacts {
  readonly bytes: number;
  readonly array: NumericArrayConstructor;
}
export type NumericArrayConstructor = {
  new (elems: number): NumericArray;
  new (buffer: ArrayBufferLike, byteOffset?: number, elems?: number): NumericArray;
  readonly BYTES_PER_ELEMENT: number;
  readonly name: string;
};

const facts: Record<Dtype, DtypeFacts> = {
  float32: { bytes: 4, array: Float32Array },
  float64: { bytes: 8, array: Float64Array },
  int32: { bytes: 4, array: Int32Array },
  uint32: { bytes: 4, array: Uint32Array },
  int16: { bytes: 2, array: Int16Array },
  uint16: { bytes: 2, array: Uint16Array },
  int8: { bytes: 1, array: Int8Array },
  uint8: { bytes: 1, array: Uint8Array },
  int64: { bytes: 8, array: BigInt64Array },
  uint64: { bytes: 8, array: BigUint64Array },
  bool: { bytes: 1, array: Uint8Array },
};

export const bytesPerElem = (dtype: Dtype): number => facts[dtype].bytes;
export const arrayTypeOf = (dtype: Dtype): NumericArrayConstructor => facts[dtype].array;
export const isFloat = (dtype: Dtype): boolean => dtype === 'float32' || dtype === 'float64';

const byArrayName = new Map(dtypes.filter((dtype) => dtype !== 'bool').map((dtype) => [facts[dtype].array.name, dtype]));

/** The dtype of a typed array, by its class name (an array of another realm counts); undefined if it holds no numbers we move. */
export function dtypeOfArray(value: ArrayBufferView): Dtype | undefined {
  return byArrayName.get((value as { constructor?: { name?: string } }).constructor?.name ?? '') ?? undefined;
}

export const elemsOf = (shape: readonly number[]): number => shape.reduce((product, axis) => product * axis, 1);
