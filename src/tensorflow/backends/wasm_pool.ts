/**
 * Gradient of max pooling on the wasm backend: one pass over the output places; the stock kernel searches for each input place, and gives no gradient to windows without a positive
 * number (after ReLU nobody notices). Main thread. NHWC.
 */
import type { Tf } from '../load';
import { addressOf, heapFunctions } from './simd/heap';
import { type PoolName, poolSources } from './simd/pool_source';
import type { Kernel, KernelMaker } from './wasm_kernel';

const FLOAT_BYTES = 4;
const functionsOf = heapFunctions<PoolName>(poolSources);

/** dx gets dy where x was the window's first maximum, as on the cpu backend. */
export const maxPoolGrad: KernelMaker = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { filterSize, strides, pad, dimRoundingMode } = attrs;
    const info = tfjs.backend_util.computePool2DInfo(inputs.input.shape, filterSize, strides, 1, pad, dimRoundingMode);
    const { batchSize, inHeight, inWidth, outHeight, outWidth, inChannels: channels, strideHeight, strideWidth, padInfo } = info;
    const gradient = backend.makeOutput(inputs.input.shape, 'float32');
    backend.typedArrayFromHeap(gradient).fill(0);
    const [dxAt, xAt, dyAt] = [gradient, inputs.input, inputs.dy].map((one) => addressOf(backend, one)) as [number, number, number];
    const { maxPoolGradient } = functionsOf(backend);
    const placeBytes = channels * FLOAT_BYTES;
    let dy = dyAt;
    for (let n = 0; n < batchSize; n += 1) {
      for (let y = 0; y < outHeight; y += 1) {
        const top = y * strideHeight - padInfo.top;
        const first = Math.max(0, top);
        const rows = Math.min(inHeight, top + info.effectiveFilterHeight) - first;
        for (let column = 0; column < outWidth; column += 1, dy += placeBytes) {
          const left = column * strideWidth - padInfo.left;
          const firstColumn = Math.max(0, left);
          const columns = Math.min(inWidth, left + info.effectiveFilterWidth) - firstColumn;
          if (rows <= 0 || columns <= 0) continue;
          const offset = ((n * inHeight + first) * inWidth + firstColumn) * placeBytes;
          maxPoolGradient(dxAt + offset, xAt + offset, dy, channels, rows, columns, placeBytes, (inWidth - columns) * placeBytes);
        }
      }
    }
    return gradient;
  };
};
