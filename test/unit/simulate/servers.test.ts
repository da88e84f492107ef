/** Simulated parameter servers against the closed forms of Jiang et al. (OSDI 2020). */
import t, { type Test } from 'tap';
import { UsageError } from '../../../src/errors';
import { type ServersSpec, simulateServers } from '../../../src/simulate/servers';
import type { Workload } from '../../../src/simulate/workload';
import { costlyNetwork, idealNetwork } from './network';

const BUCKETS = 64;
const BUCKET_ELEMS = 1 << 20;
const BYTES = 4 * BUCKETS * BUCKET_ELEMS;
const many: Workload = {
  buckets: Array.from({ length: BUCKETS }, () => ({ elems: BUCKET_ELEMS, readyAt: 0 })),
  computeSeconds: 0,
  updateSeconds: 0,
  steps: 1,
};
const sync = (servers: ServersSpec['servers']): ServersSpec => ({ mode: 'sync', servers });
const near = (t: Test, found: number, expected: number, share: number, what: string): void => {
  t.ok(found >= expected * (1 - 1e-9), `${what} is not faster than the links: ${found} for ${expected}`);
  t.ok(found <= expected * (1 + share), `${what}: ${found} for ${expected}`);
};

t.test('servers of their own: a worker’s link or a server’s is what a step waits for', async (t) => {
  for (const [workers, servers] of [
    [2, 1],
    [4, 1],
    [8, 1],
    [4, 2],
    [2, 4],
    [4, 4],
    [8, 4],
  ] as const) {
    const bound = (BYTES / idealNetwork.rate) * Math.max(1, workers / servers);
    near(t, simulateServers(many, workers, idealNetwork, sync(servers)).stepSeconds, bound, 0.1, `${workers} workers, ${servers} servers`);
  }
});

t.test('servers on the workers’ hosts take as long as a ring', async (t) => {
  for (const workers of [2, 4, 8]) {
    const bound = (2 * (workers - 1) * BYTES) / workers / idealNetwork.rate;
    near(t, simulateServers(many, workers, idealNetwork, sync('colocated')).stepSeconds, bound, 0.1, `${workers} workers`);
  }
});

t.test('what workers say passes a link for each of them', async (t) => {
  const { stepSeconds } = simulateServers(many, 8, { ...idealNetwork, ranksPerHost: 4 }, sync(4));
  near(t, stepSeconds, (4 * BYTES) / idealNetwork.rate, 0.1, '8 workers on 2 hosts');
});

t.test('a small step takes two latencies', async (t) => {
  const small = { ...many, buckets: [{ elems: 8, readyAt: 0 }] };
  const { stepSeconds } = simulateServers(small, 4, { ...idealNetwork, rate: 1e15, latency: 1e-3 }, sync(1));
  near(t, stepSeconds, 2e-3, 1e-3, 'there and back');
});

t.test('a step ends when the last bucket is back, and the next begins then', async (t) => {
  const late = { ...many, buckets: [{ elems: 1 << 18, readyAt: 0.5 }], computeSeconds: 0.5, steps: 3 };
  const { ends } = simulateServers(late, 2, idealNetwork, sync(2));
  for (const [step, end] of ends.entries()) near(t, end, (step + 1) * (0.5 + 2 * ((4 << 18) / 2) * 2e-9), 0.01, `step ${step}`);
});

t.test('asynchronous servers apply every gradient; synchronous ones add, and apply once', async (t) => {
  const network = { ...idealNetwork, rate: 1e15, costs: { ...idealNetwork.costs, applyByte: 4e-9, reduceByte: 1e-9 } };
  const [async, sums] = (['async', 'sync'] as const).map((mode) => simulateServers(many, 8, network, { mode, servers: 1 }).stepSeconds);
  near(t, async!, 8 * 4e-9 * BYTES, 0.01, 'eight updates');
  near(t, sums!, (7 * 1e-9 + 4e-9) * BYTES, 0.01, 'seven sums and an update');
});

t.test('the same input gives the same times', async (t) => {
  for (const mode of ['sync', 'async'] as const) {
    const run = (): unknown =>
      simulateServers({ ...many, steps: 2 }, 6, { ...costlyNetwork, ranksPerHost: 2 }, { mode, servers: 'colocated' });
    t.same(run(), run(), mode);
  }
});

t.test('4,096 workers', async (t) => {
  const few = { ...many, buckets: many.buckets.slice(0, 1) };
  const { stepSeconds } = simulateServers(few, 4096, { ...idealNetwork, ranksPerHost: 8 }, sync(64));
  near(t, stepSeconds, (2 * 64 * 4 * BUCKET_ELEMS) / idealNetwork.rate, 0.1, '64 servers, one bucket, there and back');
});

t.test('no server is refused', async (t) => {
  t.throws(() => simulateServers(many, 2, idealNetwork, sync(0)), UsageError);
  t.throws(() => simulateServers(many, 2, idealNetwork, sync(1.5)), UsageError);
});
