// What compressors are worth: `node scripts/measure_compression.mjs [-np 4] [-H h1,h2,h3,h4] [--network resnet50] [--image-size 224] [--rates 1,2.5 --shape 'COMMAND {}'] [--compressors none,fp16,int8,…] [--steps 5] [--epochs 3] [--images 2048] [--data DIR]`
// (after `npm run build`).
//
// 1. The exchange of one step: gradients of the network's shapes through the buckets of DistributedOptimizer, with no computation, timed with each compressor at each rate (Gbit/s); before each rate COMMAND is run, with the rate in place of {},
//    and sets the links. Without --shape there is one rate, the links' own. Printed: medians of the slowest rank. From two rates the model t = codec + bytes / rate is fitted for each compressor, and against `none` the crossover
//    printed: the rate below which the compressor's step is the shorter.
// 2. The study's CIFAR-10 network on --data (or seeded gratings) for some epochs with each compressor: loss and accuracy on images that nobody trained on. --epochs 0 leaves it out, --steps 0 the first part.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(file));
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  args: process.argv.slice(2).map((word) => (word === '-np' ? '--np' : word)),
  options: {
    np: option('4'),
    hosts: { ...option(''), short: 'H' },
    network: option('resnet50'),
    'image-size': option('224'),
    rates: option(''),
    shape: option(''),
    compressors: option('none,fp16,bf16,int8,topK(0.01),powerSGD(4)'),
    steps: option('5'),
    epochs: option('3'),
    images: option('2048'),
    batch: option('32'),
    data: option(''),
    seed: option('1'),
    worker: { type: 'string' },
  },
});
const [steps, epochs, images, batch, seed] = [values.steps, values.epochs, values.images, values.batch, values.seed].map(Number);
const names = values.compressors.split(',');
const load = async (name) => (await import(path.join(root, 'dist', name))).default;

async function exchange() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = await load('src/index.js');
  const { compressorNamed } = await load('src/compression.js');
  const { shapesOf } = await load('src/bench/models/networks.js');
  const { GradientReducer } = await load('src/tensorflow/gradient_reducer.js');
  hvd.init();
  await hvd.selectBackend('wasm');
  const size = Number(values['image-size']);
  const shapes = shapesOf(values.network, { size, classes: 1000 }).map(({ shape }) => shape);
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
      const gradients = shapes.map((shape, i) => tf.randomNormal(shape, 0, 1e-3, 'float32', hvd.rank() * 1e6 + step * 1e3 + i));
      hvd.barrier();
      const startMs = performance.now();
      const reduction = reducer.begin(shapes, 'list');
      for (let i = shapes.length - 1; i >= 0; i -= 1) reduction.take(i, gradients[i]);
      const { tensors } = reduction.finish(gradients, false);
      const slowest = hvd.allreduce(Float64Array.of(performance.now() - startMs), { op: 'max' })[0];
      // The first makes the buckets.
      if (step > 0) samples.push(slowest);
      tf.dispose([...gradients, ...tensors]);
    }
    reducer.dispose();
    results.push({ name, ms: median(samples), samples });
  }
  const bytes = 4 * shapes.map((shape) => shape.reduce((a, b) => a * b, 1)).reduce((a, b) => a + b, 0);
  if (hvd.rank() === 0) console.log(`RESULT ${JSON.stringify({ bytes, results })}`);
  hvd.shutdown();
}

async function accuracy() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = await load('src/index.js');
  const { compressorNamed } = await load('src/compression.js');
  const { cifarNetwork, optimizers } = await load('examples/cifar10/network.js');
  const { makeGratings, readCifar10, shardOf, shuffled, seeded } = await load('examples/cifar10/data.js');
  const { batchOf } = await load('examples/cifar10/batch.js');
  hvd.init();
  await hvd.selectBackend('wasm');
  const set = values.data
    ? readCifar10(values.data)
    : { train: makeGratings(images, seed), test: makeGratings(Math.ceil(images / 4), seed + 1) };
  const own = shardOf(set.train, hvd.rank(), hvd.size());
  const results = [];
  for (const name of names) {
    const model = cifarNetwork(seed);
    const optimizer = hvd.DistributedOptimizer(optimizers.sgd.make(optimizers.sgd.lr), { compression: compressorNamed(name) });
    model.compile({ optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy'] });
    hvd.broadcastVariables(model);
    const random = seeded(seed);
    for (let epoch = 0; epoch < epochs; epoch += 1) {
      const order = shuffled(own.labels.length, random);
      for (let from = 0; from + batch <= order.length; from += batch) {
        const { xs, ys } = batchOf(own, order, from, batch);
        await model.trainOnBatch(xs, ys);
        tf.dispose([xs, ys]);
      }
    }
    const count = set.test.labels.length;
    const { xs, ys } = batchOf(
      set.test,
      Int32Array.from({ length: count }, (_, i) => i),
      0,
      count,
    );
    const [loss, share] = model.evaluate(xs, ys, { batchSize: batch }).map((scalar) => scalar.dataSync()[0]);
    results.push({ name, loss, accuracy: share });
    tf.dispose([xs, ys]);
    optimizer.dispose();
  }
  if (hvd.rank() === 0) console.log(`RESULT ${JSON.stringify({ results })}`);
  hvd.shutdown();
}

function run(worker) {
  const where = values.hosts ? ['-H', values.hosts] : ['--oversubscribe'];
  const own = Object.entries(values).flatMap(([name, value]) =>
    ['np', 'hosts', 'worker', 'rates', 'shape'].includes(name) ? [] : [`--${name}=${value}`],
  );
  const job = [path.join(root, 'dist/launcher/tsrun.js'), '-np', values.np, ...where, file, '--worker', worker, ...own];
  const { stdout, status } = spawnSync(process.execPath, job, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const line = /RESULT (.*)/.exec(stdout ?? '')?.[1];
  if (status !== 0 || !line) throw new Error(`the job ended with ${status}: ${stdout?.slice(-2000)}`);
  return JSON.parse(line);
}

/** t = codec + bits / rate, from two points. */
function fit([a, b]) {
  const bits = (a.ms - b.ms) / (1 / a.rate - 1 / b.rate);
  return { codecMs: a.ms - bits / a.rate, bits };
}

function measureExchange() {
  const rates = values.rates ? values.rates.split(',').map(Number) : [undefined];
  const points = new Map(names.map((name) => [name, []]));
  for (const rate of rates) {
    if (rate !== undefined && values.shape) {
      const { status } = spawnSync('sh', ['-c', values.shape.replaceAll('{}', rate)], { stdio: 'inherit' });
      if (status !== 0) throw new Error(`'${values.shape}' ended with ${status} at ${rate} Gbit/s`);
    }
    const { bytes, results } = run('exchange');
    console.log(
      `# ${values.network}: ${(bytes / 1e6).toFixed(1)} MB of gradients, ${values.np} ranks, ${rate === undefined ? 'links as they are' : `${rate} Gbit/s`}, medians of ${steps} steps (slowest rank), ms`,
    );
    for (const { name, ms, samples } of results) {
      points.get(name).push({ rate, ms });
      console.log(
        `${name.padEnd(16)} ${ms.toFixed(1).padStart(9)}  (${Math.min(...samples).toFixed(1)} … ${Math.max(...samples).toFixed(1)})`,
      );
    }
  }
  if (rates.length !== 2 || !points.has('none')) return;
  // Rates in Gbit/s and times in ms: a bit of the model is 10^6.
  const plain = fit(points.get('none'));
  console.log('# fitted: codec ms + Mbit / (Gbit/s); crossover: the rate below which it is shorter than none');
  for (const [name, both] of points) {
    const { codecMs, bits } = fit(both);
    const crossover = (plain.bits - bits) / (codecMs - plain.codecMs);
    const said =
      name === 'none'
        ? ''
        : codecMs <= plain.codecMs && bits <= plain.bits
          ? 'always'
          : crossover > 0
            ? `${crossover.toFixed(2)} Gbit/s`
            : 'never';
    console.log(`${name.padEnd(16)} ${codecMs.toFixed(1).padStart(9)} + ${bits.toFixed(0).padStart(7)} / rate   ${said}`);
  }
}

function measureAccuracy() {
  console.log(
    `# CIFAR-10 network on ${values.data || `${images} gratings`}, ${values.np} ranks, ${epochs} epochs, batch ${batch} a rank, seed ${seed}`,
  );
  for (const { name, loss, accuracy: share } of run('accuracy').results)
    console.log(`${name.padEnd(16)} loss ${loss.toFixed(4)}  accuracy ${(100 * share).toFixed(1)} %`);
}

if (values.worker === 'exchange') await exchange();
else if (values.worker === 'accuracy') await accuracy();
else {
  if (steps > 0) measureExchange();
  if (epochs > 0) measureAccuracy();
}
