/**
 * The training kernels that TensorFlow.js's wasm backend lacks, and faster forms of those it does naively. Main thread.
 *
 * A kernel may call tfjs operations (the gradient tape is off inside it); convolutions and products then run in XNNPACK. Others are SIMD functions of our own over the backend's heap (simd/).
 * Registered once a process, for the backend `wasm` only.
 */
import type { Tf } from '../load';
import { conv2DBackpropInput, convolution } from './wasm_conv';
import { conv2DBackpropFilter } from './wasm_conv_filter';
import { depthwiseBackpropFilter, depthwiseBackpropInput } from './wasm_depthwise';
import { ownKernels, registerGradients } from './wasm_gradients';
import type { Kernel, KernelMaker } from './wasm_kernel';
import { batchMatMul, fusedMatMul } from './wasm_matmul';
import { cast, identity, mean, sum } from './wasm_passes';
import { maxPoolGrad } from './wasm_pool';
import { unsortedSegmentSum } from './wasm_segments';
import { transpose } from './wasm_transpose';

const makers: Record<string, KernelMaker> = {
  Conv2D: convolution,
  FusedConv2D: convolution,
  Conv2DBackpropFilter: conv2DBackpropFilter,
  Conv2DBackpropInput: conv2DBackpropInput,
  DepthwiseConv2dNativeBackpropFilter: depthwiseBackpropFilter,
  DepthwiseConv2dNativeBackpropInput: depthwiseBackpropInput,
  MaxPoolGrad: maxPoolGrad,
  BatchMatMul: batchMatMul,
  _FusedMatMul: fusedMatMul,
  Sum: sum,
  Mean: mean,
  Identity: identity,
  Cast: cast,
  UnsortedSegmentSum: unsortedSegmentSum,
  Transpose: transpose,
  ...ownKernels,
};

const registered = new WeakSet<Tf>();

/** Again: does nothing. The backend must have been registered (`require('@tensorflow/tfjs-backend-wasm')`). */
export function registerTrainingKernels(tfjs: Tf): void {
  if (registered.has(tfjs)) return;
  registered.add(tfjs);
  registerGradients(tfjs);
  for (const [kernelName, make] of Object.entries(makers)) {
    const stock = tfjs.getKernel(kernelName, 'wasm');
    if (stock) tfjs.unregisterKernel(kernelName, 'wasm');
    const kernelFunc = make(tfjs, stock?.kernelFunc as unknown as Kernel | undefined);
    tfjs.registerKernel({ ...stock, kernelName, backendName: 'wasm', kernelFunc: kernelFunc as never });
  }
}
