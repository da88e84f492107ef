/**
 * Convolutions on the wasm backend as training needs them: the gradients of conv2d in forms that XNNPACK does fast, and a repair of the stock forward kernel. Main thread. NHWC (the stock
 * forward kernel takes nothing else).
 *
 * With x[n, h, w, ci], dy[n, y, x, co], filter[i, j, ci, co], stride s, padding p:
 *
 *   dFilter[i, j, ci, co] = Σ_{n,y,x} x[n, y·s + i − p, x·s + j − p, ci] · dy[n, y, x, co]
 *
 * is a convolution in which ci plays the batch, n the input channels, dy the filter (of extent oh × ow, dilated by s), and i, j the output's place. And
 *
 *   dx[n, h, w, ci] = Σ_{i,j,co} dy[n, (h + p − i) / s, (w + p − j) / s, co] · filter[i, j, ci, co]    over whole-numbered places of dy
 *
 * is a convolution of dy, s − 1 zeros between its places, with the filter turned by 180° and its channels swapped, padded by f − 1 − p.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { BackendError } from '../../errors';
import type { Tf } from '../load';
import { type Kernel, type KernelCall, type KernelMaker, tensorOf, type WasmBackend } from './wasm_kernel';

type Info = ReturnType<Tf['backend_util']['computeConv2DInfo']>;
type Padding = [[number, number], [number, number], [number, number], [number, number]];

/** The places of dy are its own: the gradient of a convolution whose output was rounded up ('ceil') is asked for without saying so. */
function infoOf(tfjs: Tf, inShape: number[], filterShape: number[], dy: tf.Tensor, attrs: KernelCall['attrs']): Info {
  const { backend_util: util } = tfjs;
  const format = util.convertConv2DDataFormat(attrs.dataFormat);
  if (format !== 'channelsLast')
    throw new BackendError("The wasm backend convolves NHWC only, but a gradient was asked for with dataFormat 'NCHW'. Transpose first.");
  const { strides, pad, dimRoundingMode } = attrs;
  const info = util.computeConv2DInfo(inShape as never, filterShape as never, strides, 1, pad, dimRoundingMode, false, format);
  return { ...info, outHeight: dy.shape[1]!, outWidth: dy.shape[2]! };
}

// ───── filter ─────

/**
 * The other form, a product with x laid out as (i, j, ci) × (n, y, x), is 3 ms a step faster for the three input channels of a first layer and none elsewhere, but takes f² times the memory of x.
 */
export const conv2DBackpropFilter: KernelMaker = (tfjs: Tf): Kernel => {
  return ({ inputs, attrs }) => {
    const { x, dy } = inputs as { x: tf.Tensor4D; dy: tf.Tensor4D };
    const info = infoOf(tfjs, x.shape, attrs.filterShape, dy, attrs);
    return tfjs.tidy(() => filterGradient(tfjs, x, dy, info));
  };
};

function filterGradient(tfjs: Tf, x: tf.Tensor4D, dy: tf.Tensor4D, info: Info): tf.Tensor {
  const { filterHeight, filterWidth, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
  // Behind the last row: padded, or cut, so that exactly filterHeight × filterWidth places come out.
  const bottom = filterHeight - 1 + (outHeight - 1) * strideHeight + 1 - inHeight - padInfo.top;
  const right = filterWidth - 1 + (outWidth - 1) * strideWidth + 1 - inWidth - padInfo.left;
  let turned = tfjs.transpose(x, [3, 1, 2, 0]);
  if (bottom < 0 || right < 0)
    turned = tfjs.slice(turned, [0, 0, 0, 0], [-1, inHeight + Math.min(bottom, 0), inWidth + Math.min(right, 0), -1]);
  const padding: Padding = [
    [0, 0],
    [padInfo.top, Math.max(bottom, 0)],
    [padInfo.left, Math.max(right, 0)],
    [0, 0],
  ];
  const gradient = tfjs.conv2d(turned, tfjs.transpose(dy, [1, 2, 0, 3]), 1, padding, 'NHWC', [strideHeight, strideWidth]);
  return tfjs.transpose(gradient, [1, 2, 0, 3]);
}

// ───── input ─────

/** With more zeros than this for each place of dy, the stock kernel's naive loop over the places that count is the faster one. */
const MOST_PLACES_PER_PLACE = 4;

export const conv2DBackpropInput: KernelMaker = (tfjs: Tf, stock): Kernel => {
  return (call) => {
    const { dy, filter } = call.inputs as { dy: tf.Tensor4D; filter: tf.Tensor4D };
    const info = infoOf(tfjs, call.attrs.inputShape, filter.shape, dy, call.attrs);
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
