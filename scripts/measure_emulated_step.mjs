// A training step of the literature's networks over shaped links beside max(compute, communication): `node scripts/measure_emulated_step.mjs -H h1,h2,h3,h4 [--networks vgg16,resnet50] [--rates 1,2.5 --shape 'COMMAND {}'] [--factors 0.5,1,2] [--warmup 1] [--iterations 5] [--rounds 3] [--json FILE]`
// (after `npm run build`; hosts by ssh, one rank each).
//
// Gradients have the network's sizes and become final one after the other as a backward pass would reach them; computation is a wait, so every rank has a free core for its communication thread (src/bench/throughput.js --emulate-compute; a sample
// of every bucket is verified at every step). A round, at each rate (Gbit/s; COMMAND sets the links before, with the rate in place of {} as tc writes it, 2500mbit): communication alone, then a step whose computation takes so many times as long
// as communication did, for each of --factors. How computation is spread over the layers is the K80's (src/bench/profiles.ts): a third of it is the forward pass, behind which nothing can hide.
//
// Printed: medians of steps, then of rounds (lowest … highest), in ms. `least`: what the step takes at best when no byte leaves before its gradient is final and links carry them as fast as in communication alone.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { leastStepMs } from './link_bounds.mjs';
import {
  built,
  emulatedSteps,
  hostNames,
  hostsOption,
  median,
  ranksOn,
  ratesOf,
  rateText,
  readOptions,
  shapeLinks,
  spread,
  tableText,
} from './measuring.mjs';

const PROFILE = 'k80';
/** Images a rank takes; with the profile it only sets how long a computation is that is then slowed to what is wanted. */
const BATCH = 32;
const values = readOptions({
  hosts: hostsOption,
  networks: 'vgg16,resnet50',
  rates: '',
  shape: '',
  factors: '0.5,1,2',
  warmup: '1',
  iterations: '5',
  rounds: '3',
  json: '',
});
const hosts = hostNames(values.hosts);
const factors = values.factors.split(',').map(Number);
const rates = values.rates ? ratesOf(values.rates) : [undefined];

const { computeOf } = await built('src/bench/profiles.js');
const { findNetwork, shapesOf } = await built('src/bench/models/networks.js');
const { finalTimes } = await built('src/bench/emulated_step.js');

function measure(network, words) {
  const steps = ['--warmup', values.warmup, '--iterations', values.iterations];
  return emulatedSteps(ranksOn(hosts, 1), ['--network', network, '--batch-size', `${BATCH}`, ...words, ...steps]);
}

const networks = values.networks.split(',').map((name) => {
  const { title, size } = findNetwork(name);
  const compute = computeOf(PROFILE, name, { batchSize: BATCH, imageSize: size, classes: 1001 });
  return { name, title, sizes: shapesOf(name).map(({ shape }) => shape.reduce((all, one) => all * one, 1)), finalMs: finalTimes(compute) };
});
const found = [];
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const rate of rates) {
    shapeLinks(values.shape, rate);
    for (const { name, sizes, finalMs } of networks) {
      const communicationMs = measure(name, ['--emulate-compute', 'none']).ms;
      for (const factor of factors) {
        const computeMs = factor * communicationMs;
        const slowDown = computeMs / Math.max(...finalMs);
        const { ms, exposedMs } = measure(name, ['--emulate-compute', PROFILE, '--slow-down', `${slowDown}`]);
        const leastMs = leastStepMs(sizes, finalMs, { computeMs, communicationMs });
        found.push({ round, rate, network: name, factor, computeMs, communicationMs, ms, exposedMs, leastMs, load: os.loadavg()[0] });
      }
      process.stderr.write(`round ${round + 1} of ${values.rounds}, links ${rateText(rate)}, ${name}: done\n`);
    }
  }
}

console.log(
  `A training step, computation a wait, over ${hosts.length} hosts, ms; medians of ${values.iterations} steps and ${values.rounds} rounds (lowest … highest of the rounds)`,
);
const rows = rates.flatMap((rate) =>
  networks.flatMap(({ name, title, sizes }) =>
    factors.map((factor) => {
      const all = found.filter((one) => one.rate === rate && one.network === name && one.factor === factor);
      const middle = (of) => median(all.map(of)).toFixed(0);
      const megabytes = (4 * sizes.reduce((sum, size) => sum + size, 0)) / 1e6;
      return [
        rateText(rate),
        `${title}, ${megabytes.toFixed(0)} MB`,
        middle((one) => one.computeMs),
        middle((one) => one.communicationMs),
        spread(
          all.map(({ ms }) => ms),
          0,
        ),
        middle((one) => one.exposedMs),
        spread(
          all.map((one) => one.ms / Math.max(one.computeMs, one.communicationMs)),
          2,
        ),
        middle((one) => one.leastMs),
        spread(
          all.map((one) => one.ms / one.leastMs),
          2,
        ),
      ];
    }),
  ),
);
const heads = [
  'links',
  'gradients',
  'compute',
  'communication',
  'step',
  'exposed',
  'step / max(compute, communication)',
  'least',
  'step / least',
];
console.log(tableText(heads, rows));
if (values.json) {
  const { describeMachine } = await built('src/bench/machine.js');
  const { version } = await built('src/version.js');
  const settings = { hosts: hosts.length, profile: PROFILE, iterations: Number(values.iterations), rounds: Number(values.rounds) };
  const versions = { khorovod: version, node: process.version };
  writeFileSync(values.json, JSON.stringify({ kind: 'emulated-step', ...settings, machine: describeMachine(), versions, found }));
}
