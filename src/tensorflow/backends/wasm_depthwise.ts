/** Gradients of depthwiseConv2d on the wasm backend: plain loops over the heap, innermost over the channels. NHWC. */
import type { Tf } from '../load';
import type { Kernel, KernelCall } from './wasm_kernel';

type Info = ReturnType<Tf['backend_util']['computeConv2DInfo']>;

/** Calls back for every pair of an output place and a filter place that meets an input place: element offsets of the three. */
function forEachProduct(info: Info, act: (x: number, filter: number, dy: number) => void): void {
  const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, outChannels, filterHeight, filterWidth } = info;
  const { strideHeight, strideWidth, dilationHeight, dilationWidth, padInfo } = info;
  for (let n = 0; n < batchSize; n += 1) {
    for (let y = 0; y < outHeight; y += 1) {
      for (let i = 0; i < filterHeight; i += 1) {
        const row = y * strideHeight + i * dilationHeight - padInfo.top;
        if (row < 0 || row >= inHeight) continue;
        for (let x = 0; x < outWidth; x += 1) {
          for (let j = 0; j < filterWidth; j += 1) {
            const column = x * strideWidth + j * dilationWidth - padInfo.left;
            if (column < 0 || column >= inWidth) continue;
            act(
              ((n * inHeight + row) * inWidth + column) * inChannels,
              (i * filterWidth + j) * outChannels,
              ((n * outHeight + y) * outWidth + x) * outChannels,
            );
          }
        }
      }
    }
  }
}

const infoOf = (
  tfjs: Tf,
  xShape: number[],
  filterShape: number[],
  { strides, dilations, pad, dimRoundingMode }: KernelCall['attrs'],
): Info => tfjs.backend_util.computeConv2DInfo(xShape as never, filterShape as never, strides, dilations ?? 1, pad, dimRoundingMode, true);

export const depthwiseBackpropFilter = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const info = infoOf(tfjs, inputs.x.shape, attrs.filterShape, attrs);
    const output = backend.makeOutput(info.filterShape, 'float32');
    const [sum, x, dy] = [output, inputs.x, inputs.dy].map((one) => backend.typedArrayFromHeap(one)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const { outChannels, inChannels } = info;
    const multiplier = outChannels / inChannels;
    sum.fill(0);
    forEachProduct(info, (xAt, filterAt, dyAt) => {
      for (let c = 0, q = 0; c < inChannels; c += 1)
        for (let m = 0; m < multiplier; m += 1, q += 1) sum[filterAt + q]! += x[xAt + c]! * dy[dyAt + q]!;
    });
    return output;
  };
};

export const depthwiseBackpropInput = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs, backend }) => {
    const info = infoOf(tfjs, attrs.inputShape, inputs.filter.shape, attrs);
    const output = backend.makeOutput(info.inShape, 'float32');
    const [sum, filter, dy] = [output, inputs.filter, inputs.dy].map((one) => backend.typedArrayFromHeap(one)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const { outChannels, inChannels } = info;
    const multiplier = outChannels / inChannels;
    sum.fill(0);
    forEachProduct(info, (xAt, filterAt, dyAt) => {
      for (let c = 0, q = 0; c < inChannels; c += 1)
        for (let m = 0; m < multiplier; m += 1, q += 1) sum[xAt + c]! += filter[filterAt + q]! * dy[dyAt + q]!;
    });
    return output;
  };
};
