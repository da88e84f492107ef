// What it costs to hand gradients to the communication thread and take them back: `node scripts/measure_hand_over.mjs [--backend wasm] [--mib 64] [--repeats 9] [--steps 10] [--batch 32]`
// (after `npm run build`).
//
// In: a tensor's values into shared memory; out: a new tensor of what lies there. For one tensor of so many MiB and for the gradients of the study's network; each also in the way that every
// backend has (`dataSync` and a copy; a copy and `tf.tensor`), by turns with ours. Copies are counted: bytes that JavaScript's `set` and `slice` of typed arrays move, over bytes handed over (what a backend's native
// code copies is not seen). The share of a step is hand-over in and out of all gradients over that and the step. Verified: every value comes back.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, studyTraining } from './measuring.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    backend: option('wasm'),
    mib: option('64'),
    repeats: option('9'),
    steps: option('10'),
    batch: option('32'),
  },
});
const [mib, repeats, steps, batch] = [values.mib, values.repeats, values.steps, values.batch].map(Number);

const tf = (await import('@tensorflow/tfjs')).default;
const hvd = (await import(path.join(root, 'dist/src/index.js'))).default;
const { copyTensorInto, tensorFrom } = (await import(path.join(root, 'dist/src/tensorflow/tensors.js'))).default;

/** Bytes that typed arrays moved while it acted. */
function bytesMoved(act) {
  const typedArray = Object.getPrototypeOf(Float32Array.prototype);
  const { set, slice } = typedArray;
  let bytes = 0;
  typedArray.set = function (source, at) {
    bytes += source.byteLength ?? 0;
    return set.call(this, source, at);
  };
  typedArray.slice = function (...range) {
    const made = slice.apply(this, range);
    bytes += made.byteLength;
    return made;
  };
  try {
    act();
  } finally {
    Object.assign(typedArray, { set, slice });
  }
  return bytes;
}

const each = (tensors, act) => {
  for (const [i, tensor] of tensors.entries()) act(tensor, i);
};
const ways = {
  in: (tensors, places) => each(tensors, (tensor, i) => copyTensorInto(tensor, places[i])),
  'in, by dataSync': (tensors, places) => each(tensors, (tensor, i) => places[i].set(tensor.dataSync())),
  out: (tensors, places) => tf.dispose(tensors.map(({ shape }, i) => tensorFrom(places[i], shape, 'float32'))),
  'out, by slice': (tensors, places) => tf.dispose(tensors.map(({ shape }, i) => tf.tensor(places[i].slice(), shape))),
};

/** Medians of ms of each way, by turns, and how often each byte is copied. */
function handOver(tensors) {
  const places = tensors.map(({ size }) => hvd.allocate(Float32Array, size));
  const bytes = 4 * places.reduce((sum, { length }) => sum + length, 0);
  const found = Object.keys(ways).map((way) => ({ way, times: [], copies: 0 }));
  for (const one of found) one.copies = bytesMoved(() => ways[one.way](tensors, places)) / bytes;
  for (let i = 0; i < repeats; i += 1) {
    for (const one of found) {
      const from = performance.now();
      ways[one.way](tensors, places);
      one.times.push(performance.now() - from);
    }
  }
  for (const [i, tensor] of tensors.entries()) {
    copyTensorInto(tensor, places[i]);
    const back = tensorFrom(places[i], tensor.shape, 'float32');
    places[i].fill(0);
    const [given, got] = [tensor.dataSync(), back.dataSync()];
    if (!given.every((value, k) => value === got[k])) throw new Error(`tensor ${i} came back with other values`);
    back.dispose();
  }
  for (const place of places) hvd.release(place);
  return found.map(({ way, times, copies }) => ({ way, ms: median(times), copies, gbPerSec: bytes / median(times) / 1e6 }));
}

hvd.init();
const { device } = await hvd.selectBackend(values.backend);
const table = (title, rows) => {
  console.log(`${title}\n| backend | way | copies | ms | GB/s |\n| --- | --- | --- | --- | --- |`);
  for (const { way, copies, ms, gbPerSec } of rows)
    console.log(`| ${values.backend} | ${way} | ${copies.toFixed(1)} | ${ms.toFixed(2)} | ${gbPerSec.toFixed(1)} |`);
};
console.log(`${values.backend} on ${device}; medians of ${repeats}`);

const large = tf.tensor(Float32Array.from({ length: mib * 2 ** 18 }, (_, i) => i % 1000)).mul(0.5);
table(`one tensor of ${mib} MiB`, handOver([large]));
large.dispose();

const { model, xs, ys } = await studyTraining(tf, batch);
model.compile({ optimizer: tf.train.sgd(0.01), loss: 'categoricalCrossentropy' });
const times = [];
for (let i = 0; i < steps; i += 1) {
  const from = performance.now();
  await model.trainOnBatch(xs, ys);
  times.push(performance.now() - from);
}
// Of the same shapes as the gradients.
const gradients = model.getWeights().map((weight) => weight.mul(0.5));
const rows = handOver(gradients);
table(`the study's network: ${gradients.length} tensors, ${(rows[0].ms * rows[0].gbPerSec * 1000).toFixed(0)} kB`, rows);
const ms = median(times);
const share = ([a, b]) => `${((100 * (a + b)) / (a + b + ms)).toFixed(2)} %`;
console.log(
  `a step: ${ms.toFixed(1)} ms; hand-over in and out is ${share([rows[0].ms, rows[2].ms])} of it, by dataSync and slice ${share([rows[1].ms, rows[3].ms])}`,
);
hvd.shutdown();
