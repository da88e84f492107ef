/** startTimeline and stopTimeline as calls: what they refuse, what a second start does, process sets and joins in the file. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import * as hvd from '../../src/index';
import { readTrace, type Trace } from '../helpers/trace';

t.throws(() => hvd.startTimeline('/tmp/x'), { code: 'ERR_HVD_NOT_INITIALIZED' });
t.throws(() => hvd.stopTimeline(), { code: 'ERR_HVD_NOT_INITIALIZED' });

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-timeline-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => path.join(folder, name);
const read = (name: string): Trace => readTrace(readFileSync(at(name), 'utf8'));
const has = ({ slices }: Trace, process: string, name: string): boolean =>
  slices.some((slice) => slice.process === process && slice.name === name);

t.test('arguments are checked at the call', async (t) => {
  const refused = (act: () => void, message: RegExp): void => void t.throws(act, { constructor: hvd.UsageError, message });
  refused(() => hvd.startTimeline(''), /takes the path of a file/);
  refused(() => hvd.startTimeline(7 as never), /takes the path of a file/);
  refused(() => hvd.startTimeline(at('%r'), { markCycles: 1 as never }), /markCycles is true or false, but was 1/);
  refused(
    () => hvd.startTimeline(at('%r'), { markCycle: true } as never),
    /startTimeline\(\) has no option 'markCycle'. It has markCycles\./,
  );
  refused(
    () => hvd.startTimeline(at('%r'), null as never),
    /startTimeline\(\) takes its options as an object with markCycles, but was given null/,
  );
  t.same(readdirSync(folder), [], 'nothing was made');
  refused(() => hvd.startTimeline(at('nowhere/%r')), /nowhere.*cannot be written: ENOENT.*folder that exists/);
  hvd.stopTimeline();
  t.pass('a stop without a timeline does nothing');
});

t.test('without %r rank 0 alone writes; only some ranks may call', async (t) => {
  if (rank % 2 === 0) hvd.startTimeline(at('one'));
  hvd.allreduce(new Float32Array(3), { name: 'x' });
  if (rank % 2 === 0) hvd.stopTimeline();
  t.equal(existsSync(at('one')), rank === 0);
  if (rank === 0) t.ok(has(read('one'), 'x', 'ALLREDUCE'));
});

t.test('another start ends the one before; a refused one does not; the same path begins anew', async (t) => {
  const own = String(rank);
  hvd.startTimeline(at('first.%r'));
  hvd.allreduce(new Float32Array(3), { name: 'a' });
  t.throws(() => hvd.startTimeline(at('nowhere/%r')), { code: 'ERR_HVD_USAGE' });
  hvd.allreduce(new Float32Array(3), { name: 'b' });
  hvd.startTimeline(at('second.%r'));
  hvd.allreduce(new Float32Array(3), { name: 'c' });
  const first = read(`first.${own}`);
  t.same(first.problems, []);
  // Rank 0 may see more: what the others submit before it has stopped.
  t.same(first.processes.slice(1, 3), ['a', 'b']);
  t.ok(
    first.instants.some(({ name }) => name === 'COMMUNICATION_TOTALS'),
    'it is complete',
  );
  hvd.startTimeline(at('second.%r'));
  hvd.allreduce(new Float32Array(3), { name: 'd' });
  hvd.stopTimeline();
  t.equal(read(`second.${own}`).processes[1], 'd');
});

t.test('a call under way when it starts, and one under way when it stops', async (t) => {
  const before = hvd.allreduceAsync(new Float32Array(50_000), { name: 'before' });
  hvd.startTimeline(at('middle.%r'), { markCycles: true });
  hvd.synchronize(before);
  hvd.allreduce(new Float32Array(3), { name: 'inside' });
  const after = hvd.allreduceAsync(new Float32Array(50_000), { name: 'after' });
  hvd.stopTimeline();
  hvd.synchronize(after);
  const trace = read(`middle.${rank}`);
  t.same(trace.problems, []);
  t.ok(has(trace, 'inside', 'ALLREDUCE'));
  t.ok(trace.slices.every(({ until }) => Number.isFinite(until)));
});

t.test('adasum, reducescatter, joins: each has its activity', async (t) => {
  hvd.startTimeline(at('kinds.%r'));
  hvd.allreduce(new Float32Array(100), { name: 'together', op: 'adasum' });
  hvd.reducescatter(new Float32Array(10), { name: 'parts' });
  if (rank > 0) hvd.allreduce(new Float32Array(4000), { name: 'of some' });
  hvd.join();
  hvd.stopTimeline();
  const trace = read(`kinds.${rank}`);
  t.same(trace.problems, []);
  t.ok(has(trace, 'together', 'ADASUM_ALLREDUCE'));
  t.ok(has(trace, 'parts', 'RING_REDUCESCATTER'));
  t.ok(has(trace, 'khorovod.join', 'JOIN'));
  // Rank 0 contributes zeros.
  if (size > 1) t.ok(has(trace, 'of some', 'ALLREDUCE'));
});

async function negotiatesWithoutZero(t: Test): Promise<void> {
  const set = hvd.addProcessSet([1, 2]);
  hvd.startTimeline(at('sets.%r'));
  hvd.barrier();
  if (set.included()) hvd.allreduce(new Float32Array(3), { name: 'theirs', processSet: set });
  hvd.barrier();
  hvd.stopTimeline();
  const trace = read(`sets.${rank}`);
  t.same(trace.problems, []);
  t.equal(has(trace, 'theirs', 'NEGOTIATE_ALLREDUCE'), rank <= 2);
  t.equal(has(trace, 'theirs', 'ALLREDUCE'), set.included());
  if (rank === 0) for (const tick of ['1', '2']) t.ok(has(trace, 'theirs', tick));
  hvd.removeProcessSet(set);
}
if (size > 2) t.test('rank 0 shows what process sets without it negotiate', negotiatesWithoutZero);

t.test('shutdown() completes it', async (t) => {
  hvd.startTimeline(at('last.%r'));
  hvd.allreduce(new Float32Array(3), { name: 'x' });
  hvd.shutdown();
  const trace = read(`last.${rank}`);
  t.same(trace.problems, []);
  t.ok(trace.instants.some(({ name }) => name === 'COMMUNICATION_TOTALS'));
});
