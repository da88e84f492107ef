/**
 * The training kernels of the wasm backend against TensorFlow.js's own cpu backend: the same gradients are computed on both, over shapes that reach every form and every edge.
 */
import * as tf from '@tensorflow/tfjs';
import t, { type Test } from 'tap';
import * as hvd from '../../../src/index';

type Results = Record<string, tf.Tensor>;
interface Case {
  readonly title: string;
  /** Makes its inputs by itself: the same on both backends. */
  readonly compute: () => Results;
}

/** Numbers between −1 and 1 that repeat in no pattern of a shape. */
function values(shape: number[], seed: number): tf.Tensor {
  const elems = shape.reduce((product, axis) => product * axis, 1);
  return tf.tensor(
    Float32Array.from({ length: elems }, (_, i) => Math.sin((i + 1) * 12.9898 + seed * 78.233)),
    shape,
  );
}

const gradientsOf = (f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]): Results => {
  const output = tf.tidy(() => f(...inputs).shape);
  const gradients = tf.grads(f as never)(inputs, values(output, 9));
  return Object.fromEntries(gradients.map((gradient, i) => [`gradient of input ${i}`, gradient]));
};

/** Computes all on cpu, then all on wasm (twice: the second time no tensor may be left), and compares. */
async function compare(t: Test, cases: Case[], tolerance = 2e-5): Promise<void> {
  const expected: Array<Record<string, Float32Array>> = [];
  await tf.setBackend('cpu');
  const read = (results: Results) =>
    Object.fromEntries(Object.entries(results).map(([name, one]) => [name, one.dataSync() as Float32Array]));
  for (const { compute } of cases) expected.push(tf.tidy(() => read(compute())));
  await hvd.selectBackend('wasm');
  for (const [i, { title, compute }] of cases.entries()) {
    const results = tf.tidy(() => read(compute()));
    const before = tf.memory().numTensors;
    const idsBefore = tf.memory().numDataBuffers;
    tf.tidy(() => {
      compute();
    });
    if (tf.memory().numTensors !== before || tf.memory().numDataBuffers !== idsBefore) t.fail(`${title}: tensors are left behind`);
    for (const [name, values] of Object.entries(expected[i]!)) {
      const found = results[name]!;
      let worst = found.length === values.length ? 0 : Number.POSITIVE_INFINITY;
      for (const [k, value] of values.entries())
        worst = Math.max(
          worst,
          Number.isNaN(found[k]) ? Number.POSITIVE_INFINITY : Math.abs(value - found[k]!) / Math.max(1, Math.abs(value)),
        );
      if (!(worst <= tolerance)) t.fail(`${title}: ${name} is off by ${worst}`);
    }
  }
  t.pass(`${cases.length} cases`);
}

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

t.test('products with transposed factors, batches broadcast', async (t) => {
  const cases: Case[] = [];
  for (const [a, b] of [
    [
      [4, 6],
      [6, 5],
    ],
    [
      [1, 7],
      [7, 1],
    ],
    [
      [3, 4, 6],
      [3, 6, 5],
    ],
    [
      [1, 4, 6],
      [3, 6, 5],
    ],
    [
      [3, 4, 6],
      [6, 5],
    ],
    [
      [2, 3, 4, 6],
      [2, 3, 6, 5],
    ],
  ] as const)
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const turned = (shape: readonly number[], is: boolean): number[] =>
          is ? [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!] : [...shape];
        const [x, y] = [turned(a, transposeA), turned(b, transposeB)];
        const product = (p: tf.Tensor, q: tf.Tensor): tf.Tensor => tf.matMul(p, q, transposeA, transposeB);
        cases.push({
          title: `${x} × ${y}, transposed ${transposeA} ${transposeB}`,
          compute: () => ({
            product: product(values(x, 1), values(y, 2)),
            // TensorFlow.js's gradient of a broadcast product has the wrong shape on every backend.
            ...(a.length === b.length && a[0] === b[0] ? gradientsOf(product, [values(x, 1), values(y, 2)]) : {}),
          }),
        });
      }
  await compare(t, cases);
});

t.test('products of few rows with a matrix of odd sizes, with bias and activation', async (t) => {
  const cases: Case[] = [];
  for (const [rows, depth, columns] of [
    [1, 9, 5],
    [3, 4, 515],
    [2, 7, 1],
    [5, 1, 6],
    [64, 17, 1030],
    [65, 10, 11],
  ] as const)
    for (const transposeB of [false, true])
      for (const activation of ['linear', 'relu'] as const)
        cases.push({
          title: `${rows}×${depth} by ${depth}×${columns}, transposed ${transposeB}, ${activation}`,
          compute: () => {
            const [a, b] = [values([rows, depth], 1), values(transposeB ? [columns, depth] : [depth, columns], 2)];
            return {
              product: tf.matMul(a, b, false, transposeB),
              fused: tf.fused.matMul({ a, b: b as tf.Tensor2D, transposeB, bias: values([columns], 3), activation }),
              one: tf.matMul(tf.expandDims(a, 0), tf.expandDims(b, 0), false, transposeB),
            };
          },
        });
  await compare(t, cases);
});

t.test('sums over segments: float and int32, ids that are absent, negative or too large', async (t) => {
  const ids = () => tf.tensor1d([2, 0, 2, 5, -1, 9, 0], 'int32');
  await compare(t, [
    { title: 'float32 rows', compute: () => ({ sum: tf.unsortedSegmentSum(values([7, 4], 1), ids(), 6) }) },
    { title: 'float32 numbers', compute: () => ({ sum: tf.unsortedSegmentSum(values([7], 1), ids(), 6) }) },
    { title: 'float32 blocks', compute: () => ({ sum: tf.unsortedSegmentSum(values([7, 2, 3], 1), ids(), 6) }) },
    {
      title: 'int32 rows',
      compute: () => ({ sum: tf.unsortedSegmentSum(tf.mul(values([7, 4], 1), 100).toInt(), ids(), 6) }),
    },
    {
      title: 'gradient of gather, along either axis',
      compute: () => ({
        ...gradientsOf((x) => tf.gather(x, tf.tensor1d([1, 1, 3], 'int32')), [values([4, 5], 1)]),
        second: tf.grad((x) => tf.gather(x, tf.tensor1d([0, 2, 2], 'int32'), 1))(values([4, 5], 1), values([4, 3], 2)),
      }),
    },
  ]);
  t.equal(tf.getBackend(), 'wasm');
  t.equal(
    tf.tidy(() => tf.unsortedSegmentSum(tf.tensor1d([1, 2], 'int32'), tf.tensor1d([0, 0], 'int32'), 1).dtype),
    'int32',
  );
});

t.test('sums over leading, trailing and all axes, with and without keepDims', async (t) => {
  const cases: Case[] = [];
  for (const axis of [undefined, 0, 1, 2, -1, [0, 1], [1, 0], [1, 2], [0, 2], [0, 1, 2]])
    for (const keepDims of [false, true])
      cases.push({
        title: `sum over ${JSON.stringify(axis)} ${keepDims}`,
        compute: () => {
          const x = values([4, 5, 7], 1);
          const whole = tf.mul(x, 100).toInt();
          const [sum, wholeSum] = [tf.sum(x, axis, keepDims), tf.sum(whole, axis, keepDims)];
          return { sum, wholeSum, shape: tf.tensor1d([...sum.shape, 0]) };
        },
      });
  await compare(t, cases);
});

t.test('transpositions of every order, float32, int32 and bool', async (t) => {
  const orders = (axes: number[]): number[][] =>
    axes.length < 2 ? [axes] : axes.flatMap((first) => orders(axes.filter((axis) => axis !== first)).map((rest) => [first, ...rest]));
  const cases: Case[] = [];
  for (const shape of [[9], [4, 8], [7, 9], [5, 1, 6], [3, 5, 8], [2, 3, 4, 9], [2, 0, 3]])
    for (const order of orders([...shape.keys()]))
      cases.push({
        title: `transpose ${shape} to ${order}`,
        compute: () => {
          const x = values(shape, 1);
          const whole = tf.mul(x, 100).toInt();
          return { float: tf.transpose(x, order), whole: tf.transpose(whole, order), bool: tf.transpose(tf.greater(x, 0), order) };
        },
      });
  await compare(t, cases);
});

t.test('means over leading and other axes', async (t) => {
  const cases: Case[] = [];
  for (const axis of [undefined, 0, 2, [0, 1], [0, 1, 2], [1, 3], [0, 1, 2, 3]])
    for (const keepDims of [false, true])
      cases.push({
        title: `mean over ${JSON.stringify(axis)} ${keepDims}`,
        compute: () => {
          const x = values([2, 3, 5, 7], 1);
          const mean = tf.mean(x, axis, keepDims);
          return { mean, shape: tf.tensor1d([...mean.shape, 0]), gradient: tf.grad((a) => tf.square(tf.mean(a, axis, keepDims)).sum())(x) };
        },
      });
  await compare(t, cases);
});

t.test('batch normalisation: all five gradients, and their own', async (t) => {
  const cases: Case[] = [];
  for (const channels of [1, 3, 4, 10])
    for (const shape of [[6], [2, 3, 4]])
      cases.push({
        title: `batchNorm ${shape}×${channels}`,
        compute: () => {
          const inputs = [[...shape, channels], [channels], [channels], [channels], [channels]].map((each, i) =>
            tf.add(values(each, i), i === 2 ? 1.5 : 0),
          );
          const normalise = (x: tf.Tensor, ...rest: tf.Tensor[]): tf.Tensor =>
            tf.batchNorm(x, rest[0] as tf.Tensor1D, rest[1] as tf.Tensor1D, rest[3] as tf.Tensor1D, rest[2] as tf.Tensor1D, 1e-3);
          const second = tf.grad((x) => tf.sum(tf.square(tf.grad((a) => tf.sum(tf.square(normalise(a, ...inputs.slice(1)))))(x))));
          return { ...gradientsOf(normalise, inputs), second: second(inputs[0]!) };
        },
      });
  await compare(t, cases, 1e-4);
});

t.test('ReLU: the gradient, at 0 as well, and its own', async (t) => {
  const cases: Case[] = [];
  for (const elems of [1, 4, 11])
    cases.push({
      title: `relu of ${elems}`,
      compute: () => {
        const x = tf.round(tf.mul(values([elems], 1), 1.5));
        const second = tf.grad((a) => tf.sum(tf.square(tf.grad((b) => tf.sum(tf.mul(tf.relu(b), tf.square(b))))(a))));
        return { ...gradientsOf((a) => tf.relu(a), [x]), second: second(x) };
      },
    });
  await compare(t, cases);
});

t.test('clones and casts to the same dtype outlive what they were made of', async (t) => {
  await hvd.selectBackend('wasm');
  const first = tf.tensor1d([1, 2, 3]);
  const [clone, cast, whole] = [first.clone(), tf.cast(first, 'float32'), tf.cast(first, 'int32')];
  first.dispose();
  // Takes the memory that was given back, if it was.
  const other = tf.tensor1d([7, 8, 9]);
  for (const each of [clone, cast, whole]) {
    t.same([...each.dataSync()], [1, 2, 3]);
    each.dispose();
  }
  other.dispose();
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
