/** Costs against the closed forms of the literature; what a file of constants may say. */
import t, { type Test } from 'tap';
import { type CostModel, costModelText, costOf, defaultCostModel, parseCostModel, unfit } from '../../../src/collective/cost_model';
import { oneHost, topologyOf, trafficOf } from '../../../src/collective/topology';
import { UsageError } from '../../../src/errors';

const [alpha, beta, gamma] = [3, 5, 7];
const model: CostModel = {
  local: { latencySeconds: alpha, secondsPerByte: beta },
  remote: { latencySeconds: 10 * alpha, secondsPerByte: 10 * beta },
  reduceSecondsPerByte: gamma,
};
/** In one piece. */
const message = (bytes: number) => ({ bytes, chunkBytes: 1e9, segmentBytes: 1e9 });
const near = (t: Test, found: number, expected: number, what: string): void => {
  t.ok(Math.abs(found / expected - 1) < 1e-9, `${what}: ${found} for ${expected}`);
};

t.test('on one host, in one piece, costs are those of Thakur, Rabenseifner and Gropp', async (t) => {
  for (const p of [2, 4, 8, 64]) {
    const [n, log] = [p * 10, Math.log2(p)];
    const share = (p - 1) / p;
    const of = (algorithm: Parameters<typeof costOf>[0]): number => costOf(algorithm, message(n), oneHost(p), model);
    near(t, of('recursive-doubling'), log * (alpha + n * beta + n * gamma), `recursive doubling, ${p}`);
    near(t, of('halving-doubling'), 2 * log * alpha + 2 * share * n * beta + share * n * gamma, `halving-doubling, ${p}`);
    near(t, of('ring'), 2 * (p - 1) * alpha + 2 * share * n * beta + share * n * gamma, `ring, ${p}`);
    near(t, of('tree'), 2 * log * (alpha + n * beta) + log * n * gamma, `tree, ${p}`);
  }
});

t.test('extra ranks cost recursive doubling and halving a way there and back', async (t) => {
  const n = 12;
  const fold = 2 * (alpha + n * beta) + n * gamma;
  for (const algorithm of ['recursive-doubling', 'halving-doubling'] as const) {
    const [four, five] = [4, 5].map((size) => costOf(algorithm, message(n), oneHost(size), model)) as [number, number];
    near(t, five - four, fold, algorithm);
  }
});

t.test('segments hide the latencies of a ring, in any number of blocks, and not those of halving', async (t) => {
  const pieces = { bytes: 4000, segmentBytes: 100, chunkBytes: 500 };
  near(t, costOf('ring', pieces, oneHost(4), model), 3000 * (2 * beta + gamma), 'ring');
  near(t, costOf('halving-doubling', pieces, oneHost(4), model), 4 * alpha + 3000 * (2 * beta + gamma), 'halving-doubling');
});

t.test('messages that leave a host share its link; a host by itself does what it does beside what is between hosts', async (t) => {
  const hosts = topologyOf(['a', 'a', 'b', 'b']);
  const n = 16;
  near(t, costOf('recursive-doubling', message(n), hosts, model), 11 * alpha + n * (beta + 2 * 10 * beta) + 2 * n * gamma, 'two at a time');
  near(t, costOf('ring', message(n), hosts, model), 6 * 10 * alpha + (6 * n * 10 * beta) / 4 + (3 * n * gamma) / 4, 'one at a time');
  const local = 2 * alpha + n * beta + (n * gamma) / 2;
  const between = 20 * alpha + n * 10 * beta + (n * gamma) / 4;
  near(t, costOf('hierarchical', message(n), hosts, model), local + between, 'one block');
  const blocks = costOf('hierarchical', { bytes: 4 * n, segmentBytes: 1e9, chunkBytes: n / 4 }, hosts, model);
  near(t, blocks, local + 4 * between, 'four blocks');
});

t.test('who shares a host shares its name; traffic is that of the busiest host', async (t) => {
  const topology = topologyOf(['a', 'b', 'a', 'c', 'b']);
  t.same(topology, { hostOf: [0, 1, 0, 2, 1], byHost: [[0, 2], [1, 4], [3]] });
  t.same(
    trafficOf(topology, (rank) => (rank + 1) % 5),
    { isLocal: false, remote: 2 },
  );
  t.same(
    trafficOf(topology, (rank) => (rank === 0 ? 2 : undefined)),
    { isLocal: true, remote: 0 },
  );
  t.equal(unfit('hierarchical', topology), undefined);
  t.equal(unfit('hierarchical', oneHost(4)), 'all ranks are on one host');
  t.equal(unfit('hierarchical', topologyOf(['a', 'b'])), 'no two ranks share a host');
  t.equal(unfit('halving-doubling', oneHost(3)), undefined);
});

t.test('a file says what it says, and of links within a host or between hosts perhaps nothing', async (t) => {
  t.same(parseCostModel(costModelText(model), 'f'), model);
  const { remote: _, ...ofOneHost } = model;
  t.same(parseCostModel(JSON.stringify({ ...ofOneHost, measured: { cpu: 'x' } }), 'f'), { ...model, remote: defaultCostModel.remote });
  t.same(parseCostModel('{"reduceSecondsPerByte": 1}', 'f'), { ...defaultCostModel, reduceSecondsPerByte: 1 });
});

t.test('what makes no sense in a file is refused by name', async (t) => {
  const wrong: ReadonlyArray<readonly [text: string, message: RegExp]> = [
    ['{', /The cost model 'f\.json' \(TSRUN_COST_MODEL\): it is no JSON/],
    ['[]', /it is \[\], not an object/],
    ['{}', /reduceSecondsPerByte is undefined, not a number above 0/],
    [JSON.stringify({ ...model, gamma: 1 }), /it has 'gamma', but may have local, remote, reduceSecondsPerByte, measured/],
    [JSON.stringify({ ...model, local: { latencySeconds: 1 } }), /local\.secondsPerByte is undefined, not a number above 0/],
    [JSON.stringify({ ...model, remote: { ...model.remote, latencySeconds: -1 } }), /remote\.latencySeconds is -1, not a number above 0/],
    [JSON.stringify({ ...model, reduceSecondsPerByte: '1' }), /reduceSecondsPerByte is "1", not a number above 0/],
    [JSON.stringify({ ...model, remote: null }), /remote is null, not an object/],
  ];
  for (const [text, expected] of wrong) {
    t.throws(() => parseCostModel(text, 'f.json'), UsageError, text);
    t.throws(() => parseCostModel(text, 'f.json'), expected);
  }
});
