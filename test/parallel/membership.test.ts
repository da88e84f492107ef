/** Barriers with time-outs, join with uneven data, process sets: on real processes, each of which checks what it sees. */
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const sum = (numbers: readonly number[]): number => numbers.reduce((total, x) => total + x, 0);
const one = (x: number): Float32Array => Float32Array.of(x);
const alone = size === 1 ? 'needs two ranks' : false;

// ───── process sets ─────

t.test('what no process set is says so at the constructor', async (t) => {
  for (const ranks of [[], [-1], [0.5], [0, 0], [size], ['0'], undefined])
    t.throws(() => new hvd.ProcessSet(ranks as number[]), { code: 'ERR_HVD_USAGE' }, String(ranks));
  const set = new hvd.ProcessSet([0]);
  t.equal(set.id, null);
  t.same(set.ranks, [0]);
  t.throws(() => hvd.allreduce(one(1), { processSet: set }), { code: 'ERR_HVD_PROCESS_SET', message: /not registered.*addProcessSet/ });
  t.throws(() => hvd.allreduce(one(1), { processSet: [0] as unknown as hvd.ProcessSet }), { code: 'ERR_HVD_USAGE' });
});

t.test('the set of all ranks', async (t) => {
  t.same(hvd.globalProcessSet.ranks, everyone);
  t.equal(hvd.globalProcessSet.id, 0);
  t.equal(hvd.globalProcessSet.rank(), rank);
  t.equal(hvd.globalProcessSet.size(), size);
  t.same(hvd.allreduce(one(rank), { op: hvd.Sum, processSet: hvd.globalProcessSet }), one(sum(everyone)));
  t.throws(() => hvd.removeProcessSet(hvd.globalProcessSet), { code: 'ERR_HVD_USAGE' });
  t.throws(() => hvd.addProcessSet(everyone), { code: 'ERR_HVD_USAGE', message: /same ranks .*process set 0/ });
});

t.test('overlapping sets, all collectives, in whatever order the ranks call them', { skip: alone }, async (t) => {
  const first = hvd.addProcessSet([0]);
  const last = hvd.addProcessSet(new hvd.ProcessSet([size - 1]));
  const pair = size > 2 ? hvd.addProcessSet([size - 1, 0]) : hvd.globalProcessSet;
  const others = size > 2 ? hvd.addProcessSet(everyone.slice(1)) : last;
  const sets = [...new Set([first, last, pair, others, hvd.globalProcessSet])];
  t.same(pair.ranks, [0, size - 1]);
  for (const set of sets.filter((one) => !one.included())) {
    t.throws(() => hvd.allreduce(one(1), { processSet: set }), { code: 'ERR_HVD_PROCESS_SET', message: /no member/ });
    t.throws(() => set.rank(), { code: 'ERR_HVD_PROCESS_SET' });
  }
  const mine = sets.filter((one) => one.included());
  for (let round = 0; round < 3; round += 1) {
    const calls = [...mine.keys()].sort((a, b) => ((a * 7 + rank * 3 + round) % 5) - ((b * 7 + rank * 3 + round) % 5));
    const handles = new Map(
      calls.map((i) => [i, hvd.allreduceAsync(new Float32Array(3000).fill(rank + 1), { name: 'x', op: hvd.Average, processSet: mine[i] })]),
    );
    for (const [i, handle] of handles) {
      const { ranks } = mine[i]!;
      const result = hvd.synchronize(handle);
      t.ok(
        result.every((x) => Math.abs(x - (sum([...ranks]) / ranks.length + 1)) < 1e-5),
        `set of ${ranks.join()}, round ${round}`,
      );
    }
    for (const set of mine) {
      const { ranks } = set;
      t.same(hvd.allgather(Int32Array.of(rank), { processSet: set }), Int32Array.from(ranks));
      t.same(hvd.broadcast(one(rank), ranks.at(-1)!, { processSet: set }), one(ranks.at(-1)!));
      const n = ranks.length;
      const { output, receivedSplits } = hvd.alltoall(
        Int32Array.from(ranks, (to) => 10 * rank + to),
        null,
        { processSet: set },
      );
      t.same(
        output,
        Int32Array.from(ranks, (from) => 10 * from + rank),
      );
      t.same(receivedSplits, new Int32Array(n).fill(1));
      const part = hvd.reducescatter(
        Float32Array.from({ length: n + 1 }, (_, i) => i),
        { op: hvd.Sum, processSet: set, compression: hvd.Compression.bf16 },
      );
      t.same(part, Float32Array.from(set.rank() === 0 ? [0, n] : [(set.rank() + 1) * n]));
      t.same(
        hvd.allgatherObject({ rank }, { processSet: set }),
        ranks.map((r) => ({ rank: r })),
      );
      t.equal(set.rank(), ranks.indexOf(rank));
      hvd.barrier({ processSet: set });
    }
  }
  if (pair.included() && size > 2)
    t.throws(() => hvd.broadcast(one(1), 1, { processSet: pair }), { code: 'ERR_HVD_USAGE', message: /global rank of the process set/ });
  t.throws(() => hvd.addProcessSet([0]), { code: 'ERR_HVD_USAGE', message: /registered already/ });
  const { id } = first;
  t.equal(hvd.removeProcessSet(first), true);
  t.equal(hvd.removeProcessSet(first), false);
  t.equal(first.id, null);
  hvd.addProcessSet(first);
  t.not(first.id, id, 'an id is never used twice');
  for (const set of [first, last, pair, others]) if (set !== hvd.globalProcessSet && set.id !== null) hvd.removeProcessSet(set);
});

t.test('ranks that register different sets are told, and the job goes on', { skip: size < 3 ? 'needs three ranks' : false }, async (t) => {
  t.throws(() => hvd.addProcessSet(rank === 0 ? [0] : [1]), { code: 'ERR_HVD_MISMATCH' });
  const set = hvd.addProcessSet([0, 1]);
  if (set.included())
    t.throws(() => hvd.allreduce(rank === 0 ? one(1) : new Float32Array(2), { processSet: set, name: 'y' }), {
      code: 'ERR_HVD_MISMATCH',
      message: /of process set \d+ \(rank 0 and 1\)/,
    });
  hvd.barrier();
  hvd.removeProcessSet(set);
});

// ───── barriers ─────

t.test('a barrier whose time passes names who was missing, also to whoever comes late', { skip: alone }, async (t) => {
  const late = (): unknown =>
    t.throws(() => hvd.barrier({ timeoutMs: 100 }), { code: 'ERR_HVD_STALL', message: /rank 1.* had not come to the barrier .*rank 0/ });
  if (rank === 0) late();
  // The others come when rank 0 has waited for them.
  hvd.broadcast(one(1), 0, { name: 'rank 0 has waited' });
  if (rank > 0) late();
  hvd.barrier({ timeoutMs: 60_000 });
  t.throws(() => hvd.barrier({ timeoutMs: 0 }), { code: 'ERR_HVD_USAGE' });
});

t.test('a barrier of one set waits for its members only, whatever is pending besides', { skip: alone }, async (t) => {
  const set = hvd.addProcessSet(everyone.slice(1));
  const pending = hvd.allreduceAsync(one(rank), { op: hvd.Sum, name: 'pending' });
  // Rank 0 waits for what rank 1 gives after the barrier: if that waited for rank 0, neither would go on.
  if (set.included()) hvd.barrier({ processSet: set, timeoutMs: 60_000 });
  t.same(hvd.broadcast(one(rank), 1, { name: 'after the barrier' }), one(1));
  t.same(await pending, one(sum(everyone)));
  hvd.removeProcessSet(set);
});

// ───── join ─────

t.test('ranks with less data contribute zeros, blocking or not, in full or from the cache', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    const steps = 2 + ((rank + round) % size) * 2;
    for (let step = 0; step < steps; step += 1) {
      const present = everyone.filter((r) => step < 2 + ((r + round) % size) * 2);
      const small = hvd.allreduce(one(rank + 1), { op: hvd.Sum, name: 'small' });
      t.same(small, one(sum(present) + present.length), `step ${step} of round ${round}`);
      const large = hvd.allreduce(new Float32Array(50_000).fill(1), { name: 'large' });
      t.ok(large.every((x) => Math.abs(x - present.length / size) < 1e-6));
      const ints = hvd.groupedAllreduce([new Int32Array(40_000).fill(2), Int32Array.of(rank)], { op: hvd.Sum });
      t.ok(ints[0]!.every((x) => x === 2 * present.length));
      t.same(ints[1], Int32Array.of(sum(present)));
      if (step % 2 === 1) hvd.barrier();
    }
    const last = hvd.join();
    const most = Math.max(...everyone.map((r) => (r + round) % size));
    t.equal(last, size === 1 ? 0 : everyone.find((r) => (r + round) % size === most));
  }
});

t.test('asynchronous calls, then join; unnamed calls are counted anew', async (t) => {
  const handles = Array.from({ length: rank + 1 }, () => hvd.allreduceAsync(one(1), { op: hvd.Sum }));
  const joined = hvd.joinAsync();
  t.throws(() => hvd.allreduce(one(1)), { code: 'ERR_HVD_USAGE', message: /has joined/ });
  for (const [i, handle] of handles.entries()) t.same(await handle, one(size - i));
  t.ok(everyone.includes(await joined));
  t.equal(hvd.allreduceAsync(one(1)).name, 'allreduce.noname.1');
  hvd.barrier();
});

t.test('while a rank has joined, other collectives are refused on the others', { skip: alone }, async (t) => {
  if (rank > 0) {
    t.throws(() => hvd.allgather(one(1), { name: 'g' }), { code: 'ERR_HVD_MISMATCH', message: /rank 0 .*has joined/ });
    t.throws(() => hvd.broadcast(one(1), 1, { name: 'b' }), { code: 'ERR_HVD_MISMATCH', message: /has joined/ });
    t.same(hvd.allreduce(one(1), { op: hvd.Max, name: 'm' }), one(1));
  }
  hvd.join();
  t.same(hvd.allgather(Int32Array.of(rank), { name: 'g' }), Int32Array.from(everyone), 'the same name works again');
});

t.test('join within a process set leaves the others alone', { skip: size < 3 ? 'needs three ranks' : false }, async (t) => {
  const set = hvd.addProcessSet([0, 1]);
  if (rank === 0) t.equal(hvd.join({ processSet: set }), 1);
  else if (rank === 1) {
    t.same(hvd.allreduce(one(5), { processSet: set, op: hvd.Sum, name: 'z' }), one(5));
    t.equal(hvd.join({ processSet: set }), 1);
  }
  t.same(hvd.allgather(Int32Array.of(rank)), Int32Array.from(everyone));
  hvd.removeProcessSet(set);
});

t.test('Adasum with a rank that has joined adds zeros', async (t) => {
  const steps = rank === 0 ? 1 : 2;
  for (let step = 0; step < steps; step += 1) {
    const present = step === 0 ? size : size - 1;
    const result = hvd.allreduce(Float32Array.of(3, 4), { op: hvd.Adasum, name: 'a' });
    t.ok(Math.abs(result[0]! - 3) < 1e-5 && Math.abs(result[1]! - 4) < 1e-5, `parallel vectors of ${present} ranks: their mean`);
  }
  hvd.join();
});

t.teardown(() => hvd.shutdown());

t.test('init() with process sets: registered in their order; a wrong one leaves this rank outside the job', async (t) => {
  t.throws(() => hvd.init({ processSet: [] } as hvd.InitOptions), { code: 'ERR_HVD_USAGE', message: /no option 'processSet'/ });
  t.throws(() => hvd.init({ processSets: [[0]] as unknown as hvd.ProcessSet[] }), { code: 'ERR_HVD_USAGE' });
  hvd.shutdown();
  const sets = size > 2 ? [new hvd.ProcessSet([0, size - 1]), new hvd.ProcessSet([size - 1])] : size > 1 ? [new hvd.ProcessSet([0])] : [];
  hvd.init({ processSets: sets });
  for (const [i, set] of sets.entries()) {
    t.equal(set.id, i + 1);
    if (set.included()) t.same(hvd.allreduce(one(1), { op: hvd.Sum, processSet: set }), one(set.size()));
  }
  hvd.barrier();
  hvd.shutdown();
  t.throws(() => hvd.init({ processSets: [new hvd.ProcessSet([size])] }), { code: 'ERR_HVD_USAGE', message: /outside the job/ });
  t.notOk(hvd.isInitialized());
  hvd.init();
  t.same(hvd.allreduce(one(1), { op: hvd.Sum }), one(size));
});
