/**
 * Single passes over tensors on the wasm backend: sums and means over leading axes, as gradients of biases and batch normalisation are full of; the sums of batch normalisation's gradient;
 * the gradient of ReLU. Main thread.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { elemsOf } from '../../../dtype';
import type { Tf } from '../../load';
import type { Kernel, KernelMaker, TensorInfo, WasmBackend } from './kernel';
import { addressesOf, addressOf, type HeapFunctions, heapFunctions, withScratch } from './simd/heap';
import { DOUBLE_BYTES, type PassName, passSources } from './simd/passes_source';
import { isReluDivided, reluUnits } from './simd/relu_gradient';
import { divide } from './simd/thread_pool';

const functionsOf = heapFunctions<PassName>(passSources);

/** Has `add` add to zeros in float64, as many as each output has elements; the outputs get them, divided. */
function accumulate(
  backend: WasmBackend,
  outputs: readonly TensorInfo[],
  divisor: number,
  add: (functions: HeapFunctions<PassName>, sums: number[]) => void,
): void {
  const functions = functionsOf(backend);
  const elems = outputs.map(({ shape }) => elemsOf(shape));
  const bytes = elems.map((count) => count * DOUBLE_BYTES);
  withScratch(backend, bytes, (sums) => {
    for (const [i, at] of sums.entries()) functions.clear(at, bytes[i]!);
    add(functions, sums);
    for (const [i, at] of sums.entries()) functions.storeSums(addressOf(backend, outputs[i]!), at, elems[i]!, divisor);
  });
}

/** Over leading axes in one pass; the stock kernels transpose all of x first. Other axes stay with them. */
const overLeadingAxes =
  (isMean: boolean): KernelMaker =>
  (tfjs: Tf, stock): Kernel => {
    return (call) => {
      const { x } = call.inputs as { x: tf.Tensor };
      const axes = tfjs.util.parseAxisParam(call.attrs.axis, x.shape).sort((a, b) => a - b);
      const isLeading = axes.length > 0 && axes.length < x.shape.length && axes.every((axis, i) => axis === i);
      if (!isLeading || x.dtype !== 'float32' || elemsOf(x.shape) === 0) return stock!(call);
      const { backend } = call;
      const kept = x.shape.slice(axes.length);
      const columns = elemsOf(kept);
      const rows = elemsOf(x.shape) / columns;
      const output = backend.makeOutput(call.attrs.keepDims ? [...axes.map(() => 1), ...kept] : kept, 'float32');
      accumulate(backend, [output], isMean ? rows : 1, ({ sumRows }, [sums]) => sumRows(sums!, addressOf(backend, x), rows, columns));
      return output;
    };
  };
export const sum = overLeadingAxes(false);
export const mean = overLeadingAxes(true);

/** Our own kernel: x and dy [..., channels], mean [channels] → Σ dy and Σ dy · (x − mean), [channels] each. */
export const batchNormSums: KernelMaker = (): Kernel => {
  return ({ inputs, backend }) => {
    const { x, dy, mean } = inputs as { x: tf.Tensor; dy: tf.Tensor; mean: tf.Tensor };
    const columns = elemsOf(mean.shape);
    const outputs = [backend.makeOutput(mean.shape, 'float32'), backend.makeOutput(mean.shape, 'float32')];
    const [dyAt, xAt, meanAt] = addressesOf(backend, dy, x, mean);
    accumulate(backend, outputs, 1, (functions, [offsets, scales]) =>
      functions.batchNormSums(offsets!, scales!, dyAt, xAt, meanAt, elemsOf(x.shape) / columns, columns),
    );
    return outputs;
  };
};

/** Our own kernel: dy where x is positive, 0 elsewhere. */
export const reluGradient: KernelMaker = (): Kernel => {
  return ({ inputs, backend }) => {
    const { x, dy } = inputs as { x: tf.Tensor; dy: tf.Tensor };
    const output = backend.makeOutput(x.shape, 'float32');
    const elems = elemsOf(x.shape);
    const [dxAt, dyAt, xAt] = addressesOf(backend, output, dy, x);
    divide(backend, 'reluGradient', reluUnits(elems), { dx: dxAt, dy: dyAt, x: xAt, elems }, isReluDivided(elems));
    return output;
  };
};

/** A tensor of the same data, which the backend counts: the stock kernels copy them. */
export const identity: KernelMaker = (_tfjs, stock): Kernel => {
  return (call) => {
    const { x } = call.inputs as { x: TensorInfo };
    return x.dtype === 'string' ? stock!(call) : shared(call.backend, x);
  };
};
export const cast: KernelMaker = (_tfjs, stock): Kernel => {
  return (call) => {
    const { x } = call.inputs as { x: TensorInfo };
    return x.dtype !== 'string' && x.dtype === call.attrs.dtype ? shared(call.backend, x) : stock!(call);
  };
};

function shared(backend: WasmBackend, { dataId, shape, dtype }: TensorInfo): TensorInfo {
  backend.incRef(dataId);
  return { dataId, shape, dtype };
}
