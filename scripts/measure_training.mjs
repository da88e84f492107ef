// What distributing costs a training step: `node scripts/measure_training.mjs [--rounds 5] [--steps 20] [--batch 32]` (after `npm run build`).
//
// The study's network on WASM, Adam, in three ways, in turn, round by round:
//   alone:  one process, the plain optimizer
//   pair:   two such processes at the same time that know nothing of each other: what sharing cores, caches and memory costs
//   ranks:  two ranks of `tsrun -np 2` with DistributedOptimizer: the same, and communication, and waiting for each other
//   slower: of the pair, the slower process of each step: what ranks would take that wait for each other and communicate for nothing (other load on the machine makes this more than the pair's)
//   cpu:    processor time of a process, its communication thread included: hardly disturbed by other load, blind to waiting
// ranks / pair is therefore what distributing costs beyond the shared cores. A run's figure is the median of its steps (warm-up left out), a pair's the mean of its two; ratios are made within a
// round, where the machine's load is most alike, and their median is printed. Verified in each run: the loss is finite and falls, both ranks end with the same weights to the bit.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const file = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(file));
const WARM_UP_STEPS = 8;
const RUN_LIMIT_MS = 180_000;

const option = { type: 'string' };
const { values } = parseArgs({ options: { rounds: option, steps: option, batch: option, worker: option } });
const [rounds, steps, batch] = [Number(values.rounds ?? 5), Number(values.steps ?? 20), Number(values.batch ?? 32)];
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function work(how) {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = (await import(path.join(root, 'dist/src/index.js'))).default;
  const { cifarNetwork } = (await import(path.join(root, 'dist/examples/cifar10/network.js'))).default;
  const { makeGratings, IMAGE_ELEMS } = (await import(path.join(root, 'dist/examples/cifar10/data.js'))).default;
  hvd.init();
  await hvd.selectBackend('wasm');
  const model = cifarNetwork(1);
  const adam = tf.train.adam(0.001);
  model.compile({ optimizer: how === 'ranks' ? hvd.DistributedOptimizer(adam) : adam, loss: 'categoricalCrossentropy' });
  const { pixels, labels } = makeGratings(batch, 1 + hvd.rank());
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [batch, 32, 32, IMAGE_ELEMS / 1024],
  );
  const ys = tf.oneHot(tf.tensor1d(labels, 'int32'), 10).toFloat();
  const losses = [];
  for (let step = 0; step < WARM_UP_STEPS; step += 1) losses.push(await model.trainOnBatch(xs, ys));
  // All begin to measure together.
  console.log('ready');
  if (how === 'ranks') hvd.barrier();
  else await new Promise((resolve) => process.stdin.once('data', resolve));
  const times = [];
  const startedCpu = process.cpuUsage();
  for (let step = 0; step < steps; step += 1) {
    const from = performance.now();
    losses.push(await model.trainOnBatch(xs, ys));
    times.push(performance.now() - from);
  }
  const { user, system } = process.cpuUsage(startedCpu);
  const hash = createHash('sha256');
  for (const weight of model.getWeights()) hash.update(new Uint8Array(weight.dataSync().buffer.slice(0)));
  console.log(
    JSON.stringify({
      times,
      cpuMs: (user + system) / 1000 / steps,
      isSound: losses.every(Number.isFinite) && losses.at(-1) < losses[0],
      weights: hash.digest('hex'),
    }),
  );
  process.exit(0);
}

/** Ends with the reports of its processes; `begin` is told when one is ready. */
function start(args, begin) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    const timer = setTimeout(() => child.kill('SIGKILL'), RUN_LIMIT_MS);
    child.stderr.on('data', (text) => (err += text));
    child.stdout.on('data', (text) => {
      out += text;
      if (String(text).includes('ready')) begin?.(() => child.stdin.write('go\n'));
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      const reports = out.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
      if (code !== 0 || reports.length === 0) reject(new Error(`a run ended with exit code ${code}\n${err}`));
      else if (!reports.every(({ isSound }) => isSound)) reject(new Error('a loss is not finite, or does not fall'));
      else resolve(reports);
    });
  });
}

const settings = ['--steps', String(steps), '--batch', String(batch)];
const meanOf = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** Of one process, or of two side by side: mean of their medians, and the median over the steps of the slower one. */
async function single(count) {
  const waiting = [];
  const begin = (go) => {
    waiting.push(go);
    if (waiting.length === count) for (const one of waiting) one();
  };
  const runs = await Promise.all(Array.from({ length: count }, () => start([file, '--worker', 'single', ...settings], begin)));
  const times = runs.flat().map((report) => report.times);
  const slower = median(times[0].map((_, step) => Math.max(...times.map((one) => one[step]))));
  return { mean: meanOf(times.map(median)), slower, cpu: meanOf(runs.flat().map(({ cpuMs }) => cpuMs)) };
}
async function ranks() {
  const tsrun = path.join(root, 'dist/launcher/tsrun.js');
  const reports = await start([tsrun, '-np', '2', '--no-prefix', file, '--worker', 'ranks', ...settings]);
  if (reports.length !== 2 || reports[0].weights !== reports[1].weights) throw new Error('the ranks ended with different weights');
  return { mean: meanOf(reports.map(({ times }) => median(times))), cpu: meanOf(reports.map(({ cpuMs }) => cpuMs)) };
}

async function measure() {
  const found = { alone: [], pair: [], slower: [], ranks: [], 'cpu of pair': [], 'cpu of ranks': [] };
  const ways = {
    alone: async () => found.alone.push((await single(1)).mean),
    pair: async () => {
      const { mean, slower, cpu } = await single(2);
      found.pair.push(mean);
      found.slower.push(slower);
      found['cpu of pair'].push(cpu);
    },
    ranks: async () => {
      const { mean, cpu } = await ranks();
      found.ranks.push(mean);
      found['cpu of ranks'].push(cpu);
    },
  };
  for (let round = 0; round < rounds; round += 1) {
    // Each way comes first, second and last in turn.
    const order = Object.keys(ways).map((_, i, all) => all[(i + round) % all.length]);
    for (const way of order) await ways[way]();
    const line = Object.entries(found).map(([way, numbers]) => `${way} ${numbers[round].toFixed(1)} ms`);
    console.log(`round ${round + 1}: ${line.join(', ')}`);
  }
  const spread = (numbers) => `${median(numbers).toFixed(1)} (${Math.min(...numbers).toFixed(1)} … ${Math.max(...numbers).toFixed(1)})`;
  for (const way of Object.keys(found)) console.log(`${way}: ${spread(found[way])} ms a step of ${batch} images a process`);
  const ratios = (a, b) => found[a].map((ms, round) => ms / found[b][round]);
  const text = (numbers) => `${median(numbers).toFixed(3)} (${Math.min(...numbers).toFixed(3)} … ${Math.max(...numbers).toFixed(3)})`;
  console.log(`shared cores cost, pair / alone: ${text(ratios('pair', 'alone'))}`);
  console.log(`uneven load costs ranks that wait for each other, slower / pair: ${text(ratios('slower', 'pair'))}`);
  console.log(`distributing costs, ranks / pair: ${text(ratios('ranks', 'pair'))}`);
  const least = (way) => Math.min(...found[way]);
  console.log(`the same of the least disturbed runs: ${(least('ranks') / least('pair')).toFixed(3)}`);
  console.log(`processor time, ranks / pair: ${text(ratios('cpu of ranks', 'cpu of pair'))}`);
  console.log(`of it communication and its thread, ranks / slower: ${text(ratios('ranks', 'slower'))}`);
}

await (values.worker ? work(values.worker) : measure());
