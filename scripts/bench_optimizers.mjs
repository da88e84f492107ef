// The rows of bench_kernels.mjs --optimizers: ns per element of each update rule of the parameter servers, as our kernel and as a loop over Float32Arrays that is written from the same formulas.
//
// Processor time, median of 5 applications after one to warm up; both results are compared.
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);
const { createMemory } = load('../dist/src/memory/arena.js');
const { makeOptimizer } = load('../dist/src/parameter_server/optimizers.js');
const { ruleFor, slotsOf } = load('../dist/src/parameter_server/rules.js');
const { input } = load('../dist/src/parameter_server/expression.js');
const CALLS = 5;

const betas = { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
const specs = [
  { kind: 'sgd' },
  { kind: 'momentum', momentum: 0.9, nesterov: false },
  { kind: 'momentum', momentum: 0.9, nesterov: true },
  { kind: 'rmsprop', decay: 0.9, momentum: 0, epsilon: 1e-7, centered: false },
  { kind: 'rmsprop', decay: 0.9, momentum: 0, epsilon: 1e-7, centered: true },
  { kind: 'adam', ...betas },
  { kind: 'adagrad', initialAccumulatorValue: 0.1 },
  { kind: 'adadelta', rho: 0.95, epsilon: 1e-7 },
  { kind: 'adamax', ...betas, decay: 0 },
  { kind: 'nadam', ...betas },
  { kind: 'adamw', ...betas, weightDecay: 0.004 },
];
const infix = { add: '+', sub: '-', mul: '*', div: '/' };

/** (value, gradient, slots, numbers) => void, one loop. */
function plainLoop(spec) {
  const rule = ruleFor(spec);
  const names = Object.keys(rule.numbers(spec, 0, 1));
  const arrays = ['value', 'gradient', ...slotsOf(spec).map((_, i) => `slot${i}`)];
  const known = new Map();
  const inputNamed = (name) => {
    const expression = input();
    known.set(expression, name);
    return expression;
  };
  const numbers = Object.fromEntries(names.map((name) => [name, inputNamed(`n_${name}`)]));
  const results = rule.formulas(numbers, spec)(...arrays.map((name) => inputNamed(`of_${name}`)));
  const lines = [];
  const nameOf = (expression) => {
    if (known.has(expression)) return known.get(expression);
    const [a, b] = expression.operands.map(nameOf);
    const { instruction } = expression;
    known.set(expression, `x${lines.length}`);
    lines.push(
      `const x${lines.length} = ${instruction in infix ? `${a} ${infix[instruction]} ${b}` : `Math.${instruction}(${[a, b].filter(Boolean)})`};`,
    );
    return known.get(expression);
  };
  const stores = results.map(nameOf).map((name, i) => `${arrays.filter((one) => one !== 'gradient')[i]}[i] = ${name};`);
  const loads = arrays.map((name) => `const of_${name} = ${name}[i];`);
  return new Function(
    ...arrays,
    ...names.map((name) => `n_${name}`),
    `for (let i = 0; i < value.length; i += 1) { ${[...loads, ...lines, ...stores].join('\n')} }`,
  );
}

function timeOf(apply) {
  apply(1);
  const times = Array.from({ length: CALLS }, (_, i) => {
    const from = process.cpuUsage().user;
    apply(2 + i);
    return process.cpuUsage().user - from;
  });
  return times.sort((a, b) => a - b)[Math.floor(CALLS / 2)] * 1000;
}

export function benchOptimizers(elems) {
  const stride = Math.ceil(elems / 16) * 64;
  const memory = createMemory();
  memory.grow(Math.ceil((stride * 10) / 65536));
  const row = (name, ...cells) => console.log(name.padEnd(26) + cells.map((cell) => cell.padStart(11)).join(''));
  row(`${elems / 1e6} M elements`, 'ours ns', 'loop ns', 'ours GB/s');
  for (const spec of specs) {
    const slots = slotsOf(spec);
    const count = 2 + slots.length;
    const [ours, theirs] = [0, 5].map((first) =>
      Array.from({ length: count }, (_, i) => new Float32Array(memory.buffer, (first + i) * stride, elems)),
    );
    for (const arrays of [ours, theirs]) {
      for (const [i, array] of arrays.entries()) {
        if (i < 2) for (let k = 0; k < elems; k += 1) array[k] = ((k * 7 + i) % 201) / 100 - 1;
        else array.fill(slots[i - 2].initial);
      }
    }
    const optimizer = makeOptimizer(spec, memory);
    const [variable, gradient, ...ofSlots] = ours.map((array) => array.byteOffset);
    const kernelNs = timeOf((step) => optimizer.apply({ variable, gradient, slots: ofSlots, elems }, step, 0.01, 1)) / elems;
    const loop = plainLoop(spec);
    const loopNs = timeOf((step) => loop(...theirs, ...Object.values(ruleFor(spec).numbers(spec, 0.01, step)))) / elems;
    let worst = 0;
    for (let k = 0; k < elems; k += 1) worst = Math.max(worst, Math.abs(ours[0][k] - theirs[0][k]));
    if (!(worst < 1e-4)) throw new Error(`${spec.kind} is off by ${worst}`);
    // Read: all; written: all but the gradient.
    const bytes = 4 * (2 * count - 1);
    row(Object.values(spec).join(' ').slice(0, 25), kernelNs.toFixed(2), loopNs.toFixed(2), (bytes / kernelNs).toFixed(1));
  }
}
