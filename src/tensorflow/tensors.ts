/**
 * Between tensors and shared memory, with as few copies as the backend permits. Main thread.
 *
 * In: the wasm backend shows its heap, the cpu backend its array; one copy, into the arena. A GPU is waited for once for many tensors (`copyTensorsInto`). Out: the wasm backend copies what it is given into its heap; other backends may keep
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

/** A backend whose tensors lie in another memory: reading several at once costs one wait. */
export interface BulkReader {
  /** Copies each tensor's values into the target beside it; blocks, and caches nothing. */
  readAllSync(tensors: readonly tf.Tensor[], targets: readonly NumericArray[]): void;
}
const bulkReaderOf = (backend: unknown): BulkReader | undefined =>
  typeof (backend as BulkReader | null)?.readAllSync === 'function' ? (backend as BulkReader) : undefined;

/** The backend in use wants to be read by `copyTensorsInto`, not tensor by tensor. */
export const readsInBulk = (): boolean => bulkReaderOf(backendInUse()) !== undefined;

/** @throws UsageError a dtype that no collective moves */
export function dtypeOfTensor(tensor: tf.Tensor, what: string): Dtype {
  if (tensor.dtype === 'float32' || tensor.dtype === 'int32' || tensor.dtype === 'bool') return tensor.dtype;
  throw new UsageError(`${what} takes tensors of dtype float32, int32 or bool, but was given ${tensor.dtype}. Cast or encode it first.`);
}

export function copyTensorInto(tensor: tf.Tensor, target: NumericArray): void {
  copyTensorsInto([tensor], [target]);
}

/** Each tensor into the target beside it. */
export function copyTensorsInto(tensors: readonly tf.Tensor[], targets: readonly NumericArray[]): void {
  const engine = loadTf().engine();
  const backend = backendInUse();
  const [heap, bulk] = [heapOf(backend), bulkReaderOf(backend)];
  const together: { tensors: tf.Tensor[]; targets: NumericArray[] } = { tensors: [], targets: [] };
  for (const [i, tensor] of tensors.entries()) {
    const isThere = isOnBackend(engine, tensor, backend);
    if (bulk && isThere) {
      together.tensors.push(tensor);
      together.targets.push(targets[i]!);
      continue;
    }
    const values = heap && isThere ? heap.typedArrayFromHeap(tensor as never) : tensor.dataSync();
    (targets[i] as Float32Array).set(values as Float32Array);
  }
  if (together.tensors.length > 0) bulk!.readAllSync(together.tensors, together.targets);
}

const backendInUse = (): unknown => (loadTf().engine() as unknown as { backend: unknown }).backend;

/** A tensor made on another backend moves when it is next used; until then its values lie there. */
function isOnBackend(engine: unknown, tensor: tf.Tensor, backend: unknown): boolean {
  const info = (engine as { state: { tensorInfo: WeakMap<object, { backend: unknown }> } }).state.tensorInfo.get(tensor.dataId);
  return info?.backend === backend;
}

export function tensorFrom(source: NumericArray, shape: number[], dtype: Dtype): tf.Tensor {
  const tfjs = loadTf();
  const isCopied = heapOf(backendInUse()) !== undefined;
  return tfjs.tensor((isCopied ? source : source.slice()) as Float32Array, shape, dtype as 'float32');
}
