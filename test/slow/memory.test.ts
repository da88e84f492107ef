/**
 * From step 100 to step 1,000 no tensor is left over. A rank that trains the study's network grows by at most 5 %. One that trains a network so small that V8's own growth is a large part of all
 * (it goes on compiling for some hundred steps, whoever trains) grows by at most 5 % more than the plain optimizer's process does.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..');
const MOST_GROWTH = 0.05;

interface Counted {
  tensors: number;
  buffers: number;
  rssBytes: number;
}
type Report = { rank: number; early: Counted; late: Counted };

function run(how: 'plain' | 'distributed' | 'study'): { reports: Report[]; text: string } {
  const program = [process.execPath, '--expose-gc', path.join(root, 'test/workers/counts_memory.js'), how];
  // All by tsrun, which has V8 begin alike.
  const args = [path.join(root, 'launcher/tsrun.js'), '-np', how === 'plain' ? '1' : '2', '--no-prefix', '--', ...program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 500_000 });
  const reports = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Report);
  return { reports, text: stdout + stderr };
}
const grown = ({ early, late }: Report): number => late.rssBytes - early.rssBytes;
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

t.test('1,000 training steps on two ranks', { timeout: 0 }, async (t) => {
  const plain = run('plain').reports[0]!;
  const { reports, text } = run('distributed');
  t.equal(reports.length, 2, text);
  for (const report of reports) {
    const { rank, early, late } = report;
    t.same([late.tensors, late.buffers], [early.tensors, early.buffers], `rank ${rank}: tensors and buffers`);
    const beyond = grown(report) - grown(plain);
    t.ok(
      beyond <= MOST_GROWTH * early.rssBytes,
      `rank ${rank} grew by ${mebibytes(grown(report))} over ${mebibytes(early.rssBytes)}, the plain optimizer by ${mebibytes(grown(plain))}`,
    );
  }
});

t.test("1,000 training steps of the study's network on two ranks", { timeout: 0 }, async (t) => {
  const { reports, text } = run('study');
  t.equal(reports.length, 2, text);
  for (const report of reports) {
    const { rank, early, late } = report;
    t.same([late.tensors, late.buffers], [early.tensors, early.buffers], `rank ${rank}: tensors and buffers`);
    t.ok(
      grown(report) <= MOST_GROWTH * early.rssBytes,
      `rank ${rank} grew by ${mebibytes(grown(report))} over ${mebibytes(early.rssBytes)}`,
    );
  }
});
