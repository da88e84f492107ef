/** Simulated training steps: overlap, buckets, strategies by name, what is refused. */
import t from 'tap';
import { UsageError } from '../../../src/errors';
import { rateOf, secondsOf } from '../../../src/simulate/settings';
import { type Job, simulateTraining, strategyOf, wireSeconds, workloadOf } from '../../../src/simulate/training';
import { makeBuckets } from '../../../src/tensorflow/buckets';
import { idealNetwork } from './network';

const sizes = Array.from({ length: 40 }, () => 1 << 19);
const backwardMs = sizes.map((_, i) => 1 + (i % 3));
const job: Job = {
  profile: { forwardMs: 20, backwardMs },
  sizes,
  batchSize: 32,
  workers: 4,
  network: idealNetwork,
  strategy: { kind: 'ring' },
};
const computing = (20 + backwardMs.reduce((all, one) => all + one, 0)) / 1000;

t.test('buckets are those of DistributedOptimizer and leave with their last gradient', async (t) => {
  const { buckets, computeSeconds } = workloadOf(job, 1);
  const made = makeBuckets(sizes);
  t.same(
    buckets.map(({ elems }) => elems),
    made.map(({ elems }) => elems),
  );
  t.ok(Math.abs(computeSeconds - computing) < 1e-12);
  const first = made[0]!.slots.reduce((ms, { variable }) => ms + backwardMs[variable]!, 20);
  t.ok(Math.abs(buckets[0]!.readyAt - first / 1000) < 1e-12, 'the first');
  t.ok(Math.abs(buckets.at(-1)!.readyAt - computing) < 1e-12, 'the last with the first variable');
});

t.test('communication hides behind a long backward pass, and decides when it is longer', async (t) => {
  const fast = simulateTraining({ ...job, network: { ...idealNetwork, rate: 1e11 } });
  t.ok(fast.stepSeconds < 1.02 * computing && fast.stepSeconds >= computing, `${fast.stepSeconds} for ${computing}`);
  const network = { ...idealNetwork, rate: 1e8 };
  const slow = simulateTraining({ ...job, network });
  t.ok(slow.stepSeconds >= slow.boundSeconds, 'no faster than the links');
  t.ok(slow.stepSeconds < slow.boundSeconds + computing, 'a part is hidden');
  t.equal(slow.imagesPerSec, (4 * 32) / slow.stepSeconds);
  t.equal(slow.efficiency, slow.aloneSeconds / slow.stepSeconds);
});

t.test('a worker alone exchanges nothing', async (t) => {
  const { stepSeconds, efficiency } = simulateTraining({ ...job, workers: 1 });
  t.ok(Math.abs(stepSeconds - computing) < 1e-12);
  t.ok(Math.abs(efficiency - 1) < 1e-12);
});

t.test('no strategy is faster than its bound', async (t) => {
  for (const name of ['ring', 'ps-sync', 'ps-async', 'ps-sync:1', 'ps-async:3'])
    for (const workers of [2, 3, 8]) {
      const { stepSeconds, boundSeconds } = simulateTraining({
        ...job,
        workers,
        strategy: strategyOf(name),
        network: { ...idealNetwork, ranksPerHost: 2 },
      });
      t.ok(stepSeconds >= boundSeconds * (1 - 1e-3), `${name}, ${workers} workers: ${stepSeconds} for ${boundSeconds}`);
    }
});

t.test('what the busiest link carries', async (t) => {
  const workload = { buckets: [{ elems: 250, readyAt: 0 }], computeSeconds: 0, updateSeconds: 0, steps: 1 };
  const network = { ...idealNetwork, rate: 1000 };
  const of = (name: string, workers: number, ranksPerHost = 1): number =>
    wireSeconds(workload, { workers, strategy: strategyOf(name), network: { ...network, ranksPerHost } });
  t.equal(of('ring', 4), 1.5);
  t.equal(of('ring', 4, 4), 0, 'one host');
  t.equal(of('ps-sync', 4), 1.5);
  t.equal(of('ps-sync:1', 8), 8);
  t.equal(of('ps-sync:8', 4), 1);
  t.equal(of('ps-sync:8', 8, 4), 4, 'four workers share a link');
});

t.test('strategies, rates and times by name', async (t) => {
  t.same(strategyOf('ps-async'), { kind: 'servers', mode: 'async', servers: 'colocated' });
  t.same(strategyOf('ps-sync:4'), { kind: 'servers', mode: 'sync', servers: 4 });
  t.equal(rateOf('25gbit'), 3.125e9);
  t.equal(secondsOf('20us'), 20e-6);
  for (const name of ['tree', 'ps-sync:0', 'ps-sync:', 'ring:2']) t.throws(() => strategyOf(name), UsageError, name);
  for (const text of ['25', '0gbit', 'gbit', '-1mbit']) t.throws(() => rateOf(text), UsageError, text);
  for (const text of ['20', 'us', '1min']) t.throws(() => secondsOf(text), UsageError, text);
});

t.test('a profile of another network, and numbers that make no sense, are refused', async (t) => {
  t.throws(() => simulateTraining({ ...job, profile: { forwardMs: 1, backwardMs: [1] } }), /40/);
  t.throws(() => simulateTraining({ ...job, profile: { forwardMs: -1, backwardMs } }), UsageError);
  for (const workers of [0, 1.5]) t.throws(() => simulateTraining({ ...job, workers }), UsageError);
  t.throws(() => simulateTraining({ ...job, batchSize: 0 }), UsageError);
});
