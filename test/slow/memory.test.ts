/**
 * From step 100 to step 1,000 no tensor is left over, and no rank's resident memory grows by more than 5 % beyond what the same training does by the plain optimizer in a process of its own:
 * V8 goes on widening its young generation and compiling for some hundred steps, whoever trains (about 18 MiB here).
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

function run(how: 'plain' | 'distributed'): { reports: Report[]; text: string } {
  const program = [process.execPath, '--expose-gc', path.join(root, 'test/workers/counts_memory.js'), how];
  const command =
    how === 'plain' ? program : [process.execPath, path.join(root, 'launcher/tsrun.js'), '-np', '2', '--no-prefix', '--', ...program];
  const { stdout, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', timeout: 110_000 });
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
