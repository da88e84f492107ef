// The training kernels of the wasm backend, ours and the stock ones, on the shapes of the study's network: `node scripts/bench_kernels.mjs [--batch 32]` (after `npm run build`). And the parameter
// servers' optimizers, beside loops over Float32Arrays: `node scripts/bench_kernels.mjs --optimizers [--elems 25e6]`.
//
// Processor time (other load on the machine disturbs it least), median of 15 calls with new tensors each time: the backend keeps packed copies of factors it has seen, which a training step
// never profits from. Each kernel's result is compared with the stock kernel's, or, where there is none, with the cpu backend's, on a batch of 2.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({ options: { batch: { type: 'string' }, optimizers: { type: 'boolean' }, elems: { type: 'string' } } });
const batch = Number(values.batch ?? 32);
const CALLS = 15;
if (values.optimizers) {
  const { benchOptimizers } = await import('./bench_optimizers.mjs');
  benchOptimizers(Number(values.elems ?? 25e6));
  process.exit();
}

const random = (...shape) => tf.randomNormal(shape);
const conv = { strides: [1, 1], dilations: [1, 1], pad: 'same', dataFormat: 'NHWC' };
const pool = { filterSize: 2, strides: 2, pad: 'valid' };
const layers = [
  [32, 3, 32],
  [16, 32, 64],
  [8, 64, 64],
];
/** Kernel, what it is called with, for a batch of n. */
const cases = layers.flatMap(([side, from, to]) => [
  [
    'Conv2DBackpropFilter',
    `${side}×${side}, ${from}→${to}`,
    (n) => [
      { x: random(n, side, side, from), dy: random(n, side, side, to) },
      { ...conv, filterShape: [3, 3, from, to] },
    ],
  ],
  [
    'Conv2DBackpropInput',
    `${side}×${side}, ${from}→${to}`,
    (n) => [
      { dy: random(n, side, side, to), filter: random(3, 3, from, to) },
      { ...conv, inputShape: [n, side, side, from] },
    ],
  ],
  [
    'MaxPoolGrad',
    `${side}×${side}, ${to}, 2×2`,
    (n) => {
      // Positive: the stock kernel is wrong in windows without a positive number.
      const input = tf.add(tf.abs(random(n, side, side, to)), 1);
      return [{ dy: random(n, side / 2, side / 2, to), input, output: tf.maxPool(input, 2, 2, 'valid') }, pool];
    },
  ],
  ['Sum', `bias of ${side}×${side}, ${to}`, (n) => [{ x: random(n, side, side, to) }, { axis: [0, 1, 2], keepDims: false }]],
]);
cases.push(
  [
    'Conv2DBackpropInput',
    '16×16, 32→64, stride 2',
    (n) => [
      { dy: random(n, 8, 8, 64), filter: random(3, 3, 32, 64) },
      { ...conv, strides: [2, 2], inputShape: [n, 16, 16, 32] },
    ],
  ],
  [
    'BatchMatMul',
    '1024→64, first transposed',
    (n) => [
      { a: random(n, 1024), b: random(n, 64) },
      { transposeA: true, transposeB: false },
    ],
  ],
  [
    'BatchMatMul',
    '1024→64, second transposed',
    (n) => [
      { a: random(n, 64), b: random(1024, 64) },
      { transposeA: false, transposeB: true },
    ],
  ],
  [
    'DepthwiseConv2dNativeBackpropFilter',
    '16×16, 64',
    (n) => [
      { x: random(n, 16, 16, 64), dy: random(n, 16, 16, 64) },
      { ...conv, filterShape: [3, 3, 64, 1] },
    ],
  ],
  [
    'DepthwiseConv2dNativeBackpropInput',
    '16×16, 64',
    (n) => [
      { dy: random(n, 16, 16, 64), filter: random(3, 3, 64, 1) },
      { ...conv, inputShape: [n, 16, 16, 64] },
    ],
  ],
  [
    'UnsortedSegmentSum',
    `${batch * 64} of 64`,
    (n) => [{ x: random(n * 64, 64), segmentIds: tf.randomUniform([n * 64], 0, 99, 'int32') }, { numSegments: 100 }],
  ],
);

const call = (kernel, [inputs, attrs]) => tf.engine().runKernel(kernel, inputs, attrs);
function timeOf(kernel, make) {
  const times = Array.from({ length: CALLS }, () => {
    const args = make(batch);
    const from = process.cpuUsage().user;
    const result = call(kernel, args);
    const ms = (process.cpuUsage().user - from) / 1000;
    tf.dispose([result, args[0]]);
    return ms;
  });
  return times.sort((a, b) => a - b)[Math.floor(CALLS / 2)];
}

await tf.setBackend('wasm');
const stock = cases.map(([kernel, , make]) => {
  if (!tf.getKernel(kernel, 'wasm')) return {};
  const args = make(2);
  return { args, expected: read(call(kernel, args)), ms: timeOf(kernel, make) };
});
function read(tensor) {
  return tensor.dataSync().slice();
}
await tf.setBackend('cpu');
for (const [i, [kernel, , make]] of cases.entries())
  if (!stock[i].args) {
    const args = make(2);
    stock[i] = { args, expected: read(call(kernel, args)) };
  }
const hvd = (await import(path.join(root, 'dist/src/index.js'))).default;
await hvd.selectBackend('wasm');
const row = (kernel, shape, ours, theirs) => console.log(`${kernel.padEnd(36)}${shape.padEnd(26)}${ours.padStart(8)}${theirs.padStart(9)}`);
row('kernel', `shape (batch ${batch})`, 'ms', 'stock ms');
for (const [i, [kernel, shape, make]] of cases.entries()) {
  const { args, expected, ms } = stock[i];
  const found = read(call(kernel, args));
  const worst = expected.reduce((most, value, k) => Math.max(most, Math.abs(value - found[k]) / Math.max(1, Math.abs(value))), 0);
  if (!(worst < 1e-3)) throw new Error(`${kernel} ${shape} is off by ${worst}`);
  row(kernel, shape, timeOf(kernel, make).toFixed(2), ms?.toFixed(2) ?? 'none');
}
