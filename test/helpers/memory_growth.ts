/** Whether two ranks that train (workers/counts_memory) leave tensors over, or grow. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import type { Test } from 'tap';

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

/** @param steps after which it looks */
export function train(
  backend: string,
  network: 'small' | 'study',
  steps: readonly [number, number],
  program: string,
  env: Record<string, string>,
) {
  const words = [process.execPath, '--expose-gc', program, network, ...steps.map(String)];
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

/** No tensor more, and at most 5 % of memory. */
export function holds(t: Test, { reports, text }: ReturnType<typeof train>): void {
  t.equal(reports.length, 2, text);
  for (const { rank, early, late } of reports) {
    t.same([late.tensors, late.buffers], [early.tensors, early.buffers], `rank ${rank}: tensors and buffers`);
    const grown = late.rssBytes - early.rssBytes;
    t.ok(grown <= MOST_GROWTH * early.rssBytes, `rank ${rank} grew by ${mebibytes(grown)} over ${mebibytes(early.rssBytes)}`);
  }
}
