/**
 * Training on tfjs-node, and all of tfjs-node-gpu that needs no GPU: what is said where it cannot be used, and that a job goes on without it. `scripts/gpu_check.mjs` runs the rest where a GPU is.
 * Skipped where the package cannot be installed: CI shows beside this that it can (scripts/install_tfjs_node_ci.mjs).
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { countGpus, driverProblem } from '../../src/tensorflow/backends/tfjs_node/gpu';
import { endsAsItsProgramSays, trainsAlike } from '../helpers/backend_behaviour';
import { addGpuPackage, makeProject, type Project, trySelect } from '../helpers/backend_project';

const LIMIT_MS = 300_000;
const made = makeProject('tfjs-node');
const skip = process.platform !== 'linux' ? 'Linux only' : typeof made === 'string' && made;
const project = made as Project;
const { folder } = project;
const packageFolder = skip ? '' : path.join(folder, 'node_modules', '@tensorflow', 'tfjs-node');
const addon = path.join(packageFolder, 'lib', 'napi-v8', 'tfjs_binding.node');
const libraryFolder = path.join(packageFolder, 'deps', 'lib');
const MEND = 'npx tsrun install-tfjs-node --force installs it anew';
const noDriver = driverProblem() === undefined && 'this machine has an NVIDIA driver';

t.test('it is chosen, and says on what', { skip }, async (t) => {
  const forced = trySelect(project, 'tfjs-node', { TSRUN_THREADS_PER_PROCESS: '1' });
  t.match(forced.out, /^tfjs-node CPU \(TensorFlow 2\.\d+\.\d+, 1 thread\)$/, forced.err);
  const chosen = trySelect(project, '', { TSRUN_THREADS_PER_PROCESS: '3' });
  t.match(chosen.out, /^tfjs-node CPU \(TensorFlow 2\.\d+\.\d+, 3 threads\)$/, chosen.err);
  t.notMatch(chosen.err, /WARNING/, 'what is not installed is no warning');
});

t.test('models of every kind train on two ranks as on wasm', { skip }, async (t) => {
  const training = { backend: 'tfjs-node', device: /^CPU \(TensorFlow .*, \d+ threads?\)$/, expected: 'wasm', limitMs: LIMIT_MS };
  await trainsAlike(t, project, training);
});

t.test('a process ends as its program says', { skip }, async (t) => endsAsItsProgramSays(t, project, 'tfjs-node'));

/** A script of the project, with `hvd`. */
function runScript(text: string): { out: string; err: string } {
  const file = path.join(folder, 'script.cjs');
  writeFileSync(file, `const hvd = require(${JSON.stringify(path.join(__dirname, '..', '..', 'src', 'index.js'))});\n${text}`);
  const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: LIMIT_MS });
  return { out: stdout, err: stderr };
}

t.test('a step that no memory is left for', { skip }, async (t) => {
  // A product of 256 TiB: more than a process has addresses.
  const { out, err } = runScript(
    `hvd.init();
    hvd.selectBackend('tfjs-node').then(({ tf }) => {
      const [column, row] = [tf.ones([2 ** 23, 1]), tf.ones([1, 2 ** 23])];
      const weight = tf.variable(tf.scalar(1));
      try {
        hvd.DistributedOptimizer(tf.train.sgd(0.1)).minimize(() => column.mul(row).mul(weight).sum());
      } catch (error) {
        console.log(error.code, error.message);
      }
    });`,
  );
  t.match(out, /^ERR_HVD_BACKEND The backend 'tensorflow' has no memory left.*OOM when allocating.*Give each rank a smaller batch/, err);
});

/** Acts while something else, or nothing, is in the place of a file. */
function without(file: string, put: (kept: string) => void, act: () => void): void {
  const kept = `${file}.kept`;
  renameSync(file, kept);
  try {
    put(kept);
    act();
  } finally {
    rmSync(file, { force: true });
    renameSync(kept, file);
  }
}

function firstHalf(from: string, to: string): void {
  const half = Buffer.alloc(Math.floor(statSync(from).size / 2));
  const fd = openSync(from, 'r');
  readSync(fd, half, 0, half.length, 0);
  closeSync(fd);
  writeFileSync(to, half);
}

t.test('an installation that is not whole', { skip }, async (t) => {
  const framework = path.join(libraryFolder, 'libtensorflow_framework.so.2');
  for (const [title, file, put, tried] of [
    ['no addon', addon, () => {}, /tfjs_binding\.node/],
    ['an empty addon', addon, () => writeFileSync(addon, ''), /tfjs_binding\.node: file too short/],
    ['half an addon', addon, (kept: string) => firstHalf(kept, addon), /tfjs_binding\.node is cut off: it has \d+ bytes/],
    ['half a library', framework, (kept: string) => firstHalf(kept, framework), /libtensorflow_framework\.so\.2 is cut off/],
    ['no library', path.join(libraryFolder, 'libtensorflow_cc.so.2'), () => {}, /libtensorflow_cc\.so\.2/],
  ] as const)
    without(file, put, () => {
      const forced = trySelect(project, 'tfjs-node');
      t.match(forced.out, /^ERR_HVD_BACKEND The backend 'tfjs-node' was asked for \(selectBackend\)/, title);
      t.match(forced.out, tried, title);
      t.ok(forced.out.includes(MEND), forced.out);
      if (!title.startsWith('half')) return;
      const free = trySelect(project);
      t.match(free.out, /^wasm /, title);
      t.match(free.err, new RegExp(`WARNING\\] backend wasm on .*tfjs-node: .*${MEND}`), title);
    });
  t.match(trySelect(project, 'tfjs-node').out, /^tfjs-node /, 'whole again');
});

const checkBuild = (): string => {
  const { stdout } = spawnSync(process.execPath, [path.join(__dirname, '..', '..', 'launcher', 'tsrun.js'), '--check-build'], {
    cwd: folder,
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  return stdout;
};

// From here on the project has the other package too.
t.test('tfjs-node-gpu without a driver', { skip: skip || noDriver }, async (t) => {
  addGpuPackage(project);
  const forced = trySelect(project, 'tfjs-node-gpu');
  t.match(forced.out, /^ERR_HVD_BACKEND The backend 'tfjs-node-gpu' was asked for.*there is no NVIDIA driver on this host/);
  t.notMatch(forced.out, /install-tfjs-node/, 'installing it anew would mend nothing');
  const free = trySelect(project);
  t.match(free.out, /^tfjs-node CPU /);
  t.match(free.err, /WARNING\] backend tfjs-node on CPU .*not tfjs-node-gpu: there is no NVIDIA driver on this host/);
  const shown = checkBuild();
  t.match(shown, /\[ \] tfjs-node-gpu: .*there is no NVIDIA driver on this host/);
  t.match(shown, /\[X\] tfjs-node: CPU \(TensorFlow 2\.\d+\.\d+, \d+ threads?\)/);
  t.equal(countGpus(), undefined);
});

t.test('one process loads one of the two', { skip: skip || noDriver }, async (t) => {
  const { out, err } = runScript(
    `const util = require('node:util');
    util.isNullOrUndefined ??= (value) => value == null;
    util.isArray ??= Array.isArray;
    const tf = require('@tensorflow/tfjs-node-gpu');
    hvd.selectBackend('tfjs-node').catch((error) => console.log(tf.getBackend(), error.code, error.message));`,
  );
  t.match(out, /^tensorflow ERR_HVD_BACKEND The backend 'tfjs-node' was asked for.*is loaded already, and one process can load one/, err);
});
