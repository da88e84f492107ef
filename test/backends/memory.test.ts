/**
 * While two ranks train, no tensor is left over and a rank grows by at most 5 %: 2,000 steps of the small network on every backend, and 900 of the study's on WASM. Looked at from when V8 has
 * compiled what it will: with so small a network that takes 1,000 steps, whoever trains.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t, { type Test } from 'tap';
import { makeProject, type Project, trySelect } from '../helpers/backend_project';

const root = path.join(__dirname, '..', '..');
const MOST_GROWTH = 0.05;
const LIMIT_MS = 550_000;

interface Counted {
  tensors: number;
  buffers: number;
  rssBytes: number;
}
type Report = { rank: number; early: Counted; late: Counted };

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function train(backend: string, network: 'small' | 'study', [early, late]: [number, number], program: string, env: Record<string, string>) {
  const words = [process.execPath, '--expose-gc', program, network, String(early), String(late)];
  const args = [path.join(root, 'launcher/tsrun.js'), '-np', '2', '--no-prefix', '--', ...words];
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    env: { ...process.env, ...env, TSRUN_BACKEND: backend },
  });
  const reports = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Report);
  return { reports, text: stdout + stderr };
}

function holds(t: Test, { reports, text }: ReturnType<typeof train>): void {
  t.equal(reports.length, 2, text);
  for (const { rank, early, late } of reports) {
    t.same([late.tensors, late.buffers], [early.tensors, early.buffers], `rank ${rank}: tensors and buffers`);
    const grown = late.rssBytes - early.rssBytes;
    t.ok(grown <= MOST_GROWTH * early.rssBytes, `rank ${rank} grew by ${mebibytes(grown)} over ${mebibytes(early.rssBytes)}`);
  }
}

const counts = path.join(root, 'test/workers/counts_memory.js');
for (const [backend, threads] of [
  ['wasm', '2'],
  ['cpu', '1'],
] as const)
  t.test(`${backend}, threads: ${threads}`, { timeout: 0 }, async (t) =>
    holds(t, train(backend, 'small', [1000, 3000], counts, { TSRUN_THREADS_PER_PROCESS: threads })),
  );

t.test("the study's network on wasm", { timeout: 0 }, async (t) => holds(t, train('wasm', 'study', [100, 1000], counts, {})));

/** Why there is nothing to test, else the project. */
function prepare(backend: 'webgpu' | 'tfjs-node'): Project | string {
  const project = makeProject(backend);
  const out = typeof project === 'string' ? project : trySelect(project, backend).out;
  return typeof project !== 'string' && !out.startsWith('ERR_') ? project : out;
}
for (const [backend, steps] of [
  ['tfjs-node', [1000, 3000]],
  ['webgpu', [200, 2200]],
] as const) {
  const project = prepare(backend);
  // That tfjs-node can be installed is a test of its own: scripts/install_tfjs_node_ci.mjs.
  const skip = typeof project === 'string' && project;
  t.test(backend, { skip, timeout: 0 }, async (t) => {
    const { program, env } = project as Project;
    holds(t, train(backend, 'small', [...steps], program('workers/counts_memory'), env));
  });
}
