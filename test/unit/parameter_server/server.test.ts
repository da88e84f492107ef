import t from 'tap';
import { makeServing, type Settings, type TestWorker } from './serving';

const sgd: Settings = { workers: 3, servers: 2, rule: { kind: 'sgd' }, mode: { kind: 'sync' }, buckets: [[5, 40_000], [7]] };
const initial = (bucket: number, i: number): number => bucket + (i % 11) / 8;
const all = <R>(workers: readonly TestWorker[], act: (worker: TestWorker) => Promise<R>): Promise<R[]> => Promise.all(workers.map(act));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('training begins with worker 0’s variables', async (t) => {
  const { workers } = makeServing(sgd);
  await all(workers, (worker) => worker.open(initial));
  for (const worker of workers)
    for (const bucket of [0, 1])
      t.ok(
        worker.values(bucket).every((value, i) => value === Math.fround(initial(bucket, i))),
        `${worker.rank}, bucket ${bucket}`,
      );
});

for (const compression of ['none', 'fp16', 'bf16'] as const)
  t.test(`synchronous: the average of all gradients is applied once, compression ${compression}`, async (t) => {
    const { workers } = makeServing({ ...sgd, compression });
    await all(workers, (worker) => worker.open(initial));
    for (const step of [1, 2, 3]) await all(workers, (worker) => worker.push(step, () => worker.rank + step));
    // The average of rank + step over ranks 0, 1, 2 is 1 + step: 2 + 3 + 4 in three steps at rate 0.1.
    for (const worker of workers)
      for (const bucket of [0, 1])
        t.ok(
          worker.values(bucket).every((value, i) => Math.abs(value - (initial(bucket, i) - 0.9)) < 1e-6),
          `${worker.rank}, bucket ${bucket}`,
        );
    t.same([...workers[1]!.flags(0)], [1, 1, 0], 'all were updated, no step has failed');
  });

t.test(
  'synchronous: the rate that counts is worker 0’s; a worker without gradient counts as zeros; without any the variable is left alone',
  async (t) => {
    const { workers } = makeServing({ ...sgd, rule: { kind: 'momentum', momentum: 0.9, nesterov: false }, buckets: [[4, 4, 4]] });
    await all(workers, (worker) => worker.open(() => 1));
    await all(workers, (worker) =>
      worker.push(1, (_, i) => (worker.rank === 0 && i < 4 ? 0 : 3), {
        rate: worker.rank === 0 ? 0.5 : 99,
        without: worker.rank === 0 ? [0, 2] : [2],
      }),
    );
    const expected = [...Array(4).fill(1 - 0.5 * 2), ...Array(4).fill(1 - 0.5 * 3), ...Array(4).fill(1)];
    for (const worker of workers) {
      t.same([...worker.values(0)], expected, `values of ${worker.rank}`);
      t.same([...worker.flags(0)], [1, 1, 0, 0], `who was ever updated, for ${worker.rank}`);
    }
  },
);

t.test('synchronous: sums are in the order of the workers, whoever comes first', async (t) => {
  // In float32 (1e8 + 1) − 1e8 is 0 and (1e8 − 1e8) + 1 is 1.
  const gradients = [1e8, 1, -1e8];
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ]) {
    const { workers } = makeServing({ ...sgd, servers: 1, buckets: [[16]] });
    await all(workers, (worker) => worker.open(() => 0));
    const pushes: Array<Promise<void>> = [];
    for (const rank of order) {
      pushes.push(workers[rank]!.push(1, () => gradients[rank]!, { rate: 3 }));
      for (let i = 0; i < 20; i += 1) await turn();
    }
    await Promise.all(pushes);
    t.same([...new Set(workers[1]!.values(0))], [0], order.join());
  }
});

t.test('synchronous: a step that one worker fails in is applied on none, and the others are told', async (t) => {
  const { workers } = makeServing(sgd);
  await all(workers, (worker) => worker.open(initial));
  await all(workers, (worker) => worker.push(1, () => 1, { fails: worker.rank === 2 }));
  t.ok(
    workers.every((worker) => Number.isNaN(worker.flags(0)[2]!)),
    'marked',
  );
  t.ok(
    workers[0]!.values(0).every((value, i) => value === Math.fround(initial(0, i))),
    'nothing applied',
  );
  await all(workers, (worker) => worker.push(2, () => 1));
  t.ok(
    workers[0]!.values(0).every((value, i) => Math.abs(value - initial(0, i) + 0.1) < 1e-6),
    'the next step is right',
  );
});

t.test('asynchronous: every push is applied, whoever leaves, and nobody waits', async (t) => {
  const { workers, servers } = makeServing({ ...sgd, mode: { kind: 'async' } });
  await all(workers, (worker) => worker.open(() => 0));
  for (let step = 1; step <= 5; step += 1) await workers[1]!.push(step, () => 1, { rate: 0.125 });
  await workers[2]!.push(1, () => 1, { rate: 0.125 });
  for (const server of servers) server.depart(2);
  await workers[0]!.push(1, () => 1, { rate: 0.125 });
  t.same([...new Set(workers[0]!.values(0))], [-7 / 8]);
});

t.test('stale-synchronous: nobody is further ahead than the bound; who leaves is not waited for', async (t) => {
  const { workers, servers } = makeServing({ ...sgd, mode: { kind: 'ssp', staleness: 2 } });
  await all(workers, (worker) => worker.open(() => 0));
  const finished = [0, 0, 0];
  const run = async (rank: number): Promise<void> => {
    for (let step = 1; step <= 8; step += 1) {
      await workers[rank]!.push(step, () => 1);
      finished[rank] = step;
    }
  };
  const [first, second] = [run(0), run(1)];
  for (let i = 0; i < 400; i += 1) await turn();
  t.same(finished, [2, 2, 0], 'two steps ahead of the one that has not begun');
  await workers[2]!.push(1, () => 1);
  for (let i = 0; i < 400; i += 1) await turn();
  t.same(finished.slice(0, 2), [3, 3]);
  for (const server of servers) server.depart(2);
  await Promise.all([first, second]);
  t.same(finished.slice(0, 2), [8, 8]);
});

t.test('slots are given, fetched, and come with the steps they have seen', async (t) => {
  const { workers } = makeServing({ ...sgd, rule: { kind: 'momentum', momentum: 0.5, nesterov: false } });
  await all(workers, (worker) => worker.open(initial));
  for (const step of [1, 2]) await all(workers, (worker) => worker.push(step, () => 1));
  t.equal(await workers[1]!.fetch(1), 2);
  t.ok(workers[1]!.values(0).every((value) => value === 1.5));
});

t.test('workers that disagree are told about what', async (t) => {
  const { workers } = makeServing(sgd);
  const opened = await Promise.allSettled(
    workers.map((worker) =>
      worker.open(initial, worker.rank === 1 ? { rule: { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-7 } } : {}),
    ),
  );
  const refused = opened.flatMap((one) => (one.status === 'rejected' ? [one.reason as { code: string; message: string }] : []));
  t.ok(refused.length >= 2, `${refused.length} are told`);
  t.match(refused[0], { code: 'ERR_HVD_MISMATCH', message: /differ in rule: .*"sgd".*"adam"|differ in rule: .*"adam".*"sgd"/ });
});

t.test('synchronous: a worker that is gone ends the optimizer for the others, now and later', async (t) => {
  const { workers, servers } = makeServing(sgd);
  await all(workers, (worker) => worker.open(initial));
  const waiting = workers[0]!.push(1, () => 1);
  for (let i = 0; i < 50; i += 1) await turn();
  for (const server of servers) server.depart(1);
  await t.rejects(waiting, { code: 'ERR_HVD_PEER', message: /rank 1/ });
  await t.rejects(
    workers[2]!.push(1, () => 1),
    { code: 'ERR_HVD_PEER' },
  );
});

t.test('what is closed by all, or left behind, is freed; the name can be used again', async (t) => {
  for (const kind of ['sync', 'async'] as const) {
    const { workers, servers } = makeServing({ ...sgd, rule: { kind: 'momentum', momentum: 0.5, nesterov: false }, mode: { kind } });
    const before = servers.map(({ usedBytes }) => usedBytes);
    for (let round = 0; round < 3; round += 1) {
      await all(workers, (worker) => worker.open(initial));
      await all(workers, (worker) => worker.push(1, () => 1, { rate: 0.5 }));
      t.ok(
        workers[0]!.values(0).every((value, i) => value < initial(0, i)),
        'trained anew',
      );
      t.ok(servers.every(({ usedBytes }, i) => usedBytes > before[i]!));
      await all(workers, (worker) => worker.close());
      t.same(
        servers.map(({ usedBytes }) => usedBytes),
        before,
        `${kind}: nothing is held after round ${round}`,
      );
    }
    await all(workers, (worker) => worker.open(initial));
    for (const server of servers) for (const worker of workers) server.depart(worker.rank);
    t.same(
      servers.map(({ usedBytes }) => usedBytes),
      before,
      `${kind}: nor when all have left`,
    );
  }
});

t.test('synchronous: an optimizer that one worker closes cannot go on, and can still be closed by the others', async (t) => {
  const { workers, servers } = makeServing(sgd);
  await all(workers, (worker) => worker.open(initial));
  await workers[1]!.close();
  await t.rejects(
    workers[0]!.push(1, () => 1),
    { code: 'ERR_HVD_PEER', message: /rank 1 has disposed of its optimizer/ },
  );
  await workers[0]!.close();
  await workers[2]!.close();
  t.same(
    servers.map(({ usedBytes }) => usedBytes),
    [0, 0],
  );
});

t.test('synchronous: what is held can be fetched after a worker has left, until somebody pushes', async (t) => {
  const { workers, servers } = makeServing({ ...sgd, rule: { kind: 'momentum', momentum: 0.5, nesterov: false } });
  await all(workers, (worker) => worker.open(initial));
  await all(workers, (worker) => worker.push(1, () => 2));
  for (const server of servers) server.depart(1);
  t.equal(await workers[0]!.fetch(1), 1);
  t.ok(workers[0]!.values(0).every((value) => value === 2));
  await t.rejects(
    workers[0]!.push(2, () => 1),
    { code: 'ERR_HVD_PEER', message: /rank 1/ },
  );
});

t.test(
  'a worker that does not come is named by the stall check: to the first step, to what training begins with, to the bound',
  async (t) => {
    const patience = { stallWarningMs: 0, stallFailMs: 1000 };
    const later = performance.now() + 5000;
    const stall = (servers: ReturnType<typeof makeServing>['servers']) => {
      for (const server of servers) server.inspectStalls(later);
    };
    const sync = makeServing(sgd, patience);
    await all(sync.workers, (worker) => worker.open(initial));
    const pushed = [0, 2].map((rank) => sync.workers[rank]!.push(1, () => 1));
    for (let i = 0; i < 100; i += 1) await turn();
    stall(sync.servers);
    for (const push of pushed) await t.rejects(push, { code: 'ERR_HVD_STALL', message: /push of worker 1\./ });
    const beginning = makeServing(sgd, patience);
    const opened = [1, 2].map((rank) => beginning.workers[rank]!.open(initial));
    for (let i = 0; i < 100; i += 1) await turn();
    stall(beginning.servers);
    for (const open of opened) await t.rejects(open, { code: 'ERR_HVD_STALL', message: /variables of worker 0/ });
    const bounded = makeServing({ ...sgd, mode: { kind: 'ssp', staleness: 1 } }, patience);
    await all(bounded.workers, (worker) => worker.open(initial));
    await all(bounded.workers.slice(0, 2), (worker) => worker.push(1, () => 1));
    const ahead = bounded.workers[0]!.push(2, () => 1);
    for (let i = 0; i < 100; i += 1) await turn();
    stall(bounded.servers);
    await t.rejects(ahead, { code: 'ERR_HVD_STALL', message: /worker 2 \(0 finished\)/ });
  },
);

t.test('synchronous pushes that wait on the wire for memory are let go when the step fails', async (t) => {
  const { workers, servers } = makeServing({ ...sgd, servers: 1 });
  (servers[0] as unknown as { memory: { spareBytes: number } }).memory.spareBytes = 0;
  await all(workers, (worker) => worker.open(initial));
  const waiting = workers[2]!.push(1, () => 1);
  for (let i = 0; i < 100; i += 1) await turn();
  servers[0]!.depart(1);
  await t.rejects(waiting, { code: 'ERR_HVD_PEER', message: /rank 1/ });
  // Its stream is read again.
  await workers[2]!.close();
  await workers[0]!.close();
  t.equal(servers[0]!.usedBytes, 0);
});

t.test('with no memory to spare steps are right all the same', async (t) => {
  const { workers, servers } = makeServing({ ...sgd, servers: 1 });
  (servers[0] as unknown as { memory: { spareBytes: number } }).memory.spareBytes = 0;
  await all(workers, (worker) => worker.open(() => 0));
  for (const step of [1, 2, 3]) await all([...workers].reverse(), (worker) => worker.push(step, () => worker.rank));
  t.ok(workers[1]!.values(0).every((value) => Math.abs(value + 0.3) < 1e-6));
});

t.test('a worker that speaks nonsense is given up, and named to its server’s owner', async (t) => {
  const { workers, lost } = makeServing({ ...sgd, servers: 1, mode: { kind: 'async' } });
  await all(workers, (worker) => worker.open(initial));
  void workers[1]!.push(1, () => 1, { rate: Number.NaN });
  for (let i = 0; i < 100; i += 1) await turn();
  t.match(lost, [{ worker: 1, error: { code: 'ERR_HVD_WIRE' } }]);
  await workers[0]!.push(1, () => 1);
  t.pass('the others go on');
});
