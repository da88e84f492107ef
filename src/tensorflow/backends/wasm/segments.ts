/** Sums over segments on the wasm backend, which lacks them. Main thread. */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf } from '../../../dtype';
import type { Kernel, KernelMaker } from './kernel';

/** out[s] = Σ x[i] over segmentIds[i] = s; negative ids are left out. The gradient of gather, and so of embeddings. */
export const unsortedSegmentSum: KernelMaker = (): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { x, segmentIds } = inputs as { x: tf.Tensor; segmentIds: tf.Tensor };
    const inner = x.shape.slice(segmentIds.shape.length);
    const length = elemsOf(inner);
    const output = backend.makeOutput([attrs.numSegments, ...inner], x.dtype);
    const [sum, values, ids] = [output, x, segmentIds].map((one) => backend.typedArrayFromHeap(one as never)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    sum.fill(0);
    for (let i = 0; i < ids.length; i += 1) {
      if (ids[i]! < 0) continue;
      const [to, from] = [ids[i]! * length, i * length];
      for (let k = 0; k < length; k += 1) sum[to + k]! += values[from + k]!;
    }
    return output;
  };
};
