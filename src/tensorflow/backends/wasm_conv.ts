/**
 * Gradients of conv2d on the wasm backend, each as one forward convolution, which XNNPACK does fast. NHWC.
 *
 * With x[n, h, w, ci], dy[n, y, x, co], filter[i, j, ci, co], stride s, padding p:
 *
 *   dFilter[i, j, ci, co] = Σ_{n,y,x} x[n, y·s + i − p, x·s + j − p, ci] · dy[n, y, x, co]
 *
 * is a convolution in which ci plays the batch, n the input channels, dy the filter (of extent oh × ow, dilated by s), and i, j the output's place; and for s = 1
 *
 *   dx[n, h, w, ci] = Σ_{i,j,co} dy[n, h + p − i, w + p − j, co] · filter[i, j, ci, co]
 *
 * is a convolution of dy with the filter turned by 180° and its channels swapped, padded by f − 1 − p.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../load';
import type { Kernel, KernelMaker } from './wasm';

export const conv2DBackpropFilter: KernelMaker = (tfjs: Tf): Kernel => {
  const { backend_util: util } = tfjs;
  return ({ inputs, attrs }) => {
    const { x, dy } = inputs as { x: tf.Tensor4D; dy: tf.Tensor4D };
    const { strides, pad, dataFormat, dimRoundingMode, filterShape } = attrs;
    const info = util.computeConv2DInfo(
      x.shape,
      filterShape,
      strides,
      1,
      pad,
      dimRoundingMode,
      false,
      util.convertConv2DDataFormat(dataFormat),
    );
    const { filterHeight, filterWidth, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
    // Behind the last row: padded, or cut, so that exactly filterHeight × filterWidth places come out.
    const bottom = filterHeight - 1 + (outHeight - 1) * strideHeight + 1 - inHeight - padInfo.top;
    const right = filterWidth - 1 + (outWidth - 1) * strideWidth + 1 - inWidth - padInfo.left;
    return tfjs.tidy(() => {
      let turned = tfjs.transpose(x, [3, 1, 2, 0]);
      if (bottom < 0 || right < 0)
        turned = tfjs.slice(turned, [0, 0, 0, 0], [-1, inHeight + Math.min(bottom, 0), inWidth + Math.min(right, 0), -1]);
      const padding: [[number, number], [number, number], [number, number], [number, number]] = [
        [0, 0],
        [padInfo.top, Math.max(bottom, 0)],
        [padInfo.left, Math.max(right, 0)],
        [0, 0],
      ];
      const gradient = tfjs.conv2d(turned, tfjs.transpose(dy, [1, 2, 0, 3]), 1, padding, 'NHWC', [strideHeight, strideWidth]);
      return tfjs.transpose(gradient, [1, 2, 0, 3]);
    });
  };
};

/** Stride 1; other strides stay with the stock kernel. */
export const conv2DBackpropInput: KernelMaker = (tfjs: Tf, stock): Kernel => {
  const { backend_util: util } = tfjs;
  return (call) => {
    const { dy, filter } = call.inputs as { dy: tf.Tensor4D; filter: tf.Tensor4D };
    const { strides, pad, dataFormat, dimRoundingMode, inputShape } = call.attrs;
    const info = util.computeConv2DInfo(
      inputShape,
      filter.shape,
      strides,
      1,
      pad,
      dimRoundingMode,
      false,
      util.convertConv2DDataFormat(dataFormat),
    );
    const { filterHeight, filterWidth, inHeight, inWidth, outHeight, outWidth, strideHeight, strideWidth, padInfo } = info;
    const top = filterHeight - 1 - padInfo.top;
    const left = filterWidth - 1 - padInfo.left;
    const bottom = inHeight - outHeight + filterHeight - 1 - top;
    const right = inWidth - outWidth + filterWidth - 1 - left;
    if (strideHeight !== 1 || strideWidth !== 1 || Math.min(top, left, bottom, right) < 0) return stock!(call);
    return tfjs.tidy(() => {
      const turned = tfjs.transpose(tfjs.reverse(filter, [0, 1]), [0, 1, 3, 2]);
      return tfjs.conv2d(
        dy,
        turned,
        1,
        [
          [0, 0],
          [top, bottom],
          [left, right],
          [0, 0],
        ],
        'NHWC',
      );
    });
  };
};
