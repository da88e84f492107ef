/**
 * Gradient of max pooling on the wasm backend: one pass over the output places; the stock kernel searches for each input place, and gives no gradient to windows without a positive
 * number (after ReLU nobody notices). NHWC.
 */
import type { Tf } from '../load';
import type { Kernel, KernelMaker } from './wasm_kernel';

/** dx gets dy where x was the window's first maximum, as on the cpu backend. */
export const maxPoolGrad: KernelMaker = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { filterSize, strides, pad, dimRoundingMode } = attrs;
    const info = tfjs.backend_util.computePool2DInfo(inputs.input.shape, filterSize, strides, 1, pad, dimRoundingMode);
    const gradient = backend.makeOutput(inputs.input.shape, 'float32');
    const [dx, x, dy] = [gradient, inputs.input, inputs.dy].map((one) => backend.typedArrayFromHeap(one)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const {
      batchSize,
      inHeight,
      inWidth,
      outHeight,
      outWidth,
      inChannels: channels,
      effectiveFilterHeight,
      effectiveFilterWidth,
      strideHeight,
      strideWidth,
      padInfo,
    } = info;
    dx.fill(0);
    for (let n = 0, at = 0; n < batchSize; n += 1) {
      for (let y = 0; y < outHeight; y += 1) {
        const top = Math.max(0, y * strideHeight - padInfo.top);
        const bottom = Math.min(inHeight, y * strideHeight - padInfo.top + effectiveFilterHeight);
        for (let column = 0; column < outWidth; column += 1) {
          const left = Math.max(0, column * strideWidth - padInfo.left);
          const right = Math.min(inWidth, column * strideWidth - padInfo.left + effectiveFilterWidth);
          for (let c = 0; c < channels; c += 1, at += 1) {
            let best = -1;
            let most = Number.NEGATIVE_INFINITY;
            for (let i = top; i < bottom; i += 1) {
              for (let j = left, from = ((n * inHeight + i) * inWidth + left) * channels + c; j < right; j += 1, from += channels) {
                if (x[from]! > most) {
                  most = x[from]!;
                  best = from;
                }
              }
            }
            if (best >= 0) dx[best]! += dy[at]!;
          }
        }
      }
    }
    return gradient;
  };
};
