// How much of the communication hides behind backpropagation: `node scripts/measure_overlap.mjs [-np 4] [-H h1,h2,h3,h4] [--layers 16] [--kib 1024] [--steps 12] [--rounds 3]` (after `npm run build`).
//
// A network whose layers compute nothing: each has one variable of so many KiB, and its forward and backward pass put the main thread to sleep for a set time, as if another processor computed. So every rank has a free core
// for its communication thread, however few cores there are. Three lengths of the computation, in units of what communication takes alone:
//   long: 1.6 ×, everything can hide;   equal: 1 ×, what comes after the first gradient must hide, the forward pass cannot;   short: 0.2 ×, communication decides.
// Printed, medians of steps (slowest rank of each), then of rounds: compute alone (the plain optimizer), communication alone (the same gradients with no computation), a step without and with overlap, what of the communication was
// exposed and hidden, and the step against the larger of compute and communication. Verified: the weights are those of the same steps without overlap, to the bit, and as the averages say.
import { fileURLToPath } from 'node:url';
import { built, hostsOption, jobResult, median, ranksOf, readOptions, spread, tableText, tellResult, wordsOf } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const values = readOptions({ np: '4', hosts: hostsOption, layers: '16', kib: '1024', steps: '12', rounds: '3', worker: '' });
const [layers, kib, steps, rounds] = [values.layers, values.kib, values.steps, values.rounds].map(Number);
const WARM_UP_STEPS = 3;
const LENGTHS = { long: 1.6, equal: 1, short: 0.2 };

async function work() {
  const tf = (await import('@tensorflow/tfjs')).default;
  const hvd = await built('src/index.js');
  const { stepTimes } = await built('src/tensorflow/step_times.js');
  const { GradientExchange } = await built('src/tensorflow/gradient_exchange.js');
  hvd.init();
  await hvd.selectBackend('wasm');
  const words = new Int32Array(new SharedArrayBuffer(4));
  const sleep = (ms) => ms > 0 && Atomics.wait(words, 0, 0, ms);

  // What the step of an overlapping optimizer took is the exchange's; the optimizer only prints it.
  let last;
  const differentiate = GradientExchange.prototype.differentiate;
  GradientExchange.prototype.differentiate = function (...args) {
    last = differentiate.apply(this, args);
    return last;
  };

  const elems = (kib * 1024) / 4;
  const layer = (ms) =>
    tf.customGrad((x, variable, save) => {
      sleep(ms / 3);
      save([variable]);
      return {
        value: x.add(hvd.rank() + 1),
        gradFunc: (dy, [saved]) => {
          sleep((ms * 2) / 3);
          return [dy, tf.fill(saved.shape, hvd.rank() + 1)];
        },
      };
    });
  function run(make, computeMs) {
    const variables = Array.from({ length: layers }, () => tf.variable(tf.zeros([elems])));
    const optimizer = make();
    const apply = layer(computeMs / layers);
    const found = [];
    for (let step = 0; step < WARM_UP_STEPS + steps; step += 1) {
      hvd.barrier();
      const fromMs = performance.now();
      optimizer.minimize(() => variables.reduce((x, variable) => apply(x, variable), tf.scalar(0)), false, variables);
      const ms = performance.now() - fromMs;
      const parts = last ? stepTimes({ ...last, appliedUs: last.reducedUs }) : { exposedMs: 0, hiddenMs: 0 };
      last = undefined;
      const [slowest, exposed, hidden] = hvd.allreduce(Float64Array.of(ms, parts.exposedMs, parts.hiddenMs), { op: hvd.Max });
      if (step >= WARM_UP_STEPS) found.push({ ms: slowest, exposedMs: exposed, hiddenMs: hidden });
    }
    const weights = variables.map((variable) => variable.dataSync()[elems - 1]);
    const bits = weights.join();
    optimizer.dispose();
    tf.dispose(variables);
    const of = (name) => median(found.map((one) => one[name]));
    return { ms: of('ms'), exposedMs: of('exposedMs'), hiddenMs: of('hiddenMs'), bits, weights };
  }
  const rate = 2 ** -10;
  const plain = (ms) => run(() => tf.train.sgd(rate), ms);
  const distributed = (ms, overlap) => run(() => hvd.DistributedOptimizer(tf.train.sgd(rate), { overlap }), ms);
  const communicationMs = distributed(0, false).ms - plain(0).ms;
  const results = [];
  for (const [length, factor] of Object.entries(LENGTHS)) {
    const set = hvd.broadcastObject(factor * communicationMs);
    const compute = plain(set);
    const without = distributed(set, false);
    const overlapped = distributed(set, true);
    const mean = (hvd.size() + 1) / 2;
    const expected = -rate * mean * (WARM_UP_STEPS + steps);
    if (without.bits !== overlapped.bits) throw new Error(`the weights differ with overlap: ${overlapped.bits} for ${without.bits}`);
    if (overlapped.weights.some((weight) => Math.abs(weight - expected) > 1e-6))
      throw new Error(`the weights are ${overlapped.bits}, not ${expected}`);
    results.push({
      length,
      computeMs: compute.ms,
      communicationMs,
      withoutMs: without.ms,
      ...overlapped,
      weights: undefined,
      bits: undefined,
    });
  }
  tellResult(hvd, results);
}

function drive() {
  const { np, hosts, rounds: all, ...own } = values;
  const program = [file, ...wordsOf({ ...own, worker: 'step' })];
  const found = Array.from({ length: rounds }, () => jobResult(ranksOf({ np, hosts }), program));
  console.log(
    `${np} ranks${hosts ? ` on ${hosts}` : ''}, ${layers} layers of ${kib} KiB, medians of ${steps} steps and ${rounds} rounds (lowest … highest), ms; all weights right, the same bits with overlap and without`,
  );
  const rows = found[0].map(({ length }, i) => {
    const ofLength = found.map((round) => round[i]);
    const figures = ['computeMs', 'communicationMs', 'withoutMs', 'ms', 'exposedMs', 'hiddenMs'].map((name) =>
      median(ofLength.map((one) => one[name])).toFixed(1),
    );
    const ratios = ofLength.map(({ ms, computeMs, communicationMs }) => ms / Math.max(computeMs, communicationMs));
    return [length, ...figures, spread(ratios, 2)];
  });
  const heads = [
    'compute',
    'communication',
    'step without overlap',
    'step with',
    'exposed',
    'hidden',
    'step / max(compute, communication)',
  ];
  console.log(tableText(['computation', ...heads], rows));
}

if (values.worker === 'step') await work();
else drive();
