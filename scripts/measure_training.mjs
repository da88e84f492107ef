// What distributing costs a training step: `node scripts/measure_training.mjs [-np 2] [--rounds 5] [--blocks 6] [--steps 8] [--batch 32]` (after `npm run build`).
//
// The study's network on WASM, Adam, in ranks that train in two ways by turns, some steps each, all ranks in the same way at the same time:
//   plain:       the plain optimizer; the ranks know nothing of each other, but share cores, caches and memory
//   distributed: DistributedOptimizer: the same, and communication, and waiting for each other
// distributed / plain is therefore what distributing costs beyond the shared cores. Both ways run in the same processes, as one process is up to a third faster than another for its whole life
// (where its memory lies, what V8 made of it). Ranks that wait for each other also wait for whoever is disturbed: `slower` is what plain steps would take if each waited for the slowest rank's.
// A round is a job of its own; ratios are made within it and their median is printed. Verified: losses are finite and fall, the distributed replicas end with the same weights to the bit.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(file));
const WARM_UP_STEPS = 8;
const RUN_LIMIT_MS = 300_000;

const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  args: process.argv.slice(2).map((word) => (word === '-np' ? '--np' : word)),
  options: {
    np: option('2'),
    rounds: option('5'),
    blocks: option('6'),
    steps: option('8'),
    batch: option('32'),
    worker: { type: 'boolean' },
  },
});
const [rounds, blocks, steps, batch] = [values.rounds, values.blocks, values.steps, values.batch].map(Number);
const ways = ['plain', 'distributed'];

async function work() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = (await import(path.join(root, 'dist/src/index.js'))).default;
  const { cifarNetwork } = (await import(path.join(root, 'dist/examples/cifar10/network.js'))).default;
  const { makeGratings, IMAGE_ELEMS } = (await import(path.join(root, 'dist/examples/cifar10/data.js'))).default;
  hvd.init();
  await hvd.selectBackend('wasm');
  const { pixels, labels } = makeGratings(batch, 1 + hvd.rank());
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [batch, 32, 32, IMAGE_ELEMS / 1024],
  );
  const ys = tf.oneHot(tf.tensor1d(labels, 'int32'), 10).toFloat();
  const adams = { plain: tf.train.adam(0.001), distributed: hvd.DistributedOptimizer(tf.train.adam(0.001)) };
  const runs = ways.map((way) => {
    const model = cifarNetwork(1);
    model.compile({ optimizer: adams[way], loss: 'categoricalCrossentropy' });
    return { way, model, losses: [], times: [], cpuMs: 0 };
  });
  const step = async ({ model, losses }) => losses.push(await model.trainOnBatch(xs, ys));
  for (const run of runs) for (let i = 0; i < WARM_UP_STEPS; i += 1) await step(run);
  for (let block = 0; block < blocks; block += 1) {
    // Each way comes first as often.
    for (const run of block % 2 ? runs : runs.toReversed()) {
      hvd.barrier();
      const startedCpu = process.cpuUsage();
      for (let i = 0; i < steps; i += 1) {
        const from = performance.now();
        await step(run);
        run.times.push(performance.now() - from);
      }
      const { user, system } = process.cpuUsage(startedCpu);
      run.cpuMs += (user + system) / 1000 / (steps * blocks);
    }
  }
  const hash = createHash('sha256');
  for (const weight of runs[1].model.getWeights()) hash.update(weight.dataSync().slice());
  const isSound = runs.every(({ losses }) => losses.every(Number.isFinite) && losses.at(-1) < losses[0]);
  const all = hvd.allgatherObject({ weights: hash.digest('hex'), isSound, runs: runs.map(({ times, cpuMs }) => ({ times, cpuMs })) });
  if (hvd.rank() === 0) console.log(JSON.stringify(all));
  hvd.shutdown();
}

const meanOf = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** One job: its ranks' mean of median steps in each way, and so on. */
function job() {
  const tsrun = path.join(root, 'dist/launcher/tsrun.js');
  const settings = ['--blocks', blocks, '--steps', steps, '--batch', batch].map(String);
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsrun, '-np', values.np, '--no-prefix', file, '--worker', ...settings], {
    encoding: 'utf8',
    timeout: RUN_LIMIT_MS,
  });
  if (status !== 0) throw new Error(`a job ended with exit code ${status}\n${stderr}`);
  const ranks = JSON.parse(stdout);
  if (!ranks.every(({ isSound }) => isSound)) throw new Error('a loss is not finite, or does not fall');
  if (!ranks.every(({ weights }) => weights === ranks[0].weights)) throw new Error('the ranks ended with different weights');
  const of = (way, figure) => meanOf(ranks.map(({ runs }) => figure(runs[way])));
  const slowest = ranks[0].runs[0].times.map((_, step) => Math.max(...ranks.map(({ runs }) => runs[0].times[step])));
  return {
    plain: of(0, ({ times }) => median(times)),
    slower: median(slowest),
    distributed: of(1, ({ times }) => median(times)),
    cpuPlain: of(0, ({ cpuMs }) => cpuMs),
    cpuDistributed: of(1, ({ cpuMs }) => cpuMs),
  };
}

function measure() {
  const found = [];
  for (let round = 0; round < rounds; round += 1) {
    found.push(job());
    const line = Object.entries(found.at(-1)).map(([what, ms]) => `${what} ${ms.toFixed(1)} ms`);
    console.log(`round ${round + 1}: ${line.join(', ')}`);
  }
  const text = (numbers) => `${median(numbers).toFixed(3)} (${Math.min(...numbers).toFixed(3)} … ${Math.max(...numbers).toFixed(3)})`;
  const ratios = (a, b) => text(found.map((one) => one[a] / one[b]));
  console.log(`${values.np} ranks, ${batch} images a rank and step, ${rounds} rounds; medians (lowest … highest)`);
  console.log(`distributing costs, distributed / plain: ${ratios('distributed', 'plain')}`);
  console.log(`waiting for whoever is disturbed, slower / plain: ${ratios('slower', 'plain')}`);
  console.log(`communication, distributed / slower: ${ratios('distributed', 'slower')}`);
  console.log(`processor time, distributed / plain: ${ratios('cpuDistributed', 'cpuPlain')}`);
}

await (values.worker ? work() : measure());
