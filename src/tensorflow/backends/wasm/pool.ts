/**
 * Gradient of max pooling on the wasm backend: one pass over the output places, images divided among the threads; the stock kernel searches for each input place, and gives no gradient to windows
 * without a positive number (after ReLU nobody notices). Main thread. NHWC.
 */
import type { Tf } from '../../load';
import type { Kernel, KernelMaker } from './kernel';
import { addressesOf } from './simd/heap';
import { divide } from './simd/thread_pool';

/** dx gets dy where x was the window's first maximum, as on the cpu backend. */
export const maxPoolGrad: KernelMaker = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { filterSize, strides, pad, dimRoundingMode } = attrs;
    const info = tfjs.backend_util.computePool2DInfo(inputs.input.shape, filterSize, strides, 1, pad, dimRoundingMode);
    const gradient = backend.makeOutput(inputs.input.shape, 'float32');
    const [dx, x, dy] = addressesOf(backend, gradient, inputs.input, inputs.dy);
    divide(backend, 'maxPoolGradient', info.batchSize, {
      ...info,
      dx,
      x,
      dy,
      channels: info.inChannels,
      windowHeight: info.effectiveFilterHeight,
      windowWidth: info.effectiveFilterWidth,
      top: info.padInfo.top,
      left: info.padInfo.left,
    });
    return gradient;
  };
};
