/** Products, transpositions, sums, batch normalisation and ReLU on the wasm backend against TensorFlow.js's own cpu backend, over shapes that reach every form and every edge. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { type Case, compare, gradientsOf, values } from '../../helpers/kernel_cases';

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
