// What compressors are worth: `node scripts/measure_compression.mjs [-np 4] [-H h1,h2,h3,h4] [--network resnet50] [--image-size 224] [--rates 1,2.5 --shape 'COMMAND {}'] [--compressors none,fp16,int8,…] [--steps 5] [--epochs 3] [--seeds 1,2,3] [--images 2048] [--data DIR]`
// (after `npm run build`). Prints tables in Markdown.
//
// 1. The exchange of one step: gradients of the network's shapes through the buckets of DistributedOptimizer, with no computation, timed with each compressor at each rate (Gbit/s); before each rate COMMAND is run, with the rate in place of {}
//    as tc writes it (2500mbit), and sets the links. Without --rates they are as they are. Printed: medians of the slowest rank (lowest … highest). From two rates on the model t = codec + bits / rate is fitted for each compressor, by least
//    squares, and against `none` the crossover printed: the rate below which the compressor's step is the shorter. Verified: all ranks have the same bits.
// 2. The study's CIFAR-10 network on --data (or seeded gratings), the first --images of it and a quarter as many to test (0: all), for some epochs with each compressor: loss and accuracy on images that nobody trained on, and whether all
//    ranks' weights are the same to the bit, which they must be. Weights and order follow the seed, dropout does not. --epochs 0 leaves it out, --steps 0 the first part.
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { fitRates, shorterText } from './link_bounds.mjs';
import {
  built,
  hostsOption,
  jobResult,
  median,
  ranksOf,
  ratesOf,
  rateText,
  readOptions,
  shapeLinks,
  spread,
  tableText,
  tellResult,
  wordsOf,
} from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const values = readOptions({
  np: '4',
  hosts: hostsOption,
  network: 'resnet50',
  'image-size': '224',
  rates: '',
  shape: '',
  compressors: 'none,fp16,bf16,int8,topK(0.01),powerSGD(4)',
  steps: '5',
  epochs: '3',
  images: '2048',
  batch: '32',
  data: '',
  seeds: '1',
  worker: '',
});
const [steps, epochs, images, batch] = [values.steps, values.epochs, values.images, values.batch].map(Number);
const names = values.compressors.split(',');

/** Of this rank's tensors. */
function hashOf(tensors) {
  const hash = createHash('sha256');
  for (const tensor of tensors) hash.update(tensor.dataSync());
  return hash.digest('hex');
}
function areReplicas(hvd, tensors) {
  const hashes = hvd.allgatherObject(hashOf(tensors));
  return hashes.every((hash) => hash === hashes[0]);
}

async function exchange() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = await built('src/index.js');
  const { compressorNamed } = await built('src/compression.js');
  const { shapesOf } = await built('src/bench/models/networks.js');
  const { GradientReducer } = await built('src/tensorflow/gradient_reducer.js');
  hvd.init();
  await hvd.selectBackend('wasm');
  const shapes = shapesOf(values.network, { size: Number(values['image-size']) }).map(({ shape }) => shape);
  const gradients = shapes.map((shape, i) => tf.randomNormal(shape, 0, 1e-3, 'float32', hvd.rank() * 1e3 + i));
  const results = [];
  for (const name of names) {
    const options = {
      op: 'average',
      prescaleFactor: 1,
      postscaleFactor: 1,
      compression: compressorNamed(name),
      processSet: hvd.globalProcessSet,
    };
    const reducer = new GradientReducer('measure_compression', () => `measure ${name}`, options);
    const samples = [];
    for (let step = 0; step <= steps; step += 1) {
      hvd.barrier();
      const startMs = performance.now();
      const reduction = reducer.begin(shapes, 'list');
      for (let i = shapes.length - 1; i >= 0; i -= 1) reduction.take(i, gradients[i]);
      const { tensors } = reduction.finish(gradients, false);
      const slowest = hvd.allreduce(Float64Array.of(performance.now() - startMs), { op: 'max' })[0];
      // The first makes the buckets.
      if (step > 0) samples.push(slowest);
      if (step === steps && !areReplicas(hvd, tensors)) throw new Error(`the ranks' results differ with ${name}`);
      tf.dispose(tensors);
    }
    reducer.dispose();
    results.push({ name, samples });
  }
  const bytes = 4 * shapes.map((shape) => shape.reduce((a, b) => a * b, 1)).reduce((a, b) => a + b, 0);
  tellResult(hvd, { bytes, results });
  hvd.shutdown();
}

/** The first so many; 0: all. */
const firstOf = (set, count, elems) =>
  count === 0 || count >= set.count ? set : { pixels: set.pixels.subarray(0, count * elems), labels: set.labels.subarray(0, count), count };

async function accuracy() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = await built('src/index.js');
  const { compressorNamed } = await built('src/compression.js');
  const { cifarNetwork, optimizers } = await built('examples/cifar10/network.js');
  const { IMAGE_ELEMS, makeGratings, readCifar10, shardOf, shuffled, seeded } = await built('examples/cifar10/data.js');
  const { batchOf } = await built('examples/cifar10/batch.js');
  hvd.init();
  await hvd.selectBackend('wasm');
  const seed = Number(values.seeds);
  const tests = Math.ceil(images / 4);
  const { train, test } = values.data
    ? readCifar10(values.data)
    : { train: makeGratings(images, seed), test: makeGratings(tests, seed + 1) };
  const [own, tested] = [firstOf(train, images, IMAGE_ELEMS), firstOf(test, tests, IMAGE_ELEMS)].map((set) =>
    shardOf(set, hvd.rank(), hvd.size()),
  );
  if (own.count < batch || tested.count === 0)
    throw new Error(`--images ${images}: each of ${hvd.size()} ranks needs ${batch} of them (--batch) and one to test`);
  const all = Int32Array.from({ length: tested.count }, (_, i) => i);
  const results = [];
  for (const name of names) {
    const model = cifarNetwork(seed);
    const optimizer = hvd.DistributedOptimizer(optimizers.sgd.make(optimizers.sgd.lr), { compression: compressorNamed(name) });
    model.compile({ optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
    hvd.broadcastVariables(model);
    const random = seeded(seed);
    for (let epoch = 0; epoch < epochs; epoch += 1) {
      const order = shuffled(own.count, random);
      for (let from = 0; from + batch <= own.count; from += batch) {
        const { xs, ys } = batchOf(own, order, from, batch);
        await model.trainOnBatch(xs, ys);
        tf.dispose([xs, ys]);
      }
    }
    const { xs, ys } = batchOf(tested, all, 0, tested.count);
    const figures = model.evaluate(xs, ys, { batchSize: batch });
    // Equally many images on all ranks.
    const [loss, share] = hvd.allreduce(
      Float64Array.from(figures, (scalar) => scalar.dataSync()[0]),
      { op: 'average' },
    );
    results.push({ name, loss, accuracy: share, replicas: areReplicas(hvd, model.getWeights()) });
    tf.dispose([xs, ys, ...figures]);
    optimizer.dispose();
    model.dispose();
  }
  tellResult(hvd, results);
  hvd.shutdown();
}

function run(worker, more = {}) {
  const { np, hosts, rates, shape, worker: none, ...own } = values;
  return jobResult(ranksOf({ np, hosts }), [file, ...wordsOf({ ...own, ...more, worker })]);
}

function measureExchange() {
  const rates = values.rates ? ratesOf(values.rates) : [undefined];
  const found = rates.map((rate) => {
    shapeLinks(values.shape, rate);
    const result = run('exchange');
    process.stderr.write(`exchange, links ${rateText(rate)}: done\n`);
    return { rate, ...result };
  });
  console.log(
    `Exchange of ${values.network}'s ${(found[0].bytes / 1e6).toFixed(1)} MB of gradients, ${values.np} ranks, ms a step: medians of ${steps} steps of the slowest rank (lowest … highest)`,
  );
  const isFitted = new Set(rates).size > 1;
  const fits = names.map((_, i) => isFitted && fitRates(found.map(({ rate, results }) => ({ rate, ms: median(results[i].samples) }))));
  const plain = fits[names.indexOf('none')];
  const rows = names.map((name, i) => {
    const { codecMs, megabits } = fits[i];
    const fitted = isFitted ? [codecMs.toFixed(1), megabits.toFixed(0), name === 'none' || !plain ? '' : shorterText(fits[i], plain)] : [];
    return [name, ...found.map(({ results }) => spread(results[i].samples, 1)), ...fitted];
  });
  const fittedHeads = isFitted ? ['fitted: codec (ms)', 'fitted: Mbit', 'shorter than none'] : [];
  console.log(tableText(['compressor', ...rates.map((rate) => `links ${rateText(rate)}`), ...fittedHeads], rows));
}

function measureAccuracy() {
  const found = values.seeds.split(',').map((seed) => {
    const results = run('accuracy', { seeds: seed });
    process.stderr.write(`accuracy, seed ${seed}: done\n`);
    return results;
  });
  const set = values.data ? `${images || 'all'} images of CIFAR-10` : `${images} gratings`;
  console.log(
    `CIFAR-10 network on ${set}, ${values.np} ranks, ${epochs} epochs, batch ${batch} a rank, seeds ${values.seeds}: medians (lowest … highest)`,
  );
  const rows = names.map((name, i) => {
    const all = found.map((results) => results[i]);
    const shares = all.map((one) => 100 * one.accuracy);
    const losses = all.map(({ loss }) => loss);
    return [name, spread(shares, 1), spread(losses, 4), all.every(({ replicas }) => replicas) ? 'identical' : 'DIFFERENT'];
  });
  console.log(tableText(['compressor', 'test accuracy (%)', 'test loss', 'replicas'], rows));
  if (found.flat().some(({ replicas }) => !replicas)) throw new Error('the ranks ended with different weights');
}

if (values.worker === 'exchange') await exchange();
else if (values.worker === 'accuracy') await accuracy();
else {
  if (steps > 0) measureExchange();
  if (epochs > 0) measureAccuracy();
}
