// What a training step takes on each backend: `node scripts/measure_backends.mjs [--backends cpu,wasm:1,wasm:2] [--rounds 7] [--steps 5] [--batch 32]` (after `npm run build`).
//
// A backend is NAME or NAME:THREADS, as TSRUN_BACKEND and TSRUN_THREADS_PER_PROCESS have it; those that a checkout lacks: `node scripts/in_project.mjs tfjs-node scripts/measure_backends.mjs --backends wasm:2,tfjs-node:2`. Each has a process of its own, which lives to the end; in a round they train so many
// steps each, one after the other while the others sleep, and the order turns from round to round. So what else the machine does falls on all alike: ratios are made within a round and their
// median is printed with the range; processor time counts all threads. The study's network without dropout, which draws anew in every process, and SGD. Verified: after CHECKED_STEPS the weights are those of the first backend
// within a tolerance. A backend whose checked steps all take longer than SLOW_MS is not asked again: those are its times.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, studyTraining } from './measuring.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const CHECKED_STEPS = 2;
const WARM_UP_STEPS = 6;
const SLOW_MS = 3_000;
const TOLERANCE = 1e-4;
const REPLY_LIMIT_MS = 900_000;

const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    backends: option('cpu,wasm:1,wasm:2'),
    rounds: option('7'),
    steps: option('5'),
    batch: option('32'),
    worker: { type: 'boolean' },
  },
});
const [rounds, steps, batch] = [values.rounds, values.steps, values.batch].map(Number);

/** By the best of them: the first compiles, and the machine may be busy. */
const isQuick = ({ times }) => Math.min(...times) <= SLOW_MS;

async function work() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = (await import(path.join(root, 'dist/src/index.js'))).default;
  const { device } = await hvd.selectBackend();
  const { model, xs, ys } = await studyTraining(tf, batch);
  for (const layer of model.layers) if (layer.getClassName() === 'Dropout') layer.rate = 0;
  model.compile({ optimizer: tf.train.sgd(0.01), loss: 'categoricalCrossentropy' });
  const train = async (count) => {
    const times = [];
    const startedCpu = process.cpuUsage();
    for (let i = 0; i < count; i += 1) {
      const from = performance.now();
      await model.trainOnBatch(xs, ys);
      times.push(performance.now() - from);
    }
    const { user, system } = process.cpuUsage(startedCpu);
    return { times, cpuMs: (user + system) / 1000 / count };
  };
  const checked = await train(CHECKED_STEPS);
  const weights = model.getWeights().flatMap((weight) => [...weight.dataSync()]);
  if (isQuick(checked)) await train(WARM_UP_STEPS);
  process.on('message', async (count) => process.send(await train(count)));
  process.send({ device, weights, checked });
}

async function start(name) {
  const [backend, threads] = name.split(':');
  const env = { ...process.env, TSRUN_BACKEND: backend, ...(threads ? { TSRUN_THREADS_PER_PROCESS: threads } : {}) };
  const child = fork(process.argv[1], ['--worker', '--batch', values.batch], {
    env,
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${name} ended with ${signal ?? `exit code ${code}`}`);
  });
  const reply = async () => {
    const [answer] = await Promise.race([once(child, 'message', { signal: AbortSignal.timeout(REPLY_LIMIT_MS) }), ended]);
    return answer;
  };
  const { device, weights, checked } = await reply();
  const isSlow = !isQuick(checked);
  console.log(`${name}: ${device}${isSlow ? ' (slow: its checked steps are its times)' : ''}`);
  return { name, child, reply, weights, isSlow, found: isSlow ? [checked] : [] };
}

async function measure() {
  const all = [];
  for (const name of values.backends.split(',')) all.push(await start(name));
  const [first] = all;
  for (const { name, weights } of all) {
    const off = weights.reduce((most, weight, i) => Math.max(most, Math.abs(weight - first.weights[i])), 0);
    if (!(off <= TOLERANCE)) throw new Error(`the weights on ${name} are off by ${off} from those on ${first.name}`);
    console.log(`${name}: weights after ${CHECKED_STEPS} steps within ${off.toExponential(1)} of ${first.name}'s`);
  }
  const fast = all.filter(({ isSlow }) => !isSlow);
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < fast.length; i += 1) {
      const one = fast[(round + i) % fast.length];
      one.child.send(steps);
      one.found.push(await one.reply());
    }
  }
  for (const { child } of all) child.kill();
  const range = (numbers, digits) =>
    `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} … ${Math.max(...numbers).toFixed(digits)})`;
  const base = fast[0] ?? all[0];
  console.log(
    `\n| backend | ms a step, median of steps (lowest … highest) | of ${base.name}'s, median of rounds | processor time, of ${base.name}'s |`,
  );
  console.log('| --- | --- | --- | --- |');
  for (const { name, found } of all) {
    const ratios = (figure) => found.map((one, round) => figure(one) / figure(base.found[round]));
    const ms = found.flatMap(({ times }) => times);
    const [wall, cpu] = [ratios(({ times }) => median(times)), ratios(({ cpuMs }) => cpuMs)];
    console.log(`| ${name} | ${range(ms, 0)} | ${range(wall, 2)} | ${range(cpu, 2)} |`);
  }
}

await (values.worker ? work() : measure());
