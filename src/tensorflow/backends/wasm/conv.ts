/**
 * Convolutions on the wasm backend as training needs them: the gradient of conv2d for its input in a form that XNNPACK does fast, and a repair of the stock forward kernel. Main thread. NHWC (the stock
 * forward kernel takes nothing else).
 *
 * With x[n, h, w, ci], dy[n, y, x, co], filter[i, j, ci, co], stride s, padding p:
 *
 *   dx[n, h, w, ci] = Σ_{i,j,co} dy[n, (h + p − i) / s, (w + p − j) / s, co] · filter[i, j, ci, co]    over whole-numbered places of dy
 *
 * For the h and w at one distance from a multiple of s, these are the same taps i and j each time: a convolution of dy, without strides, by those taps, turned by 180° and with channels swapped.
 * There are s² of them, which lie interleaved in dx, and together they multiply what has to be multiplied.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../../load';
import { infoOf } from './conv_info';
import { type Kernel, type KernelMaker, tensorOf, type WasmBackend } from './kernel';
import { FLOAT_BYTES } from './simd/floats';
import { addressOf, heapFunctions } from './simd/heap';
import { type PlacesName, placesSources } from './simd/places_source';
import { transposeMatrices } from './transpose';

const functionsOf = heapFunctions<PlacesName>(placesSources);

type Padding = [[number, number], [number, number], [number, number], [number, number]];

// ───── input ─────

/** The input places at one distance from a multiple of the stride, along one axis: the filter's taps that they meet, and where dy is to be padded, or cut where that is negative. */
export interface Phase {
  /** The first of them; the next is a stride further. */
  readonly first: number;
  readonly places: number;
  readonly firstTap: number;
  /** A stride apart, too. */
  readonly taps: number;
  readonly before: number;
  readonly after: number;
}

/**
 * Along one axis with input places h = first + s·u and taps i = firstTap + s·t, dx[h] = Σ_t dy[u + shift − t] · filter[i], shift = (first + padding − firstTap) / s: a convolution without strides.
 */
export function phasesOf(inPlaces: number, outPlaces: number, filterPlaces: number, stride: number, padding: number): Phase[] {
  return Array.from({ length: Math.min(stride, inPlaces) }, (_, first) => {
    const places = Math.ceil((inPlaces - first) / stride);
    const firstTap = (first + padding) % stride;
    const taps = Math.max(0, Math.ceil((filterPlaces - firstTap) / stride));
    const shift = (first + padding - firstTap) / stride;
    return { first, places, firstTap, taps, before: taps - 1 - shift, after: places - outPlaces + shift };
  });
}

export const conv2DBackpropInput: KernelMaker = (tfjs: Tf): Kernel => {
  return (call) => {
    const { backend } = call;
    const { dy, filter } = call.inputs as { dy: tf.Tensor4D; filter: tf.Tensor4D };
    const info = infoOf(tfjs, call.attrs.inputShape, filter.shape, dy.shape, call.attrs);
    const { batchSize, inHeight, inWidth, inChannels, outHeight, outWidth, filterHeight, filterWidth, strideHeight, strideWidth, padInfo } =
      info;
    const rows = phasesOf(inHeight, outHeight, filterHeight, strideHeight, padInfo.top);
    const columns = phasesOf(inWidth, outWidth, filterWidth, strideWidth, padInfo.left);
    const strides = [strideHeight, strideWidth] as const;
    if (strideHeight === 1 && strideWidth === 1 && meets(rows[0], outHeight) && meets(columns[0], outWidth))
      return tfjs.tidy(() => phaseGradient(tfjs, backend, dy, filter, rows[0]!, columns[0]!, strides));

    const output = backend.makeOutput([batchSize, inHeight, inWidth, inChannels], 'float32');
    const functions = functionsOf(backend);
    const placeBytes = inChannels * FLOAT_BYTES;
    functions.clear(addressOf(backend, output), batchSize * inHeight * inWidth * placeBytes);
    for (const row of rows.filter((one) => meets(one, outHeight)))
      for (const column of columns.filter((one) => meets(one, outWidth))) {
        const part = tfjs.tidy(() => phaseGradient(tfjs, backend, dy, filter, row, column, strides));
        const [from, to] = [addressOf(backend, part as never), addressOf(backend, output)];
        for (let n = 0; n < batchSize; n += 1)
          for (let u = 0; u < row.places; u += 1) {
            const place = (n * inHeight + row.first + u * strideHeight) * inWidth + column.first;
            const source = from + (n * row.places + u) * column.places * placeBytes;
            functions.copyPlaces(to + place * placeBytes, strideWidth * placeBytes, source, column.places, inChannels);
          }
        part.dispose();
      }
    return output;
  };
};

/** Whether any tap of the filter lies on dy. */
const meets = (phase: Phase | undefined, outPlaces: number): phase is Phase =>
  phase !== undefined &&
  phase.taps > 0 &&
  phase.before > -outPlaces &&
  phase.after > -outPlaces &&
  outPlaces + Math.min(phase.before, 0) + Math.min(phase.after, 0) > 0;

function phaseGradient(
  tfjs: Tf,
  backend: WasmBackend,
  dy: tf.Tensor4D,
  filter: tf.Tensor4D,
  row: Phase,
  column: Phase,
  strides: readonly [number, number],
): tf.Tensor4D {
  const padding: Padding = [
    [0, 0],
    [Math.max(row.before, 0), Math.max(row.after, 0)],
    [Math.max(column.before, 0), Math.max(column.after, 0)],
    [0, 0],
  ];
  return tfjs.conv2d(cut(tfjs, dy, row, column), turn(tfjs, backend, filter, row, column, strides), 1, padding, 'NHWC');
}

/** Without the places that no tap meets. */
function cut(tfjs: Tf, dy: tf.Tensor4D, row: Phase, column: Phase): tf.Tensor4D {
  if (Math.min(row.before, row.after, column.before, column.after) >= 0) return dy;
  const [top, left] = [Math.max(-row.before, 0), Math.max(-column.before, 0)];
  const [, height, width] = dy.shape;
  return tfjs.slice(dy, [0, top, left, 0], [-1, height - top - Math.max(-row.after, 0), width - left - Math.max(-column.after, 0), -1]);
}

/** filter[i, j, ci, co] → the taps of the phases, the last first: [t, t', co, ci]. */
function turn(
  tfjs: Tf,
  backend: WasmBackend,
  filter: tf.Tensor4D,
  row: Phase,
  column: Phase,
  [strideHeight, strideWidth]: readonly [number, number],
): tf.Tensor4D {
  const [, filterWidth, inChannels, outChannels] = filter.shape;
  const output = backend.makeOutput([row.taps, column.taps, outChannels, inChannels], 'float32');
  const [to, from] = [addressOf(backend, output), addressOf(backend, filter as never)];
  const tap = { count: 1, rows: inChannels, columns: outChannels };
  const tapBytes = inChannels * outChannels * FLOAT_BYTES;
  let target = to;
  for (let t = row.taps - 1; t >= 0; t -= 1)
    for (let u = column.taps - 1; u >= 0; u -= 1, target += tapBytes) {
      const source = (row.firstTap + t * strideHeight) * filterWidth + column.firstTap + u * strideWidth;
      transposeMatrices(backend, target, from + source * tapBytes, tap);
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
