/** `tsrun sweep` from its start to its end: what it writes, what is left when it is killed or stopped, and that it goes on. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { SweepFile } from '../../launcher/sweep/records';
import type { Summary } from '../../launcher/sweep/summary';
import { until } from '../helpers/processes';
import { Job, runJob, worker } from '../helpers/tsrun';

const LIMIT_MS = 120_000;
const script = worker('reports_numbers.js');
/** A folder, and the command line of a sweep that keeps everything in it. */
const inFolder = (folder: string, ...rest: string[]) => {
  const out = path.join(folder, 'out');
  const words = (...options: string[]) => ['sweep', ...options, '--out', out, script, '--count', folder, ...rest];
  const read = (name: string) => readFileSync(path.join(out, name), 'utf8');
  const file = () => JSON.parse(read('sweep.json')) as SweepFile & { summary: Summary };
  const runsOf = (size: number) =>
    existsSync(path.join(folder, `runs_${size}_10`)) ? readFileSync(path.join(folder, `runs_${size}_10`), 'utf8').length : 0;
  return { out, words, read, file, runsOf };
};

t.test('killed in the middle nothing is left; the same line goes on; another one is refused', async (t) => {
  const folder = t.testdir({});
  const go = path.join(folder, 'go');
  const { out, words, read, file, runsOf } = inFolder(folder, '--wait', go);
  const line = words('-np', '1,2', '--repeats', '2');
  const killed = new Job(line);
  t.ok(await until(() => runsOf(1) === 1, LIMIT_MS), 'its first run is under way');
  const second = await runJob(line);
  t.equal(second.status, 2, 'no other sweep works there meanwhile');
  t.match(second.err, /another tsrun sweep \(process \d+\) works in/);
  process.kill(killed.pid, 'SIGKILL');
  t.same(await killed.leftAfter(), [], 'nothing of the run is left');
  t.same(file().runs, [], 'what was cut off does not count');

  writeFileSync(go, '');
  const { status, out: text, err, left } = await runJob(line, {}, LIMIT_MS);
  t.equal(status, 0, err);
  t.same(left, []);
  t.same([runsOf(1), runsOf(2)], [3, 2], 'the one that was cut off once more, all others once');
  t.match(text, /^\[1\/4\] np1 ring, repeat 1: imagesPerSec 10\.20 \(/, 'one line a run');
  t.match(text, /ring +1 +2 +10\.25 ± 0\.64 /, 'the table');
  const { runs, sessions, summary } = file();
  t.same(
    runs.map(({ cell, repeat }) => [cell.workers, repeat]),
    [
      [1, 1],
      [2, 1],
      [2, 2],
      [1, 2],
    ],
    'interleaved',
  );
  t.equal(runs[0]?.reports.length, 2, 'all records are kept');
  t.same(runs[0]?.numbers, { imagesPerSec: 10.2, epoch: 1, loss: 0.5 });
  t.equal(sessions.length, 2);
  t.match(sessions[1]?.machine, { node: process.version, processors: Number, processor: String });
  t.equal(summary.metric, 'imagesPerSec');
  t.match(read(runs[0]!.log), /rank 0 reports loss/, 'a log of each run');
  for (const name of ['throughput', 'efficiency']) {
    t.match(read(`${name}.svg`), /^<svg/);
    t.equal(readFileSync(path.join(out, `${name}.png`)).toString('latin1', 1, 4), 'PNG');
  }
  t.match(read('report.html'), /<!doctype html>[\s\S]*92\.4/);
  t.notOk(existsSync(path.join(out, 'lock')));

  const before = read('sweep.json');
  const again = await runJob(line, {}, LIMIT_MS);
  t.equal(again.status, 0);
  t.match(again.out, /^4 of 4 runs are done already/);
  const other = await runJob(words('-np', '1,2', '--repeats', '3'));
  t.equal(other.status, 2);
  t.match(other.err, /holds another sweep: --repeats was 2, now is 3/);
  t.same([runsOf(1), runsOf(2)], [3, 2], 'neither has run anything');
  t.equal(read('sweep.json'), before);
});

t.test('a cell that fails is recorded with its first cause, and the sweep goes on', async (t) => {
  const folder = t.testdir({});
  const { words, read, file, runsOf } = inFolder(folder, '--fail-at', '2');
  const { status, out, left } = await runJob(words('-np', '1,2', '--repeats', '2'), {}, LIMIT_MS);
  t.equal(status, 1);
  t.same(left, []);
  t.match(out, /np2 ring, repeat 1: FAILED: rank 1 on host localhost ended with exit code 1: Error: made to fail at 2/);
  const failed = file().runs.filter(({ isFailed }) => isFailed);
  t.match(failed, [
    { cell: { workers: 2 }, exitCode: 1, cause: /made to fail/ },
    { cell: { workers: 2 }, exitCode: 1 },
  ]);
  t.equal(runsOf(1), 2, 'the others have run');
  t.match(read('report.html'), /Failed runs[\s\S]*made to fail at 2/);
});

t.test('Ctrl-C ends the run in progress and keeps what is done', async (t) => {
  const folder = t.testdir({});
  const { words, file, runsOf, read } = inFolder(folder, '--wait-at', '2', '--wait', path.join(folder, 'go'));
  const sweep = new Job(words('-np', '1,2', '--repeats', '1'));
  t.ok(await until(() => runsOf(2) === 1, LIMIT_MS), 'the second run is under way');
  sweep.child.kill('SIGINT');
  t.equal(await sweep.status(), 130);
  t.match(sweep.out, /np2 ring, repeat 1: stopped, does not count/);
  t.match(sweep.out, /1 of 2 runs are kept; the same command goes on with the other 1/);
  t.same(await sweep.leftAfter(), []);
  t.same(
    file().runs.map(({ cell }) => cell.workers),
    [1],
  );
  t.match(read('report.html'), /not finished: 1 run/);
});
