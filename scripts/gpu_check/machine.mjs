// What this machine has, and how the checks run programs on it. Every program has a deadline.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const require = createRequire(import.meta.url);
const { driverProblem } = require(path.join(root, 'dist/src/tensorflow/backends/tfjs_node/gpu.js'));
const { addGpuPackage, makeProject, trySelect } = require(path.join(root, 'dist/test/helpers/backend_project.js'));

export { trySelect };

const manifests = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'];
const JOB_MS = 120_000;

/** Ends with {status, out, err}; a program that is not there, or late, has status null. */
export function run(words, { cwd = root, env = {}, timeoutMs = JOB_MS } = {}) {
  const [command, ...rest] = words;
  const { status, stdout, stderr, error } = spawnSync(command, rest, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: timeoutMs,
    maxBuffer: 1 << 28,
  });
  return { status, out: stdout ?? '', err: error ? `${error.message}\n${stderr ?? ''}` : stderr };
}
export const tsrun = (words, options) => run([process.execPath, path.join(root, 'dist/launcher/tsrun.js'), ...words], options);

/** @param prepared a folder of a project that has the packages already; undefined: temporary ones are made when first needed */
export function thisMachine(prepared) {
  const said = run(['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']);
  const gpus = said.status === 0 ? said.out.trim().split('\n').filter(Boolean) : [];
  const icds = manifests.flatMap((folder) => (fs.existsSync(folder) ? fs.readdirSync(folder).map((name) => path.join(folder, name)) : []));
  const vulkan = icds.find((file) => path.basename(file).startsWith('nvidia'));
  const projects = new Map();
  // Also of the programs that checks start: makeProject looks there first.
  if (prepared !== undefined) process.env.BACKEND_PROJECT = path.resolve(prepared);
  return {
    gpus,
    icds,
    /** NVIDIA's own way of Vulkan; undefined: it has none here. */
    vulkan: gpus.length > 0 ? vulkan : undefined,
    prepared,
    problem: driverProblem() ?? (gpus.length === 0 ? `nvidia-smi shows no GPU: ${(said.out + said.err).trim().split('\n')[0]}` : undefined),
    /** With that backend; made once. */
    project(backend) {
      if (!projects.has(backend)) projects.set(backend, makeProject(backend));
      const made = projects.get(backend);
      if (typeof made === 'string') throw new Error(made);
      return made;
    },
    /** tfjs-node under the name of tfjs-node-gpu: enough for what is said where there is no driver. */
    standIn() {
      const made = this.project('tfjs-node');
      if (!fs.existsSync(path.join(made.folder, 'node_modules/@tensorflow/tfjs-node-gpu'))) addGpuPackage(made);
      return made;
    },
  };
}

/** A script of this checkout, run as one of a project. */
export function runInProject({ folder, env }, script, words, options = {}) {
  const program = path.join(folder, 'run.mjs');
  fs.writeFileSync(program, `await import(${JSON.stringify(`file://${path.join(root, script)}`)});\n`);
  return run([process.execPath, program, ...words], { ...options, env: { ...env, ...options.env } });
}

/** Ranks of test/workers/uses_its_gpu: what each has said, in the order of ranks, and how the job ended. */
export function runRanks(project, launch, words, { env = {}, timeoutMs } = {}) {
  const program = project.program('workers/uses_its_gpu');
  const ended = tsrun([...launch, '--no-prefix', program, ...words], { cwd: project.folder, env: { ...project.env, ...env }, timeoutMs });
  const ranks = ended.out
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .sort((a, b) => a.rank - b.rank);
  return { ...ended, ranks };
}

export function facts({ gpus, icds, problem }) {
  const version = (file) => JSON.parse(fs.readFileSync(path.join(root, file), 'utf8')).version;
  const devices = run(['vulkaninfo', '--summary']);
  const vulkan = [...devices.out.matchAll(/deviceName\s*=\s*(.*)/g)].map(([, name]) => name.trim());
  return [
    gpus.length > 0 ? `${gpus.length} GPUs: ${gpus.join('; ')}` : `no GPU: ${problem}`,
    `Vulkan: ${devices.status === 0 ? vulkan.join(', ') : `drivers ${icds.map((file) => path.basename(file, '.json')).join(', ') || 'none'} (no vulkaninfo)`}`,
    `${os.availableParallelism()} processors (${os.cpus()[0]?.model}), ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB`,
    `Node ${process.version}, khorovod ${version('package.json')}, TensorFlow.js ${version('node_modules/@tensorflow/tfjs/package.json')}`,
  ].join(', ');
}
