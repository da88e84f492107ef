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
type Report = { rank: number; looks: Counted[] };

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** @param steps after which it looks, as many early as late */
export function train(backend: string, network: 'small' | 'study', steps: readonly number[], program: string, env: Record<string, string>) {
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

/**
 * No tensor more, and at most 5 % of memory: of the early looks the highest counts, of the late ones the lowest. What leaks is above in all of them; a single look also sees what V8 is about to give
 * back.
 */
export function holds(t: Test, { reports, text }: ReturnType<typeof train>): void {
  t.equal(reports.length, 2, text);
  for (const { rank, looks } of reports) {
    const tensors = looks.map((look) => `${look.tensors} in ${look.buffers}`);
    t.same(new Set(tensors).size, 1, `rank ${rank}: tensors and buffers are ${tensors.join(', ')}`);
    const bytes = looks.map((look) => look.rssBytes);
    const early = Math.max(...bytes.slice(0, bytes.length / 2));
    const grown = Math.min(...bytes.slice(bytes.length / 2)) - early;
    t.ok(
      grown <= MOST_GROWTH * early,
      `rank ${rank} grew by ${mebibytes(grown)} over ${mebibytes(early)}: ${bytes.map(mebibytes).join(', ')}`,
    );
  }
}
