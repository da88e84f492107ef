// What the simulator predicts beside what is measured: `node scripts/validate_simulation.mjs -H h1,h2,h3,h4 --rate 1gbit [--ps-hosts h5] [--counts 2,4] [--network resnet50] [--steps 3] [--rounds 3]` (after `npm run build`).
//
// First the rate of the links: a plain TCP stream from each host to the next, all at once, the slowest counts. That is the one figure that predictions take from measurements of the run; --nominal takes the rate that was set.
// Then, on hosts whose links carry so much in each direction (shaped by the kernel), one rank a host: steps of the network's true gradients, computed in no time, so that all of a step is communication; then steps whose computation
// takes about as long as the ring's communication and is waited for (--overlap). By the ring, by servers on the ranks' hosts and by servers of their own, synchronous and asynchronous. A sample of each sum is verified while it
// is measured (src/bench/emulated_step.ts). A round is so many steps, one right behind the other, on each rank between two barriers; the slowest rank counts. Printed: median of the rounds with the range, prediction, ratio.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(file));
const STREAM_MS = { before: 1000, counted: 4000 };
const require = createRequire(import.meta.url);
const built = (name) => require(path.join(root, 'dist/src', name));
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    hosts: { ...option(''), short: 'H' },
    'ps-hosts': option(''),
    rate: option('1gbit'),
    latency: option('50us'),
    counts: option('2,4'),
    network: option('resnet50'),
    steps: option('3'),
    rounds: option('3'),
    strategies: option('ring,ps-sync,ps-sync:1,ps-async:1'),
    nominal: { type: 'boolean', default: false },
    overlap: { type: 'boolean', default: false },
    json: option(''),
    worker: option(''),
  },
});
const [steps, rounds] = [Number(values.steps), Number(values.rounds)];
const { shapesOf } = built('bench/models/networks.js');
const sizes = shapesOf(values.network).map(({ shape }) => shape.reduce((all, one) => all * one, 1));

/** Bytes per second that this rank receives from the one before while it sends to the next. */
async function stream(hvd) {
  let received = 0;
  const server = net.createServer((socket) => socket.on('data', ({ length }) => (received += length)).on('error', () => {}));
  server.listen(0);
  await once(server, 'listening');
  const places = hvd.allgatherObject({ host: os.hostname(), port: server.address().port });
  const socket = net.connect(places[(hvd.rank() + 1) % hvd.size()]);
  await once(socket, 'connect');
  const block = Buffer.alloc(1 << 18);
  let isOver = false;
  const write = () => !isOver && socket.write(block, write);
  for (let i = 0; i < 4; i += 1) write();
  await new Promise((resolve) => setTimeout(resolve, STREAM_MS.before));
  const [fromMs, before] = [performance.now(), received];
  await new Promise((resolve) => setTimeout(resolve, STREAM_MS.counted));
  const rate = (1000 * (received - before)) / (performance.now() - fromMs);
  isOver = true;
  hvd.barrier();
  socket.destroy();
  server.close();
  return hvd.allreduce(Float64Array.of(rate), { op: hvd.Min })[0];
}

async function work() {
  const { kind, profile } = JSON.parse(values.worker);
  const hvd = built('index.js');
  if (kind === 'stream') {
    hvd.init();
    const rate = await stream(hvd);
    if (hvd.rank() === 0) console.log(`RESULT ${rate}`);
    return;
  }
  const { EmulatedTraining } = built('bench/emulated_step.js');
  hvd.init();
  const training = new EmulatedTraining({
    sizes,
    compute: profile,
    slowDown: 1,
    strategy: kind === 'ring' ? 'ring' : { kind },
    rule: { kind: 'sgd' },
    learningRate: 2 ** -10,
  });
  training.run();
  const found = [];
  for (let round = 0; round < rounds; round += 1) {
    hvd.barrier();
    const fromMs = performance.now();
    for (let step = 0; step < steps; step += 1) training.run();
    found.push(hvd.allreduce(Float64Array.of((performance.now() - fromMs) / steps), { op: hvd.Max })[0]);
  }
  if (hvd.rank() === 0) console.log(`RESULT ${JSON.stringify(found)}`);
}

function measure(count, strategy, profile) {
  const hosts = values.hosts.split(',').slice(0, count);
  const kind = strategy.mode ?? strategy.kind;
  const servers = strategy.kind === 'servers' && strategy.servers !== 'colocated' ? strategy.servers : 0;
  const where = servers > 0 ? ['--ps', `${servers}`, '--ps-hosts', values['ps-hosts'].split(',').slice(0, servers).join(',')] : [];
  const own = [
    '--network',
    values.network,
    '--steps',
    values.steps,
    '--rounds',
    values.rounds,
    '--worker',
    JSON.stringify({ kind, profile }),
  ];
  const args = [path.join(root, 'dist/launcher/tsrun.js'), '-np', `${count}`, '-H', hosts.join(','), ...where, file, ...own];
  const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const line = /RESULT (.*)/.exec(stdout ?? '')?.[1];
  if (status !== 0 || !line) throw new Error(`${count} ranks ended with ${status}: ${stdout?.slice(-2000)}`);
  return JSON.parse(line);
}

function drive() {
  const { workloadOf, strategyOf, simulateSteps } = built('simulate/training.js');
  const { defaultNetwork, rateOf, secondsOf, SHAPED_SHARE } = built('simulate/settings.js');
  const network = {
    ...defaultNetwork,
    rate: rateOf(values.rate) * SHAPED_SHARE,
    latency: secondsOf(values.latency),
    ranksPerHost: 1,
    cores: os.availableParallelism(),
    hostsPerMachine: values.hosts.split(',').length + values['ps-hosts'].split(',').length,
    // Emulated steps copy nothing, and have no optimizer.
    costs: { ...defaultNetwork.costs, copyByte: 0, updateByte: 0 },
  };
  const whole = sizes.reduce((all, one) => all + one, 0);
  const computeMs = values.overlap ? (4000 * whole) / network.rate : 0;
  const profile = { forwardMs: computeMs / 3, backwardMs: sizes.map((elems) => ((computeMs * 2) / 3) * (elems / whole)) };
  const found = [];
  console.log(
    `# ${values.network}, links of ${values.rate}, ${computeMs.toFixed(0)} ms of computation a step, ${steps} steps a round, ${rounds} rounds, ${os.availableParallelism()} cores for all hosts, load ${os.loadavg()[0].toFixed(1)}`,
  );
  console.log('# workers strategy     measured ms (range)         predicted ms   predicted / measured');
  for (const workers of values.counts.split(',').map(Number)) {
    const rate = values.nominal ? network.rate : measure(workers, { kind: 'stream' });
    console.log(
      `# ${workers} hosts: ${((8 * rate) / 1e6).toFixed(1)} Mbit/s a link${values.nominal ? '' : ' in a ring of plain streams'}, ${((8 * network.rate) / 1e6).toFixed(1)} at best`,
    );
    for (const name of values.strategies.split(',')) {
      const strategy = strategyOf(name);
      const samples = measure(workers, strategy, profile);
      const job = { profile, sizes, batchSize: 1, workers, network: { ...network, rate }, strategy };
      const predicted = (1000 * simulateSteps(job, workloadOf(job, steps)).ends.at(-1)) / steps;
      const measured = median(samples);
      found.push({ workers, rate, strategy: name, samples, measured, predicted, load: os.loadavg()[0] });
      const range = `(${Math.min(...samples).toFixed(0)} … ${Math.max(...samples).toFixed(0)})`;
      console.log(
        `${String(workers).padStart(9)} ${name.padEnd(12)} ${measured.toFixed(0).padStart(6)} ${range.padEnd(18)} ${predicted.toFixed(0).padStart(12)} ${(predicted / measured).toFixed(3).padStart(12)}`,
      );
    }
  }
  if (values.json)
    writeFileSync(
      values.json,
      JSON.stringify({ rate: values.rate, network: values.network, steps, computeMs, cores: os.availableParallelism(), found }, null, 1),
    );
}

if (values.worker) await work();
else drive();
