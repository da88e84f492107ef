/**
 * What a collective takes and gives: tensors and typed arrays, seen alike as dtype, shape and bytes. Main thread.
 *
 * A tensor is recognised by its members, never by `instanceof` (there may be another copy of TensorFlow.js), and TensorFlow.js is loaded only when a tensor is made.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { arrayTypeOf, bytesPerElem, type Dtype, dtypeOfArray, elemsOf, type NumericArray } from './dtype';
import { UsageError } from './errors';
import { copyTensorInto, dtypeOfTensor, tensorFrom } from './tensorflow/tensors';

/** What a collective takes: a tensor (float32, int32; bool where no arithmetic is done) or a typed array of numbers. The result is of the same type and dtype. */
export type Value = tf.Tensor | NumericArray;

export interface Described {
  readonly value: Value;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly isTensor: boolean;
}

const isTensor = (value: unknown): value is tf.Tensor =>
  typeof value === 'object' && value !== null && 'dataId' in value && 'shape' in value && 'dtype' in value;

/** @throws UsageError it is neither a tensor nor a typed array of numbers */
export function describe(value: Value, what: string): Described {
  if (isTensor(value)) {
    const dtype = dtypeOfTensor(value, what);
    return { value, dtype, shape: value.shape, bytes: elemsOf(value.shape) * bytesPerElem(dtype), isTensor: true };
  }
  const dtype = ArrayBuffer.isView(value) ? dtypeOfArray(value) : undefined;
  if (!dtype) {
    const given =
      value === null ? 'null' : Array.isArray(value) ? 'an Array' : ((value as object | undefined)?.constructor?.name ?? typeof value);
    throw new UsageError(
      `${what} takes a tensor or a typed array of numbers (Float32Array, Int32Array, BigInt64Array, …), but was given ${given}.`,
    );
  }
  return { value, dtype, shape: [value.length], bytes: value.byteLength, isTensor: false };
}

/** Bytes that the collectives have copied between callers' values and shared memory in this process. */
let copied = 0;
/** For the benchmark, not in the package's API. */
export const bytesHandedOver = (): number => copied;

/** Copies the elements to `target`, which has room for exactly them. */
export function copyIn({ value, isTensor }: Described, target: NumericArray): void {
  copied += target.byteLength;
  if (isTensor) copyTensorInto(value as tf.Tensor, target);
  else (target as Float32Array).set(value as Float32Array);
}

/** A value of the same kind as `like`; `source` may be shared memory and is copied, unless `isOwned`. */
export function make(like: Described, source: NumericArray, shape: readonly number[], isOwned = false): Value {
  if (like.isTensor || !isOwned) copied += source.byteLength;
  if (like.isTensor) return tensorFrom(source, [...shape], like.dtype);
  return isOwned ? source : source.slice();
}

/** Overwrites the caller's array with its result. */
export function copyBack(source: NumericArray, target: NumericArray): void {
  copied += source.byteLength;
  (target as Float32Array).set(source as Float32Array);
}

export const viewOf = (dtype: Dtype, buffer: ArrayBufferLike, byteOffset = 0, elems?: number): NumericArray =>
  new (arrayTypeOf(dtype))(buffer, byteOffset, elems);
