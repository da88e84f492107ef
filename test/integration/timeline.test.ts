/** Timelines of whole jobs, read while they grow, after they have ended, and after what wrote them was killed. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../helpers/processes';
import { start } from '../helpers/started';
import { readTrace, type Trace } from '../helpers/trace';
import { Job, worker } from '../helpers/tsrun';

const script = worker('is_recorded.js');

/** What a file holds between two writes: one that was written to while it was read is read again. */
function contentOf(file: string): string {
  for (;;) {
    const [before, text, after] = [statSync(file), readFileSync(file, 'utf8'), statSync(file)];
    if (before.mtimeMs === after.mtimeMs && before.size === after.size) return text;
  }
}

const namesOf = (trace: Trace, process: string): Set<string> =>
  new Set(trace.slices.filter((slice) => slice.process === process).map(({ name }) => name));

/** What a finished timeline of two ranks shows, from the place of one of them. */
function checkWhole(t: Test, text: string, rank: number): void {
  const trace = readTrace(text);
  t.same(trace.problems, []);
  const ticks = rank === 0 ? ['0', '1'] : ['1'];
  const shows = (process: string, names: readonly string[]): void => {
    const found = namesOf(trace, process);
    for (const name of names) t.ok(found.has(name), `rank ${rank}: '${process}' shows ${name} among ${[...found].join(' ')}`);
  };
  shows('small', ['NEGOTIATE_ALLREDUCE', ...ticks, 'ALLREDUCE', 'STAR_ALLREDUCE']);
  shows('large 0 "quoted"', ['NEGOTIATE_ALLREDUCE', ...ticks, 'ALLREDUCE', 'RING_ALLREDUCE']);
  shows('training.0', ['NEGOTIATE_ALLREDUCE', ...ticks, 'ALLREDUCE']);
  shows('allgather.noname', ['NEGOTIATE_ALLGATHER', ...ticks, 'ALLGATHER', 'RING_ALLGATHER']);
  shows('broadcast.noname', ['NEGOTIATE_BROADCAST', ...ticks, 'BROADCAST', 'TREE_BROADCAST']);
  shows('alltoall.noname', ['NEGOTIATE_ALLTOALL', ...ticks, 'ALLTOALL', 'PAIRWISE_ALLTOALL']);
  shows('barrier.noname', ['NEGOTIATE_BARRIER', ...ticks, 'BARRIER']);
  shows('odd', ['NEGOTIATE_ALLREDUCE', ...ticks, 'ERROR']);
  shows(`rank ${rank} of 2 on localhost`, [
    'MEMCPY_IN_HOST_BUFFER',
    'MEMCPY_OUT_HOST_BUFFER',
    'EXPOSED_COMMUNICATION',
    'HIDDEN_COMMUNICATION',
    'STEP',
  ]);
  t.match(trace.slices.find(({ name }) => name === 'ERROR')?.args, { error: 'ERR_HVD_MISMATCH', message: /odd/ });
  t.ok(trace.instants.some(({ name }) => name === 'CYCLE_START'));
  const mine = (name: string): number =>
    trace.slices.filter((slice) => slice.name === name).reduce((sum, { from, until: end }) => sum + end - from, 0);
  const totals = trace.instants.find(({ name }) => name === 'COMMUNICATION_TOTALS')?.args as { hidden_us: number; exposed_us: number };
  // Each is a sum of rounded parts.
  const slack = trace.slices.length;
  t.ok(Math.abs(totals.hidden_us - mine('HIDDEN_COMMUNICATION')) <= slack, 'the stretches of hidden communication are its total');
  t.ok(Math.abs(totals.exposed_us - mine('EXPOSED_COMMUNICATION')) <= slack, 'the waits are the total of exposed communication');
  t.ok(
    trace.slices.every(({ until: end }) => Number.isFinite(end)),
    'nothing is left open',
  );
}

t.test('--timeline-filename: rank 0 writes, and the file is valid whenever it is read', async (t) => {
  const job = new Job(['-np', '2', '--timeline-filename', '@/t.json', '--timeline-mark-cycles', script, '@']);
  const file = path.join(job.folder, 't.json');
  await job.files(/^going\.\d$/, 2);
  let size = 0;
  for (let moment = 0; moment < 5; moment += 1) {
    t.ok(await until(() => statSync(file).size > size, 60_000), 'it grows');
    const text = contentOf(file);
    size = text.length;
    t.same(readTrace(text).problems, [], `moment ${moment}`);
  }
  job.put('stop');
  t.equal(await job.status(), 0, job.err);
  t.notMatch(job.err, /no effect/);
  checkWhole(t, job.read('t.json'), 0);
  t.same(
    readdirSync(job.folder).filter((name) => name.endsWith('.json')),
    ['t.json'],
  );
  t.same(await job.leftAfter(), []);
});

t.test('startTimeline with %r: a file of each rank, complete when stopTimeline returns', async (t) => {
  const job = new Job(['-np', '2', script, '@', '@/t.%r.json']);
  await job.files(/^going\.\d$/, 2);
  job.put('stop');
  t.equal(await job.status(), 0, job.err);
  for (const rank of [0, 1]) {
    checkWhole(t, job.read(`stopped.${rank}`), rank);
    t.equal(job.read(`t.${rank}.json`), job.read(`stopped.${rank}`), 'nothing comes after it');
  }
  t.same(await job.leftAfter(), []);
});

t.test('kill -9 of both ranks leaves valid files', async (t) => {
  const job = new Job(['-np', '2', '-x', 'HOROVOD_TIMELINE=@/t.%r.json', script, '@']);
  await job.files(/^going\.\d$/, 2);
  // What came since the last write is not in a file.
  const isWritten = (rank: number): boolean =>
    namesOf(readTrace(contentOf(path.join(job.folder, `t.${rank}.json`))), 'small').has('ALLREDUCE');
  t.ok(await until(() => [0, 1].every(isWritten), 60_000));
  for (const rank of [0, 1]) process.kill(Number(job.read(`going.${rank}`)), 'SIGKILL');
  await job.status();
  for (const rank of [0, 1]) {
    const trace = readTrace(job.read(`t.${rank}.json`));
    t.same(trace.problems, []);
    t.ok(namesOf(trace, 'small').has('ALLREDUCE'), `rank ${rank}`);
    t.notOk(
      trace.instants.some(({ name }) => name === 'COMMUNICATION_TOTALS'),
      'it was not stopped in order',
    );
  }
  t.same(await job.leftAfter(), []);
});

t.test('a file that is lost: one warning, and the job goes on', async (t) => {
  const job = new Job(['-np', '2', '--timeline-filename', '@/t.json', script, '@']);
  await job.files(/^going\.\d$/, 2);
  rmSync(path.join(job.folder, 't.json'));
  t.ok(await until(() => /ends here/.test(job.err), 60_000));
  job.put('stop');
  t.equal(await job.status(), 0, job.err);
  t.equal(job.err.match(/The timeline '.*t\.json' ends here: it was removed\. The job goes on without it\./g)?.length, 1, job.err);
  t.notOk(existsSync(path.join(job.folder, 't.json')));
  t.same(await job.leftAfter(), []);
});

t.test('a folder that is not there: the job says so and ends', async (t) => {
  const job = new Job(['-np', '2', '--timeline-filename', '@/nowhere/t.json', script, '@']);
  t.equal(await job.status(), 1);
  t.match(job.err, /UsageError: HOROVOD_TIMELINE: the timeline '.*\/nowhere\/t\.json' cannot be written: ENOENT/);
  t.same(await job.leftAfter(), []);
});

t.test('a communication thread that has ended: stopTimeline says that, and does not blame the disk', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-timeline-'));
  const { err } = await start(process.execPath, [worker('loses_its_thread.js'), path.join(folder, 't.json')]);
  rmSync(folder, { recursive: true, force: true });
  t.match(err, /The file of the timeline is not complete after 5 s: the communication thread does not answer\./);
});
