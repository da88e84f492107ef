import t from 'tap';
import {
  COPY_SEGMENT_BYTES,
  chooseAllreduce,
  defaultPolicy,
  isStarAllreduce,
  LEAST_SEGMENT_BYTES,
  MOST_CHUNK_BYTES,
  MOST_SEGMENT_BYTES,
  type Selected,
  STAR_MAX_BYTES,
  selectAllgather,
  selectAllreduce,
  selectAlltoall,
  selectBroadcast,
  selectReduceScatter,
  TREE_MAX_BYTES,
} from '../../../src/collective/select';
import { oneHost, topologyOf } from '../../../src/collective/topology';
import { type Algorithm, algorithms } from '../../../src/config';

const longestBytes = ({ plan }: Selected, bytesPerElem: number): number =>
  Math.max(0, ...plan.sends.map(({ from, until }) => (until - from) * bytesPerElem));

/** Of four bytes. */
const allreduce = (size: number, elems: number, bytesPerElem = 4, among: readonly Algorithm[] = algorithms): Selected =>
  selectAllreduce({ rank: 0, elems, bytesPerElem }, oneHost(size), { ...defaultPolicy, among });

const [KIB, MIB, GIB] = [1 << 10, 1 << 20, 1 << 30];
/** Hosts × ranks on each, and what is chosen for 1 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB, 64 MiB and 1 GiB. */
const table: ReadonlyArray<readonly [hosts: number, ranks: number, chosen: string]> = [
  [1, 2, 'doubling doubling doubling ring ring ring ring'],
  [1, 3, 'doubling doubling ring ring ring ring ring'],
  [1, 4, 'doubling doubling doubling halving ring ring ring'],
  [1, 8, 'doubling doubling doubling halving ring ring ring'],
  [1, 16, 'doubling doubling doubling halving halving ring ring'],
  [2, 1, 'doubling doubling doubling ring ring ring ring'],
  [4, 1, 'doubling doubling doubling halving ring ring ring'],
  [2, 2, 'doubling doubling halving hosts hosts hosts hosts'],
  [4, 2, 'doubling doubling halving halving ring hosts hosts'],
  [2, 8, 'doubling halving halving halving hosts hosts hosts'],
];
const shortNames: Record<string, Algorithm> = {
  doubling: 'recursive-doubling',
  halving: 'halving-doubling',
  hosts: 'hierarchical',
  ring: 'ring',
};
const hostsOf = (hosts: number, ranks: number) =>
  topologyOf(Array.from({ length: hosts * ranks }, (_, rank) => `h${Math.floor(rank / ranks)}`));

for (const [hosts, ranks, chosen] of table) {
  for (const [i, bytes] of [KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 64 * MIB, GIB].entries()) {
    const choice = chooseAllreduce(bytes, hostsOf(hosts, ranks), defaultPolicy);
    t.test(`${hosts} host(s) of ${ranks}: ${choice.reason}`, async (t) => {
      t.equal(choice.algorithm, shortNames[chosen.split(' ')[i]!]);
    });
  }
}

t.test('what was asked for is taken, and where it is none for these ranks the reason says so', async (t) => {
  for (const algorithm of algorithms) {
    const choice = chooseAllreduce(MIB, hostsOf(2, 2), { ...defaultPolicy, among: [algorithm] });
    t.same(choice, { algorithm, reason: `1048576 bytes: ${algorithm} was asked for` });
  }
  const asked = { ...defaultPolicy, among: ['hierarchical' as const] };
  const alone = chooseAllreduce(MIB, hostsOf(1, 4), asked);
  t.equal(alone.algorithm, 'halving-doubling');
  t.match(alone.reason, /^hierarchical does not apply: all ranks are on one host; 1048576 bytes on 4 ranks of 1 host\(s\) take/);
  t.match(chooseAllreduce(KIB, hostsOf(4, 1), asked).reason, /^hierarchical does not apply: no two ranks share a host; /);
  const flat = { ...defaultPolicy, among: algorithms.filter((one) => one !== 'hierarchical') };
  t.equal(chooseAllreduce(64 * MIB, hostsOf(2, 2), flat).algorithm, 'halving-doubling');
});

t.test('all ranks choose the same, and the plan is that of the algorithm', async (t) => {
  const topology = topologyOf(['a', 'b', 'a', 'b', 'c']);
  const chosen = [0, 1, 2, 3, 4].map((rank) => selectAllreduce({ rank, elems: MIB, bytesPerElem: 4 }, topology, defaultPolicy));
  t.equal(new Set(chosen.map(({ reason }) => reason)).size, 1);
  t.equal(chosen[0]!.algorithm, 'hierarchical', 'hosts by turns, one of them of one rank');
  const partners: Record<Algorithm, number[]> = {
    ring: [3],
    'recursive-doubling': [3, 0],
    'halving-doubling': [3, 0],
    hierarchical: [0],
    tree: [0, 3],
  };
  for (const among of algorithms) {
    const selected = selectAllreduce({ rank: 2, elems: 50, bytesPerElem: 4 }, topology, { ...defaultPolicy, among: [among] });
    t.same([...new Set(selected.plan.sends.map(({ to }) => to))], partners[among], among);
    t.equal(selected.algorithm, among);
  }
});

t.test('an operand travels with its request while those of all ranks together are small', async (t) => {
  t.ok(isStarAllreduce(2, STAR_MAX_BYTES / 2));
  t.notOk(isStarAllreduce(2, STAR_MAX_BYTES / 2 + 1));
  t.ok(isStarAllreduce(8, STAR_MAX_BYTES / 8));
  t.notOk(isStarAllreduce(9, STAR_MAX_BYTES / 8));
  t.notOk(isStarAllreduce(2, 0), 'nothing is no operand');
  t.notOk(isStarAllreduce(1, 4), 'a rank by itself has nobody to save a message to');
});

t.test('small broadcasts take the tree, larger ones the chain', async (t) => {
  const at = (bytes: number) => selectBroadcast({ rank: 1, size: 4, root: 2, elems: bytes, bytesPerElem: 1 });
  t.equal(at(TREE_MAX_BYTES).algorithm, 'tree');
  t.equal(at(TREE_MAX_BYTES + 1).algorithm, 'chain');
});

t.test('segments keep to their limits, of elements of any size', async (t) => {
  for (const bytesPerElem of [1, 2, 4, 8]) {
    const elems = (40 << 20) / bytesPerElem + 1;
    const reduced = longestBytes(allreduce(3, elems, bytesPerElem), bytesPerElem);
    const gathered = longestBytes(selectAllgather({ rank: 0, size: 2, elemsOf: [elems, 1], bytesPerElem }), bytesPerElem);
    const half = Math.floor(elems / 2);
    const scattered = longestBytes(selectReduceScatter({ rank: 0, size: 2, elemsOf: [[half, half]], bytesPerElem }), bytesPerElem);
    const exchanged = longestBytes(selectAlltoall({ rank: 0, size: 2, toEach: [0, elems], fromEach: [0, 0], bytesPerElem }), bytesPerElem);
    t.ok(scattered <= MOST_SEGMENT_BYTES && scattered > MOST_SEGMENT_BYTES / 2, `${scattered}`);
    t.ok(exchanged <= COPY_SEGMENT_BYTES && exchanged > COPY_SEGMENT_BYTES / 2, `${exchanged}`);
    t.ok(reduced <= MOST_SEGMENT_BYTES && reduced > MOST_SEGMENT_BYTES / 2, `${reduced}`);
    t.ok(gathered <= COPY_SEGMENT_BYTES && gathered > COPY_SEGMENT_BYTES / 2, `${gathered}`);
  }
});

t.test('chunks of the ring fit a cache and travel in two segments, none shorter than a wake-up is worth', async (t) => {
  const of = (bytes: number, size = 2) => allreduce(size, bytes / 4, 4, ['ring']);
  t.equal(of(8 << 20).plan.sends.length, 16, 'four blocks of two chunks of two segments');
  t.equal(longestBytes(of(8 << 20), 4), MOST_SEGMENT_BYTES);
  t.equal(of(8 << 20).plan.sends[2]!.from * 4, MOST_CHUNK_BYTES, 'the second chunk');
  t.equal(longestBytes(of(1 << 20), 4), LEAST_SEGMENT_BYTES);
  t.equal(of(32 << 20, 8).plan.sends.length, 4 * 14 * 2, 'four blocks of 8 MiB, 14 steps, two segments');
});

t.test('a group of one needs no algorithm', async (t) => {
  const group = { rank: 0, size: 1, bytesPerElem: 4 };
  for (const { algorithm, plan } of [
    allreduce(1, 9),
    selectBroadcast({ ...group, elems: 9, root: 0 }),
    selectAllgather({ ...group, elemsOf: [9] }),
    selectReduceScatter({ ...group, elemsOf: [[9]] }),
    selectAlltoall({ ...group, toEach: [9], fromEach: [9] }),
  ]) {
    t.equal(algorithm, 'none');
    t.equal(plan.sends.length + plan.recvs.length, 0);
  }
});
