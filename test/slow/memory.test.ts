/**
 * While two ranks train, no tensor is left over and a rank grows by at most 5 %: 2,000 steps of the small network, and 100 of the study's. Looked at from when V8 has compiled what it will: with so
 * small a network that takes 1,000 steps, whoever trains. Other backends: test/backends/memory.
 */
import path from 'node:path';
import t from 'tap';
import { holds, train } from '../helpers/memory_growth';

const counts = path.join(__dirname, '..', 'workers', 'counts_memory.js');
for (const [backend, threads] of [
  ['wasm', '2'],
  ['cpu', '1'],
] as const)
  t.test(`${backend}, threads: ${threads}`, { timeout: 0 }, async (t) =>
    holds(t, train(backend, 'small', [1000, 1200, 1400, 2600, 2800, 3000], counts, { TSRUN_THREADS_PER_PROCESS: threads })),
  );

t.test("the study's network on wasm", { timeout: 0 }, async (t) =>
  holds(t, train('wasm', 'study', [60, 70, 80, 140, 150, 160], counts, {})),
);
