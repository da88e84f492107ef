/**
 * Between tensors and shared memory, with as few copies as the backend permits. Main thread.
 *
 * In: the wasm backend shows its heap, the cpu backend its array; one copy, into the arena. Out: the wasm backend copies what it is given into its heap; other backends may keep
 * (cpu: alias) it, so they get a copy of their own: the arena is written again by the next step.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Dtype, NumericArray } from '../dtype';
import { UsageError } from '../errors';
import { loadTf } from './load';

interface HeapBackend {
  typedArrayFromHeap(info: { dataId: object; shape: number[]; dtype: string }): NumericArray;
}
const heapOf = (backend: unknown): HeapBackend | undefined =>
  typeof (backend as HeapBackend).typedArrayFromHeap === 'function' ? (backend as HeapBackend) : undefined;

/** @throws UsageError a dtype that no collective moves */
export function dtypeOfTensor(tensor: tf.Tensor, what: string): Dtype {
  if (tensor.dtype === 'float32' || tensor.dtype === 'int32' || tensor.dtype === 'bool') return tensor.dtype;
  throw new UsageError(`${what} takes tensors of dtype float32, int32 or bool, but was given ${tensor.dtype}. Cast or encode it first.`);
}

export function copyTensorInto(tensor: tf.Tensor, target: NumericArray): void {
  const engine = loadTf().engine();
  const { backend } = engine as unknown as { backend: unknown };
  const heap = heapOf(backend);
  const values = heap && isOnBackend(engine, tensor, backend) ? heap.typedArrayFromHeap(tensor as never) : tensor.dataSync();
  (target as Float32Array).set(values as Float32Array);
}

/** A tensor made on another backend moves when it is next used; until then its values lie there. */
function isOnBackend(engine: unknown, tensor: tf.Tensor, backend: unknown): boolean {
  const info = (engine as { state: { tensorInfo: WeakMap<object, { backend: unknown }> } }).state.tensorInfo.get(tensor.dataId);
  return info?.backend === backend;
}

export function tensorFrom(source: NumericArray, shape: number[], dtype: Dtype): tf.Tensor {
  const tfjs = loadTf();
  const isCopied = heapOf((tfjs.engine() as unknown as { backend: unknown }).backend) !== undefined;
  return tfjs.tensor((isCopied ? source : source.slice()) as Float32Array, shape, dtype as 'float32');
}
