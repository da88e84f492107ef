/** The values of random programs as the package takes and gives them: typed arrays, some of them in the memory of the communication thread, and tensors. */
import assert from 'node:assert/strict';
import * as tf from '@tensorflow/tfjs';
import { arrayTypeOf } from '../../../src/dtype';
import * as hvd from '../../../src/index';
import type { Call } from './call';
import { type Expected, elementOf, shapeOf } from './model';

const isTensor = (value: hvd.Value): value is tf.Tensor => 'dataId' in value;
const dataOf = (value: hvd.Value): hvd.NumericArray => (isTensor(value) ? (value.dataSync() as Float32Array) : value);
/** In the memory that collectives work on. */
const isPlaced = (call: Call): boolean => call.isInPlace && !call.isGrouped && call.id % 2 === 0;
const placed = new WeakSet<object>();

export function makeValue(call: Call, rank: number, part: number): hvd.Value {
  const shape = shapeOf(call, rank, part);
  const elems = shape.reduce((product, axis) => product * axis, 1);
  const type = arrayTypeOf(call.dtype) as unknown as new (elems: number) => Float32Array;
  const array = isPlaced(call) ? hvd.allocate(type, elems) : new type(elems);
  if (isPlaced(call)) placed.add(array);
  const isBig = call.dtype.endsWith('int64');
  for (let i = 0; i < elems; i += 1) {
    const element = elementOf(call, rank, part, i);
    array[i] = isBig ? (BigInt(element) as unknown as number) : element;
  }
  return call.isTensor ? tf.tensor(array, [...shape], call.dtype as tf.DataType) : array;
}

/** Gives back what `makeValue`, or a collective, has taken. */
export function dispose(value: hvd.Value): void {
  if (isTensor(value)) value.dispose();
  else if (placed.delete(value)) hvd.release(value);
}

export function compareValue(call: Call, result: hvd.Value, { shape, values, tolerance }: Expected): void {
  assert.equal(isTensor(result), call.isTensor, 'a tensor');
  if (isTensor(result)) assert.deepEqual([result.dtype, ...result.shape], [call.dtype, ...shape]);
  const data = dataOf(result);
  assert.equal(data.constructor, call.isTensor ? data.constructor : arrayTypeOf(call.dtype), 'its type');
  assert.equal(data.length, values.length, 'how many elements');
  for (let i = 0; i < values.length; i += 1) {
    const off = Math.abs(Number(data[i]) - values[i]!);
    if (!(off <= (tolerance?.[i] ?? 0)))
      throw new Error(`element ${i} is ${data[i]}, not ${values[i]} (off by at most ${tolerance?.[i] ?? 0})`);
  }
}

export function assertUntouched(call: Call, rank: number, part: number, value: hvd.Value): void {
  const data = dataOf(value);
  for (let i = 0; i < data.length; i += 97) {
    if (Number(data[i]) !== elementOf(call, rank, part, i)) throw new Error(`element ${i} of the argument has changed`);
  }
}

export function checksumOf(id: number, part: number, value: hvd.Value): number {
  const data = dataOf(value);
  let sum = Math.imul(id, 31) + part;
  for (const byte of new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum;
}
