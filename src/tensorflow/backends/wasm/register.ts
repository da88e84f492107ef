/**
 * The training kernels that TensorFlow.js's wasm backend lacks, and faster forms of those it does naively. Main thread.
 *
 * A kernel may call tfjs operations (the gradient tape is off inside it); convolutions and products then run in XNNPACK. Others are SIMD functions of our own over the backend's heap (simd/).
 * Registered once a process, for the backend `wasm` only.
 */
import type { Tf } from '../../load';
import { conv2DBackpropInput, convolution } from './conv';
import { conv2DBackpropFilter } from './conv_filter';
import { depthwiseBackpropFilter, depthwiseBackpropInput } from './depthwise';
import { ownKernels, registerGradients } from './gradients';
import type { Kernel, KernelMaker } from './kernel';
import { batchMatMul, fusedMatMul } from './matmul';
import { cast, identity, mean, sum } from './passes';
import { maxPoolGrad } from './pool';
import { unsortedSegmentSum } from './segments';
import { transpose } from './transpose';

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
