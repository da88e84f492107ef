/** Simulated allreduces against the closed forms of the literature, and one host that stands for all against all hosts. */
import t, { type Test } from 'tap';
import { UsageError } from '../../../src/errors';
import { evenElems, isAlike, simulateAllreduce } from '../../../src/simulate/collective';
import type { Workload } from '../../../src/simulate/workload';
import { costlyNetwork, idealNetwork } from './network';

const lone = (elems: number): Workload => ({ buckets: [{ elems, readyAt: 0 }], computeSeconds: 0, updateSeconds: 0, steps: 1 });
const near = (t: Test, found: number, expected: number, share: number, what: string): void => {
  t.ok(Math.abs(found / expected - 1) <= share, `${what}: ${found} for ${expected}`);
};

t.test('a large ring takes 2(n−1)/n of its bytes at the rate of a link', async (t) => {
  const elems = 1 << 26;
  for (const ranks of [2, 3, 4, 8]) {
    const { stepSeconds } = simulateAllreduce(lone(elems), ranks, idealNetwork);
    const bound = (2 * (ranks - 1) * 4 * elems) / ranks / idealNetwork.rate;
    t.ok(stepSeconds >= bound * (1 - 1e-9), `${ranks} ranks are not faster than their links`);
    near(t, stepSeconds, bound, 0.04, `${ranks} ranks`);
  }
});

t.test('ranks that share a link of their host are as fast as one: a ring passes each link once', async (t) => {
  const elems = 1 << 24;
  const { stepSeconds } = simulateAllreduce(lone(elems), 16, { ...idealNetwork, ranksPerHost: 4 });
  near(t, stepSeconds, (2 * 15 * 4 * elems) / 16 / idealNetwork.rate, 0.04, '16 ranks on 4 hosts');
});

t.test('reducing on each host first takes 2(H−1)/H of the bytes at the rate of a link, and as many latencies', async (t) => {
  const elems = 1 << 24;
  const network = { ...idealNetwork, ranksPerHost: 4 };
  const large = simulateAllreduce(lone(elems), 16, network, 'hierarchical');
  near(t, large.stepSeconds, (2 * 3 * 4 * elems) / 4 / network.rate, 0.04, '16 ranks on 4 hosts');
  const small = simulateAllreduce(lone(1 << 10), 16, { ...network, rate: 1e15, localRate: 1e18, latency: 1e-3 }, 'hierarchical');
  near(t, small.stepSeconds, (2 + 2 * 3) * 1e-3, 1e-3, 'latencies');
});

t.test('a small ring takes 2(n−1) latencies, recursive doubling log2(n), and negotiation two', async (t) => {
  const network = { ...idealNetwork, rate: 1e15, latency: 1e-3 };
  for (const ranks of [2, 4, 16]) {
    near(t, simulateAllreduce(lone(1 << 14), ranks, network, 'ring').stepSeconds, (2 + 2 * (ranks - 1)) * 1e-3, 1e-3, `a ring of ${ranks}`);
    const doubling = simulateAllreduce(lone(16), ranks, network, 'recursive-doubling');
    near(t, doubling.stepSeconds, (2 + Math.log2(ranks)) * 1e-3, 1e-3, `doubling of ${ranks}`);
    const halving = simulateAllreduce(lone(1 << 14), ranks, network, 'halving-doubling');
    near(t, halving.stepSeconds, (2 + 2 * Math.log2(ranks)) * 1e-3, 1e-3, `halving and doubling of ${ranks}`);
  }
});

t.test('a switch that carries less than all links together is what a ring waits for', async (t) => {
  const elems = 1 << 24;
  const { stepSeconds } = simulateAllreduce(lone(elems), 4, { ...idealNetwork, switchRate: 2e9 });
  near(t, stepSeconds, (2 * 3 * 4 * elems) / 2e9, 0.05, 'four ranks');
});

t.test('threads that share cores wait for each other', async (t) => {
  const network = { ...idealNetwork, rate: 1e15, costs: { ...idealNetwork.costs, sendByte: 1e-9 }, hostsPerMachine: 4 };
  const [few, many] = [1, 4].map((cores) => simulateAllreduce(lone(1 << 22), 4, { ...network, cores }).stepSeconds);
  near(t, few! / many!, 4, 0.1, 'one core to four');
});

t.test('one host stands for all: the same times, to rounding, as when every rank is simulated', async (t) => {
  const cases = [
    { ranks: 4, ranksPerHost: 1, elems: [1 << 18, 12, 1 << 20] },
    { ranks: 8, ranksPerHost: 2, elems: [1 << 19] },
    { ranks: 12, ranksPerHost: 4, elems: [100_003] },
    { ranks: 32, ranksPerHost: 8, elems: [1001, 1_000_000] },
    { ranks: 3, ranksPerHost: 1, elems: [5_000_000] },
    { ranks: 12, ranksPerHost: 4, elems: [100_003], way: 'hierarchical' as const },
    { ranks: 12, ranksPerHost: 4, elems: [5_000_000], way: 'hierarchical' as const, share: 0.02 },
    { ranks: 8, ranksPerHost: 2, elems: [12, 1 << 14], way: 'auto' as const },
  ];
  for (const { ranks, ranksPerHost, elems, way = 'ring' as const, share = 1e-9 } of cases) {
    const network = { ...costlyNetwork, ranksPerHost };
    const buckets = elems.map((count, i) => ({ elems: evenElems(count, ranks), readyAt: 1e-3 * i }));
    const workload: Workload = { buckets, computeSeconds: 4e-3, updateSeconds: 1e-3, steps: 3 };
    const one = simulateAllreduce(workload, ranks, network, way);
    const every = simulateAllreduce(workload, ranks, network, way, true);
    t.equal(one.isOneHost, true);
    t.equal(every.isOneHost, false);
    t.ok(one.events < every.events, 'and less happens');
    for (const [step, end] of one.ends.entries())
      near(t, end, every.ends[step]!, share, `${ranks} ranks, ${ranksPerHost} a host, step ${step}`);
  }
});

t.test('one host does not stand for hosts that differ', async (t) => {
  const network = { ...idealNetwork, ranksPerHost: 4 };
  t.equal(isAlike(lone(1 << 20), 16, network), true);
  t.equal(isAlike(lone(1 << 20), 12, network), true, 'a ring has any number of hosts');
  t.equal(isAlike(lone(16), 12, network, 'hierarchical'), true, 'and rings on and between hosts');
  t.equal(isAlike(lone(16), 12, network, 'recursive-doubling'), false, 'doubling has not');
  t.equal(isAlike(lone(16), 16, network, 'recursive-doubling'), true, 'unless all are powers of two');
  t.equal(isAlike(lone(16), 16, network, 'halving-doubling'), false, 'halves are not alike');
  t.equal(isAlike(lone(16), 16, network, 'tree'), false, 'a tree has one root');
  t.equal(isAlike(lone(1 << 20), 14, network), false, 'a host with fewer ranks');
  t.equal(isAlike(lone(1 << 20), 4, network), false, 'there is one host');
  t.equal(isAlike(lone(1 << 20), 16, { ...network, switchRate: 1e9 }), false);
  t.equal(isAlike(lone(1 << 20), 16, { ...network, hostsPerMachine: 2 }), false);
});

t.test('elements are added until all chunks of all blocks are equal, fewer than one for each chunk', async (t) => {
  for (const [elems, ranks] of [
    [1, 4],
    [1000, 7],
    [5_000_000, 3],
  ] as const) {
    const even = evenElems(elems, ranks);
    const blocks = Math.ceil(elems / (ranks * (1 << 18)));
    t.equal(even % (ranks * blocks), 0);
    t.ok(even >= elems && even - elems < ranks * blocks, `${elems} on ${ranks}: ${even}`);
  }
});

t.test('the same input gives the same times', async (t) => {
  const run = (): unknown => simulateAllreduce({ ...lone(123_457), steps: 2 }, 6, { ...costlyNetwork, ranksPerHost: 2 });
  t.same(run(), run());
});

t.test('4,096 ranks', async (t) => {
  const network = { ...costlyNetwork, ranksPerHost: 8 };
  const { stepSeconds, isOneHost } = simulateAllreduce(lone(1 << 20), 4096, network);
  t.equal(isOneHost, true);
  t.ok(stepSeconds > 2 * 4095 * network.costs.message, 'each of the 2(n−1) messages of a rank costs its thread something');
});

t.test('what would take too long is refused, and numbers that make no sense', async (t) => {
  t.throws(() => simulateAllreduce(lone(1 << 26), 4095, { ...idealNetwork, ranksPerHost: 8 }), UsageError);
  for (const wrong of [{ rate: 0 }, { latency: -1 }, { cores: 1.5 }, { ranksPerHost: 0 }, { switchRate: Number.NaN }, { localRate: 0 }])
    t.throws(() => simulateAllreduce(lone(8), 2, { ...idealNetwork, ...wrong }), UsageError, JSON.stringify(wrong));
});
