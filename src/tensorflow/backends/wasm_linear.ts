/** Products and sums over segments on the wasm backend, as training needs them. */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf } from '../../dtype';
import type { Tf } from '../load';
import { type Kernel, type KernelMaker, tensorOf } from './wasm_kernel';

/** A transposed factor sends the stock kernel into a naive loop; transposed beforehand the product runs in XNNPACK. */
export const batchMatMul: KernelMaker = (tfjs: Tf, stock): Kernel => {
  const transposed = (x: tf.Tensor, is: boolean): tf.Tensor => {
    const axes = Array.from({ length: x.shape.length }, (_, axis) => axis);
    const last = axes.length - 1;
    return is ? tfjs.transpose(x, [...axes.slice(0, -2), last, last - 1]) : x;
  };
  return (call) => {
    const { a, b } = call.inputs as { a: tf.Tensor; b: tf.Tensor };
    const { transposeA, transposeB } = call.attrs as { transposeA: boolean; transposeB: boolean };
    if (!transposeA && !transposeB) return stock!(call);
    return tfjs.tidy(() => {
      const product = stock!({
        ...call,
        inputs: { a: transposed(a, transposeA), b: transposed(b, transposeB) },
        attrs: { ...call.attrs, transposeA: false, transposeB: false },
      });
      return tensorOf(tfjs, product);
    });
  };
};

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
