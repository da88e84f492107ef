// The parallel tests that use TensorFlow.js, on other backends than the one that every checkout has: `node scripts/on_backends.mjs cpu wasm:2 tfjs-node webgpu [--np 2]`.
//   wasm:2      WASM on two threads a rank
//   tfjs-node   installed by `tsrun install-tfjs-node` into a temporary project; tfjs-node-gpu with --gpu: without a driver it is skipped, and ranks share the GPUs
//   webgpu      on the GPU that Vulkan has, else on a software adapter; where it has none it is skipped
// The last line is `N passed, N failed[, N skipped]`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const { makeProject, trySelect } = require(path.join(root, 'dist/test/helpers/backend_project.js'));
const { driverProblem } = require(path.join(root, 'dist/src/tensorflow/backends/tfjs_node/gpu.js'));
const args = process.argv.slice(2);
const np = args.includes('--np') ? args.splice(args.indexOf('--np'), 2)[1] : '2';
const total = { passed: 0, failed: 0, skipped: 0 };

/** They make tensors as all others do; what they are about knows no backend. */
const aboutOther = new Set(['feedback', 'handles', 'learning_rate', 'membership', 'random_programs', 'shard', 'threads', 'timeline']);
const folder = path.join(root, 'dist/test/parallel');
const usesTensorFlow = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith('.test.js') && !aboutOther.has(name.split('.')[0]))
  .filter((name) => fs.readFileSync(path.join(folder, name), 'utf8').includes('selectBackend()'))
  .map((name) => name.replace('.', '\\.'));

for (const asked of args) {
  const [backend, threads] = asked.split(':');
  console.log(`── ${asked}`);
  const problem = backend === 'tfjs-node-gpu' ? driverProblem() : undefined;
  if (problem) {
    console.log(`skipped: ${problem}`);
    total.skipped += 1;
    continue;
  }
  let env = { ...process.env, TSRUN_BACKEND: backend, ...(threads ? { TSRUN_THREADS_PER_PROCESS: threads } : {}) };
  let place = [];
  if (['tfjs-node', 'tfjs-node-gpu', 'webgpu'].includes(backend)) {
    const from = performance.now();
    const project = makeProject(backend);
    const seconds = ((performance.now() - from) / 1000).toFixed(0);
    const found = typeof project === 'string' ? { out: project } : trySelect(project, backend);
    console.log(`installed in ${seconds} s: ${project.said ?? ''}${found.out}`);
    if (typeof project === 'string' || found.out.startsWith('ERR_')) {
      // That tfjs-node can be installed is a test of its own: install_tfjs_node_ci.mjs.
      total.skipped += 1;
      continue;
    }
    env = { ...env, ...project.env };
    place = ['--project', project.folder, ...(backend === 'tfjs-node-gpu' ? ['--oversubscribe'] : [])];
  }
  const words = ['scripts/run_tests.mjs', 'parallel', '--np', np, '--only', `parallel/(${usesTensorFlow.join('|')})`, ...place];
  const { stdout = '' } = spawnSync(process.execPath, words, { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 28 });
  process.stdout.write(stdout);
  const counts = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?/m.exec(stdout);
  total.passed += Number(counts?.[1] ?? 0);
  total.failed += Number(counts?.[2] ?? 1);
  total.skipped += Number(counts?.[3] ?? 0);
}
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}`);
process.exit(total.failed > 0 || total.passed + total.skipped === 0 ? 1 : 0);
