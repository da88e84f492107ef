/** Gradients of depthwiseConv2d on the wasm backend: for each tap of the filter, row by row, by SIMD over the channels. Main thread. NHWC. */
import type { Tf } from '../../load';
import type { ConvInfo } from './conv_info';
import type { Kernel, KernelCall, TensorInfo, WasmBackend } from './kernel';
import { type DepthwiseName, depthwiseSources } from './simd/depthwise_source';
import { FLOAT_BYTES } from './simd/floats';
import { addressOf, type HeapFunction, heapFunctions } from './simd/heap';

const functionsOf = heapFunctions<DepthwiseName>(depthwiseSources);

/**
 * The places of the output, along one axis, whose tap at `offset` (from the first tap, dilated) lies in the input.
 * @returns the first, and the one behind the last; equal where there is none
 */
export function placesMeeting(offset: number, padding: number, stride: number, inPlaces: number, outPlaces: number): [number, number] {
  const first = Math.max(0, Math.ceil((padding - offset) / stride));
  const past = Math.min(outPlaces, Math.floor((inPlaces - 1 + padding - offset) / stride) + 1);
  return [first, Math.max(first, past)];
}

function forEachRow(info: ConvInfo, act: HeapFunction, xAt: number, filterAt: number, dyAt: number): void {
  const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth } = info;
  const { strideHeight, strideWidth, dilationHeight, dilationWidth, padInfo } = info;
  const [inBytes, outBytes] = [inChannels * FLOAT_BYTES, outChannels * FLOAT_BYTES];
  for (let n = 0; n < batchSize; n += 1)
    for (let y = 0; y < outHeight; y += 1)
      for (let i = 0; i < filterHeight; i += 1) {
        const row = y * strideHeight + i * dilationHeight - padInfo.top;
        if (row < 0 || row >= inHeight) continue;
        for (let j = 0; j < filterWidth; j += 1) {
          const [first, past] = placesMeeting(j * dilationWidth, padInfo.left, strideWidth, inWidth, outWidth);
          const column = first * strideWidth + j * dilationWidth - padInfo.left;
          act(
            filterAt + (i * filterWidth + j) * outBytes,
            xAt + ((n * inHeight + row) * inWidth + column) * inBytes,
            strideWidth * inBytes,
            dyAt + ((n * outHeight + y) * outWidth + first) * outBytes,
            outBytes,
            past - first,
            inChannels,
            outChannels / inChannels,
          );
        }
      }
}

const infoOf = (
  tfjs: Tf,
  xShape: number[],
  filterShape: number[],
  { strides, dilations, pad, dimRoundingMode }: KernelCall['attrs'],
): ConvInfo =>
  tfjs.backend_util.computeConv2DInfo(xShape as never, filterShape as never, strides, dilations ?? 1, pad, dimRoundingMode, true);

/** A tensor of zeros, to be added to. */
function zeros(backend: WasmBackend, shape: number[], elems: number): TensorInfo {
  const output = backend.makeOutput(shape, 'float32');
  functionsOf(backend).clear(addressOf(backend, output), elems * FLOAT_BYTES);
  return output;
}

export const depthwiseBackpropFilter = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { x, dy } = inputs as { x: TensorInfo; dy: TensorInfo };
    const info = infoOf(tfjs, x.shape, attrs.filterShape, attrs);
    const output = zeros(backend, info.filterShape, info.filterHeight * info.filterWidth * info.outChannels);
    forEachRow(info, functionsOf(backend).addToFilter, addressOf(backend, x), addressOf(backend, output), addressOf(backend, dy));
    return output;
  };
};

export const depthwiseBackpropInput = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const { filter, dy } = inputs as { filter: TensorInfo; dy: TensorInfo };
    const info = infoOf(tfjs, attrs.inputShape, filter.shape, attrs);
    const output = zeros(backend, info.inShape, info.batchSize * info.inHeight * info.inWidth * info.inChannels);
    forEachRow(info, functionsOf(backend).addToInput, addressOf(backend, output), addressOf(backend, filter), addressOf(backend, dy));
    return output;
  };
};
