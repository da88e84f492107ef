// Packs the package, installs it into an empty project and uses it there as a user would: import, require, import(), tsrun. Prints `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const project = fs.mkdtempSync(path.join(os.tmpdir(), 'khorovod-package-'));
process.on('exit', () => fs.rmSync(project, { recursive: true, force: true }));
let [passed, failed] = [0, 0];

function step(title, command, args, holds = () => true) {
  const from = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: project, encoding: 'utf8', timeout: 180_000 });
  const ok = status === 0 && holds(stdout);
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok' : 'not ok'} ${title} (${((performance.now() - from) / 1000).toFixed(1)} s)`);
  if (!ok) console.log(`  exit ${status}\n${stdout.slice(-1500)}\n${stderr.slice(-1500)}`);
}

const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], { cwd: root, encoding: 'utf8' });
const tarball = path.join(project, packed.stdout.trim().split('\n').at(-1));
fs.writeFileSync(path.join(project, 'package.json'), '{"name": "project", "private": true}\n');
step('npm install without install scripts', 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball]);
fs.writeFileSync(
  path.join(project, 'mixed.mjs'),
  `import * as hvd from 'khorovod';
import { createRequire } from 'node:module';
const required = createRequire(import.meta.url)('khorovod');
const imported = await import('khorovod');
if (required.allreduce !== hvd.allreduce || imported.allreduce !== hvd.allreduce) throw new Error('more than one instance');
if (Object.keys(createRequire(import.meta.url).cache).some((file) => /tf-core/.test(file))) throw new Error('importing the package loaded TensorFlow.js');
hvd.init();
console.log('SUM', hvd.allreduce(Float32Array.of(1), { op: 'sum' })[0]);
`,
);
fs.writeFileSync(
  path.join(project, 'train.ts'),
  `import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
hvd.init();
const { device } = await hvd.selectBackend();
console.log('ON', device);
const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [4] })] });
model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.sgd(0.1)), loss: 'meanSquaredError' });
hvd.broadcastVariables(model);
const loss = await model.trainOnBatch(tf.ones([8, 4]), tf.ones([8, 1]));
console.log('LOSS', Number.isFinite(loss as number));
`,
);
step('import, require and import() give one instance and load no TensorFlow.js', 'node', ['mixed.mjs'], (out) => out.includes('SUM 1'));
step('npx tsrun --version', 'npx', ['tsrun', '--version'], (out) => /\d+\.\d+\.\d+/.test(out));
step('npx tsrun -np 2 mixed.mjs', 'npx', ['tsrun', '-np', '2', 'mixed.mjs'], (out) => out.split('SUM 2').length === 3);
step(
  'npx tsrun -np 2 train.ts, top-level await in a CommonJS project',
  'npx',
  ['tsrun', '-np', '2', 'train.ts'],
  (out) => out.split('LOSS true').length === 3,
);
step(
  'npx tsrun -np 1 --threads-per-process 2 train.ts: the threads find their programs',
  'npx',
  ['tsrun', '-np', '1', '--threads-per-process', '2', 'train.ts'],
  (out) => out.includes('LOSS true') && out.includes('2 threads)'),
);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
