/**
 * The training kernels of the wasm backend against TensorFlow.js's own cpu backend: the same gradients are computed on both, over shapes that reach every form and every edge. On one thread, unless
 * the environment says otherwise (threaded_kernels.test.ts).
 */

import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { type Case, compare, gradientsOf, values } from '../../helpers/kernel_cases';

type Pad = 'same' | 'valid' | number | [[number, number], [number, number], [number, number], [number, number]];
const pads: Pad[] = [
  'valid',
  'same',
  1,
  [
    [0, 0],
    [2, 0],
    [1, 2],
    [0, 0],
  ],
];

function convolutions(): Case[] {
  const cases: Case[] = [];
  const sizes = [
    [1, 7, 8],
    [3, 9, 7],
  ] as const;
  const channels = [
    [2, 4],
    [7, 2],
    [3, 11],
  ] as const;
  for (const [batch, height, width] of sizes)
    for (const [inChannels, outChannels] of channels)
      for (const stride of [1, 2, 3])
        for (const filter of [1, 2, 3, 5])
          for (const pad of pads) {
            cases.push({
              title: `conv2d ${batch}×${height}×${width}×${inChannels}→${outChannels}, filter ${filter}, stride ${stride}, pad ${JSON.stringify(pad)}`,
              compute: () =>
                gradientsOf(
                  (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, stride, pad as 'same'),
                  [values([batch, height, width, inChannels], 1), values([filter, filter, inChannels, outChannels], 2)],
                ),
            });
          }
  return cases;
}

t.test('conv2d: gradients for input and filter', async (t) => compare(t, convolutions()));

t.test('conv2d: unequal filters and strides, an image as small as its filter, rounding that drops nothing', async (t) => {
  const one = (x: number[], w: number[], stride: [number, number], pad: Pad, rounding?: 'floor'): Case => ({
    title: `conv2d ${x} by ${w}, stride ${stride}, pad ${JSON.stringify(pad)}`,
    compute: () =>
      gradientsOf(
        (a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, stride, pad as 'same', 'NHWC', 1, rounding),
        [values(x, 1), values(w, 2)],
      ),
  });
  await compare(t, [
    one([2, 6, 9, 3], [1, 5, 3, 4], [1, 2], 'same'),
    one([2, 9, 6, 3], [4, 2, 3, 4], [2, 1], 'valid'),
    one([1, 3, 3, 2], [3, 3, 2, 2], [1, 1], 'valid'),
    one([1, 1, 1, 1], [1, 1, 1, 1], [1, 1], 'same'),
    one([2, 8, 8, 2], [3, 3, 2, 2], [2, 2], 1, 'floor'),
    one(
      [1, 8, 8, 2],
      [3, 3, 2, 2],
      [1, 1],
      [
        [0, 0],
        [4, 3],
        [3, 4],
        [0, 0],
      ],
    ), // wider than the filter
  ]);
});

t.test('conv2d: the forward result where the filter is smaller than the stride', async (t) => {
  const cases: Case[] = [];
  for (const [filter, stride] of [
    [1, 2],
    [1, 3],
    [2, 3],
    [2, 4],
  ] as const)
    for (const height of [7, 8, 9, 10, 11])
      for (const activation of ['linear', 'relu'] as const)
        cases.push({
          title: `filter ${filter}, stride ${stride}, height ${height}, ${activation}`,
          compute: () => ({
            output: tf.fused.conv2d({
              x: values([2, height, height + 1, 3], 1) as tf.Tensor4D,
              filter: values([filter, filter, 3, 4], 2) as tf.Tensor4D,
              strides: stride,
              pad: 'same',
              activation,
            }),
            plain: tf.conv2d(
              values([2, height, height + 1, 3], 1) as tf.Tensor4D,
              values([filter, filter, 3, 4], 2) as tf.Tensor4D,
              stride,
              'same',
            ),
          }),
        });
  await compare(t, cases);
});

t.test('conv1d and transposed conv2d', async (t) => {
  await compare(t, [
    {
      title: 'conv1d',
      compute: () =>
        gradientsOf((x, w) => tf.conv1d(x as tf.Tensor3D, w as tf.Tensor3D, 2, 'same'), [values([2, 9, 3], 1), values([3, 3, 4], 2)]),
    },
    ...[1, 2, 3].map((stride) => ({
      title: `conv2dTranspose, stride ${stride}`,
      compute: () => ({
        output: tf.conv2dTranspose(
          values([2, 4, 5, 3], 1) as tf.Tensor4D,
          values([3, 3, 4, 3], 2) as tf.Tensor4D,
          [2, 4 * stride, 5 * stride, 4],
          stride,
          'same',
        ),
        ...gradientsOf(
          (x, w) => tf.conv2dTranspose(x as tf.Tensor4D, w as tf.Tensor4D, [2, 4 * stride, 5 * stride, 4], stride, 'same'),
          [values([2, 4, 5, 3], 1), values([3, 3, 4, 3], 2)],
        ),
      }),
    })),
  ]);
});

t.test('depthwise conv2d: gradients for input and filter', async (t) => {
  const cases: Case[] = [];
  for (const [batch, height, width] of [
    [1, 7, 8],
    [3, 9, 7],
  ] as const)
    for (const [channels, multiplier] of [
      [3, 1],
      [3, 2],
      [9, 1],
    ] as const)
      for (const stride of [1, 2, 3])
        for (const filter of [1, 2, 3, 5])
          for (const pad of ['valid', 'same', 1] as const)
            cases.push({
              title: `depthwise ${batch}×${height}×${width}×${channels}·${multiplier}, filter ${filter}, stride ${stride}, pad ${pad}`,
              compute: () =>
                gradientsOf(
                  (x, w) => tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, stride, pad),
                  [values([batch, height, width, channels], 1), values([filter, filter, channels, multiplier], 2)],
                ),
            });
  await compare(t, cases);
});

t.test('depthwise kernels, asked for directly, dilated: the gradients fit the forward result', async (t) => {
  // tf.grads refuses dilations, and the cpu backend's kernels ignore them; but sums of products say the same: ⟨dy, x ∗ w⟩ = ⟨dx, x⟩ = ⟨dw, w⟩.
  await hvd.selectBackend('wasm');
  const attrs = { strides: [1, 1], dilations: [2, 2], pad: 'valid' };
  const run = (name: string, inputs: Record<string, tf.Tensor>, more: object): tf.Tensor =>
    tf.engine().runKernel(name, inputs as never, { ...attrs, ...more } as never) as tf.Tensor;
  tf.tidy(() => {
    const [x, w, dy] = [values([2, 8, 9, 3], 1), values([3, 3, 3, 2], 2), values([2, 4, 5, 6], 3)];
    const inner = (a: tf.Tensor, b: tf.Tensor): number => tf.sum(tf.mul(a, b)).dataSync()[0]!;
    const forward = inner(dy, tf.depthwiseConv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid', 'NHWC', 2));
    const byInput = inner(x, run('DepthwiseConv2dNativeBackpropInput', { dy, filter: w }, { inputShape: x.shape }));
    const byFilter = inner(w, run('DepthwiseConv2dNativeBackpropFilter', { x, dy }, { filterShape: w.shape }));
    t.ok(Math.abs(forward - byInput) < 1e-3, `input: ${byInput} for ${forward}`);
    t.ok(Math.abs(forward - byFilter) < 1e-3, `filter: ${byFilter} for ${forward}`);
  });
});

t.test('max pooling: the gradient goes to the first of equal maxima', async (t) => {
  const cases: Case[] = [];
  for (const [batch, height, width] of [
    [1, 7, 8],
    [3, 9, 7],
  ] as const)
    for (const pool of [1, 2, 3])
      for (const stride of [1, 2, 3])
        for (const pad of ['valid', 'same', ...(pool === 3 ? [1] : [])] as const)
          for (const hasTies of [false, true])
            cases.push({
              title: `maxPool ${batch}×${height}×${width}, ${pool} by ${stride}, pad ${pad}, ties ${hasTies}`,
              compute: () => {
                const x = values([batch, height, width, 5], 1);
                return gradientsOf(
                  (a) => tf.maxPool(a as tf.Tensor4D, pool, stride, pad as 'same'),
                  [hasTies ? tf.round(tf.mul(x, 2)) : x],
                );
              },
            });
  await compare(t, cases);
});

t.test('NCHW is refused with what to do', async (t) => {
  t.throws(
    () =>
      tf.engine().runKernel('Conv2DBackpropFilter', { x: values([1, 2, 4, 4], 1), dy: values([1, 2, 4, 4], 1) } as never, {
        strides: 1,
        pad: 'same',
        dataFormat: 'NCHW',
        filterShape: [3, 3, 2, 2],
      }),
    { code: 'ERR_HVD_BACKEND', message: /NHWC/ },
  );
});
