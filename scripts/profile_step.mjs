// Where a training step goes, on the WASM backend or, by `node scripts/in_project.mjs tfjs-node scripts/profile_step.mjs … --backend tfjs-node`, on another: `node scripts/profile_step.mjs cifar10|resnet50|vgg16 [--batch 32] [--size 224] [--steps 5] [--top 25] [--optimizer adam] [--clock cpu|wall]` (after `npm run build`).
// Prints milliseconds a step by kernel (and, indented, by the kernels it calls) and by layer, forward and backward, with GFLOP/s where the work is known from the shapes.
//   --against FOLDER [--rounds 3]: instead, compares with another build: FOLDER holds its dist/ and node_modules/. Both by turns, each time in a process of its own; medians and the ratio a layer.
//
// Verified: losses are finite; the weights after the steps that are looked into are, to the bit, those after as many steps that are not; two builds end with the same losses but for rounding.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const file = fileURLToPath(import.meta.url);
const option = (value) => ({ type: 'string', default: value });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    batch: option(''),
    size: option('224'),
    backend: option('wasm'),
    steps: option('5'),
    top: option('25'),
    rounds: option('3'),
    optimizer: option(''),
    against: option(''),
    build: option(path.dirname(path.dirname(file))),
    clock: option('cpu'),
    json: { type: 'boolean' },
  },
});
const network = positionals[0] ?? 'cifar10';
const networks = {
  cifar10: {
    module: 'examples/cifar10/network.js',
    make: ({ cifarNetwork }) => cifarNetwork(1),
    batch: 32,
    optimizer: 'adam',
    side: 32,
    classes: 10,
  },
  resnet50: {
    module: 'src/bench/models/networks.js',
    make: ({ makeNetwork }, size) => makeNetwork('resnet50', { size, seed: 1 }),
    batch: 4,
    optimizer: 'sgd',
    classes: 1001,
  },
  vgg16: {
    module: 'src/bench/models/networks.js',
    make: ({ makeNetwork }, size) => makeNetwork('vgg16', { size, seed: 1 }),
    batch: 1,
    optimizer: 'sgd',
    classes: 1001,
  },
};
const chosen = networks[network];
if (!chosen) throw new Error(`The network '${network}' is unknown. Known: ${Object.keys(networks).join(', ')}.`);
const batch = Number(values.batch || chosen.batch);
const [size, steps, top, rounds] = [chosen.side ?? values.size, values.steps, values.top, values.rounds].map(Number);
const WARM_UP_STEPS = 2;
/** Milliseconds. Processor time does not count what other programs took, but counts every thread of this one. */
const clocks = {
  wall: () => performance.now(),
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
};
const clock = clocks[values.clock];
if (!clock) throw new Error(`The clock '${values.clock}' is unknown. Known: ${Object.keys(clocks).join(', ')}.`);

/** Floating-point operations of a call, where its shapes tell; a multiplication and an addition count as two. */
function workOf(kernel, { dy, filter, a }, attrs, output) {
  const elems = (shape) => shape.reduce((product, axis) => product * axis, 1);
  if (/^(Fused)?Conv2D$/.test(kernel)) return (2 * elems(output.shape) * elems(filter.shape)) / filter.shape[3];
  if (kernel === 'Conv2DBackpropInput') return (2 * elems(dy.shape) * elems(filter.shape)) / filter.shape[3];
  if (kernel === 'Conv2DBackpropFilter') return (2 * elems(dy.shape) * elems(attrs.filterShape)) / attrs.filterShape[3];
  if (/MatMul$/.test(kernel)) return 2 * elems(output.shape) * a.shape.at(attrs.transposeA ? -2 : -1);
  return 0;
}

/** Wraps every kernel, every layer's call and every gradient on the tape: `records` gets one a kernel call. */
function lookInto(tf, model, optimizer) {
  const state = { records: [], layer: 'loss', phase: 'forward', open: [] };
  const backend = tf.getBackend();
  for (const config of tf.getKernelsForBackend(backend)) {
    const { kernelName, kernelFunc } = config;
    tf.unregisterKernel(kernelName, backend);
    const timed = (call) => {
      const record = {
        path: [...state.open, kernelName].join(' > '),
        layer: state.layer,
        phase: state.phase,
        isOuter: state.open.length === 0,
      };
      state.open.push(kernelName);
      const from = clock();
      try {
        const output = kernelFunc(call);
        record.ms = clock() - from;
        record.work = workOf(kernelName, call.inputs, call.attrs ?? {}, output);
        return output;
      } finally {
        state.open.pop();
        state.records.push(record);
      }
    };
    tf.registerKernel({ ...config, kernelFunc: timed });
  }
  const during = (layer, phase, act) => {
    const before = [state.layer, state.phase];
    [state.layer, state.phase] = [layer, phase];
    try {
      return act();
    } finally {
      [state.layer, state.phase] = before;
    }
  };
  for (const layer of model.layers) {
    const call = layer.call;
    layer.call = function (...args) {
      return during(layer.name, 'forward', () => call.apply(this, args));
    };
  }
  const engine = tf.engine();
  const addTapeNode = engine.addTapeNode;
  engine.addTapeNode = function (...args) {
    addTapeNode.apply(this, args);
    const node = this.state.activeTape.at(-1);
    const [{ gradient }, layer] = [node, state.layer];
    if (gradient)
      node.gradient = (dys) => {
        const parts = during(layer, 'backward', () => gradient(dys));
        return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, () => during(layer, 'backward', part)]));
      };
  };
  const apply = optimizer.applyGradients;
  optimizer.applyGradients = function (...args) {
    return during('optimizer', 'update', () => apply.apply(this, args));
  };
  return state;
}

async function train(tf, make, isLookedInto) {
  const model = make();
  for (const layer of model.layers) if (layer.getClassName() === 'Dropout') layer.seed = 1;
  const optimizer = tf.train[values.optimizer || chosen.optimizer](0.001);
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  const xs = tf.tensor(
    Float32Array.from({ length: batch * size * size * 3 }, (_, i) => Math.sin(i * 12.9898)),
    [batch, size, size, 3],
  );
  const ys = tf
    .oneHot(
      tf.tensor1d(
        Int32Array.from({ length: batch }, (_, i) => (i * 7) % chosen.classes),
        'int32',
      ),
      chosen.classes,
    )
    .toFloat();
  const state = isLookedInto ? lookInto(tf, model, optimizer) : undefined;
  const [losses, times, cpuTimes] = [[], [], []];
  for (let step = 0; step < WARM_UP_STEPS + steps; step += 1) {
    if (step === WARM_UP_STEPS && state) state.records.length = 0;
    const [from, fromCpu] = [performance.now(), clocks.cpu()];
    losses.push(await model.trainOnBatch(xs, ys));
    if (step < WARM_UP_STEPS) continue;
    times.push(performance.now() - from);
    cpuTimes.push(clocks.cpu() - fromCpu);
  }
  if (!losses.every(Number.isFinite)) throw new Error(`a loss is not finite: ${losses}`);
  const hash = createHash('sha256');
  for (const weight of model.getWeights()) hash.update(weight.dataSync());
  optimizer.dispose();
  model.dispose();
  tf.dispose([xs, ys]);
  return { losses, times, cpuTimes, weights: hash.digest('hex'), records: state?.records };
}

/** Milliseconds and work a step, summed by what `key` says of a record. */
function summed(records, key) {
  const sums = new Map();
  for (const record of records) {
    const name = key(record);
    const sum = sums.get(name) ?? { name, calls: 0, ms: 0, work: 0 };
    sums.set(name, { name, calls: sum.calls + 1 / steps, ms: sum.ms + record.ms / steps, work: sum.work + record.work / steps });
  }
  return [...sums.values()].sort((a, b) => b.ms - a.ms);
}

async function profile() {
  const load = createRequire(path.join(values.build, 'dist/src/index.js'));
  const [tf, hvd] = [load('@tensorflow/tfjs'), load('./index.js')];
  await hvd.selectBackend(values.backend);
  const made = load(path.join(values.build, 'dist', chosen.module));
  const plain = await train(tf, () => chosen.make(made, size), false);
  const looked = await train(tf, () => chosen.make(made, size), true);
  if (plain.weights !== looked.weights) throw new Error('looking into the steps changed the weights');
  const outer = looked.records.filter(({ isOuter }) => isOuter);
  const byLayer = summed(outer, ({ layer, phase }) => `${layer} ${phase}`);
  const stepMs = median(plain.times);
  const lookedMs = median(values.clock === 'cpu' ? looked.cpuTimes : looked.times);
  return { stepMs, cpuMs: median(plain.cpuTimes), losses: plain.losses, records: looked.records, byLayer, lookedMs };
}

const padded = (text, length) => String(text).padStart(length);
function printTable(title, rows, total) {
  console.log(`\n${title.padEnd(58)}${padded('calls', 7)}${padded('ms', 9)}${padded('share', 8)}${padded('GFLOP/s', 9)}`);
  for (const { name, calls, ms, work } of rows) {
    const rate = work ? (work / ms / 1e6).toFixed(1) : '';
    console.log(
      `${name.padEnd(58)}${padded(calls.toFixed(0), 7)}${padded(ms.toFixed(2), 9)}${padded(`${((100 * ms) / total).toFixed(1)} %`, 8)}${padded(rate, 9)}`,
    );
  }
}

function print({ stepMs, cpuMs, losses, records, byLayer, lookedMs }) {
  console.log(
    `${network}, batch ${batch}, ${size}×${size}: ${stepMs.toFixed(1)} ms a step, processor time ${cpuMs.toFixed(1)} ms; looked into ${lookedMs.toFixed(1)} ms; loss ${losses[0].toFixed(4)} → ${losses.at(-1).toFixed(4)}`,
  );
  const outer = records.filter(({ isOuter }) => isOuter);
  const inside = summed(
    records.filter(({ isOuter }) => !isOuter),
    ({ path }) => path,
  );
  const rows = summed(outer, ({ path }) => path)
    .slice(0, top)
    .flatMap((row) => [
      row,
      ...inside
        .filter(({ name }) => name.startsWith(`${row.name} > `))
        .map((one) => ({ ...one, name: `  ${one.name.slice(row.name.length + 1)}` })),
    ]);
  printTable('kernel', rows, lookedMs);
  const kernelMs = outer.reduce((sum, { ms }) => sum + ms / steps, 0);
  console.log(`${'outside kernels'.padEnd(58)}${padded('', 7)}${padded((lookedMs - kernelMs).toFixed(2), 9)}`);
  printTable('layer', byLayer.slice(0, top * 2), lookedMs);
}

function compare() {
  const builds = { before: path.resolve(values.against), after: values.build };
  const found = { before: [], after: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const which of round % 2 ? ['after', 'before'] : ['before', 'after']) {
      const words = [
        file,
        network,
        '--json',
        '--build',
        builds[which],
        '--batch',
        batch,
        '--size',
        size,
        '--steps',
        steps,
        '--optimizer',
        values.optimizer,
      ];
      const { status, stdout, stderr } = spawnSync(process.execPath, words.map(String), { encoding: 'utf8', maxBuffer: 1e9 });
      if (status !== 0) throw new Error(`the build ${builds[which]} failed\n${stderr}`);
      found[which].push(JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)));
    }
  }
  for (const [i, loss] of found.before[0].losses.entries()) {
    const other = found.after[0].losses[i];
    if (!(Math.abs(loss - other) <= 0.02 * Math.max(1, Math.abs(loss))))
      throw new Error(`losses differ: ${loss} before, ${other} after, step ${i}`);
  }
  const text = (numbers, digits = 1) =>
    `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} … ${Math.max(...numbers).toFixed(digits)})`;
  console.log(`${network}, batch ${batch}, ${size}×${size}, ${rounds} rounds of ${steps} steps: median (lowest … highest)`);
  for (const [what, name] of [
    ['stepMs', 'ms a step'],
    ['cpuMs', 'processor time, ms a step'],
  ]) {
    const [before, after] = ['before', 'after'].map((which) => found[which].map((one) => one[what]));
    console.log(
      `${name}: before ${text(before)}, after ${text(after)}, after / before ${text(
        after.map((ms, i) => ms / before[i]),
        3,
      )}`,
    );
  }
  console.log('\n| layer | before, ms | after, ms | after / before |\n| --- | --- | --- | --- |');
  const names = new Set([...found.before, ...found.after].flatMap(({ byLayer }) => byLayer.map(({ name }) => name)));
  const msOf = (which, name) => median(found[which].map(({ byLayer }) => byLayer.find((one) => one.name === name)?.ms ?? 0));
  const rows = [...names]
    .map((name) => ({ name, before: msOf('before', name), after: msOf('after', name) }))
    .sort((a, b) => b.before - a.before);
  for (const { name, before, after } of rows.slice(0, top))
    console.log(`| ${name} | ${before.toFixed(2)} | ${after.toFixed(2)} | ${(after / before).toFixed(2)} |`);
}

if (values.against) compare();
else {
  const found = await profile();
  if (values.json) console.log(`\n${JSON.stringify({ ...found, records: undefined })}`);
  else print(found);
}
