/**
 * Convolutions on the wasm backend as training needs them: the gradient of conv2d for its input in a form that XNNPACK does fast, and a repair of the stock forward kernel. Main thread. NHWC (the stock
 * forward kernel takes nothing else).
 *
 * With x[n, h, w, ci], dy[n, y, x, co], filter[i, j, ci, co], stride s, padding p:
 *
 *   dx[n, h, w, ci] = Σ_{i,j,co} dy[n, (h + p − i) / s, (w + p − j) / s, co] · filter[i, j, ci, co]    over whole-numbered places of dy
 *
 * is a convolution of dy, s − 1 zeros between its places, with the filter turned by 180° and its channels swapped, padded by f − 1 − p.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../load';
import { infoOf } from './conv_info';
import { type Kernel, type KernelMaker, tensorOf, type WasmBackend } from './wasm_kernel';

type Padding = [[number, number], [number, number], [number, number], [number, number]];

// ───── input ─────

/** With more zeros than this for each place of dy, the stock kernel's naive loop over the places that count is the faster one. */
const MOST_PLACES_PER_PLACE = 4;

export const conv2DBackpropInput: KernelMaker = (tfjs: Tf, stock): Kernel => {
  return (call) => {
    const { dy, filter } = call.inputs as { dy: tf.Tensor4D; filter: tf.Tensor4D };
    const info = infoOf(tfjs, call.attrs.inputShape, filter.shape, dy.shape, call.attrs);
    const { filterHeight, filterWidth, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
    const top = filterHeight - 1 - padInfo.top;
    const left = filterWidth - 1 - padInfo.left;
    const bottom = inHeight - 1 - (outHeight - 1) * strideHeight + padInfo.top;
    const right = inWidth - 1 - (outWidth - 1) * strideWidth + padInfo.left;
    // A padding wider than the filter: its places would have to be cut off, which no convolution does.
    if (Math.min(top, left, bottom, right) < 0 || strideHeight * strideWidth > MOST_PLACES_PER_PLACE) return stock!(call);
    const padding: Padding = [
      [0, 0],
      [top, bottom],
      [left, right],
      [0, 0],
    ];
    return tfjs.tidy(() => tfjs.conv2d(spread(tfjs, dy, strideHeight, strideWidth), turn(tfjs, call.backend, filter), 1, padding, 'NHWC'));
  };
};

/** Zeros between the places: [n, oh, ow, co] → [n, (oh − 1)·sh + 1, (ow − 1)·sw + 1, co]. */
function spread(tfjs: Tf, dy: tf.Tensor4D, strideHeight: number, strideWidth: number): tf.Tensor4D {
  if (strideHeight === 1 && strideWidth === 1) return dy;
  const [n, height, width, channels] = dy.shape;
  const wide = tfjs.pad(tfjs.reshape(dy, [n, height, 1, width, 1, channels]), [
    [0, 0],
    [0, 0],
    [0, strideHeight - 1],
    [0, 0],
    [0, strideWidth - 1],
    [0, 0],
  ]);
  const whole = tfjs.reshape(wide, [n, height * strideHeight, width * strideWidth, channels]) as tf.Tensor4D;
  return tfjs.slice(whole, [0, 0, 0, 0], [n, (height - 1) * strideHeight + 1, (width - 1) * strideWidth + 1, channels]);
}

/** filter[i, j, ci, co] → turned[f − 1 − i, f − 1 − j, co, ci]. The stock Reverse and Transpose take thirty times as long. */
function turn(tfjs: Tf, backend: WasmBackend, filter: tf.Tensor4D): tf.Tensor4D {
  const [height, width, inChannels, outChannels] = filter.shape;
  const output = backend.makeOutput([height, width, outChannels, inChannels], 'float32');
  const [to, from] = [backend.typedArrayFromHeap(output), backend.typedArrayFromHeap(filter as never)];
  const block = inChannels * outChannels;
  for (let tap = 0; tap < height * width; tap += 1) {
    const [source, target] = [tap * block, (height * width - 1 - tap) * block];
    for (let ci = 0; ci < inChannels; ci += 1)
      for (let co = 0; co < outChannels; co += 1) to[target + co * inChannels + ci] = from[source + ci * outChannels + co]!;
  }
  return tensorOf(tfjs, output) as tf.Tensor4D;
}

// ───── forward ─────

/** The stock kernels leave 'same' to XNNPACK, which pads otherwise when the filter is smaller than the stride: then the padding is told in numbers. */
export const convolution: KernelMaker = (tfjs: Tf, stock): Kernel => {
  const { backend_util: util } = tfjs;
  return (call) => {
    const { strides, dilations, pad, dimRoundingMode, dataFormat } = call.attrs;
    const [, height, width] = call.inputs.x.shape as number[];
    const [filterHeight, filterWidth] = call.inputs.filter.shape as number[];
    const [strideHeight, strideWidth] = ([] as number[]).concat(strides, strides) as [number, number];
    if (pad !== 'same' || (filterHeight! >= strideHeight && filterWidth! >= strideWidth) || !height || !width) return stock!(call);
    const format = util.convertConv2DDataFormat(dataFormat);
    const { padInfo } = util.computeConv2DInfo(
      call.inputs.x.shape,
      call.inputs.filter.shape,
      strides,
      dilations,
      pad,
      dimRoundingMode,
      false,
      format,
    );
    const padding: Padding = [
      [0, 0],
      [padInfo.top, padInfo.bottom],
      [padInfo.left, padInfo.right],
      [0, 0],
    ];
    return stock!({ ...call, attrs: { ...call.attrs, pad: padding } });
  };
};
