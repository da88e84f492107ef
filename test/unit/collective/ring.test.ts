import t from 'tap';
import type { Plan } from '../../../src/collective/plan';
import { allgather, allreduces, broadcasts, reduceScatter } from './algorithms';

const elemsSent = ({ sends }: Plan): number => sends.reduce((sum, { from, until }) => sum + until - from, 0);
const lettersOf = (list: ReadonlyArray<{ from: number }>): string => list.map(({ from }) => 'abc'[from]).join('');

t.test('a ring of three sends and receives as the trace in its head says', async (t) => {
  const plans = allreduces.ring!({ size: 3, elems: 3, segmentElems: 1 });
  t.same(
    plans.map(({ sends }) => lettersOf(sends)),
    ['acba', 'bacb', 'cbac'],
  );
  t.same(
    plans.map(({ recvs }) => lettersOf(recvs)),
    ['cbac', 'acba', 'bacb'],
  );
  t.same(
    plans.map(({ recvs }) => lettersOf(recvs.filter(({ finish }) => finish))),
    ['b', 'c', 'a'],
    'rank r completes chunk r + 1',
  );
  t.same(
    plans[0]!.recvs.map(({ action }) => action),
    ['reduce', 'reduce', 'copy', 'copy'],
  );
  t.same(
    plans[0]!.sends.map(({ to }) => to),
    [1, 1, 1, 1],
  );
  t.same(
    plans[0]!.recvs.map(({ peer }) => peer),
    [2, 2, 2, 2],
  );
});

t.test('each rank of a ring allreduce sends exactly 2(N−1)/N of a tensor that N divides', async (t) => {
  for (const size of [2, 3, 4, 5, 8, 16, 100]) {
    const elems = size * 210;
    for (const plan of [1000, 70].flatMap((chunkElems) => allreduces.ring!({ size, elems, segmentElems: 64, chunkElems }))) {
      if (elemsSent(plan) !== (2 * (size - 1) * elems) / size) t.fail(`${size} ranks: ${elemsSent(plan)} of ${elems}`);
    }
  }
  t.pass();
});

t.test('a segment is forwarded upon its own receipt, not upon that of its chunk', async (t) => {
  const { sends, recvs } = allreduces.ring!({ size: 3, elems: 12, segmentElems: 1 })[0]!;
  t.same(
    sends.map(({ afterRecvs }) => afterRecvs),
    [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  );
  for (const send of sends) {
    if (send.afterRecvs > 0) t.same([send.from, send.until], [recvs[send.afterRecvs - 1]!.from, recvs[send.afterRecvs - 1]!.until]);
  }
});

t.test('blocks go around one right behind the other: none waits for the one before', async (t) => {
  const input = { size: 3, segmentElems: 2 };
  const [block, blocks] = [allreduces.ring!({ ...input, elems: 12 })[1]!, allreduces.ring!({ ...input, elems: 36, chunkElems: 4 })[1]!];
  const shifted = (n: number) => ({
    sends: block.sends.map((send) => ({
      ...send,
      from: send.from + 12 * n,
      until: send.until + 12 * n,
      afterRecvs: send.afterRecvs && send.afterRecvs + n * block.recvs.length,
    })),
    recvs: block.recvs.map((recv) => ({
      ...recv,
      from: recv.from + 12 * n,
      until: recv.until + 12 * n,
      afterSends: recv.afterSends && recv.afterSends + n * block.sends.length,
    })),
  });
  t.same(
    blocks.sends,
    [0, 1, 2].flatMap((n) => shifted(n).sends),
  );
  t.same(
    blocks.recvs,
    [0, 1, 2].flatMap((n) => shifted(n).recvs),
  );
  t.same(
    allreduces.ring!({ ...input, elems: 13, chunkElems: 4 })[0]!.sends.length,
    9,
    'as even as can be: a block of 6, and one of 7 with a chunk of two segments',
  );
  t.same(allreduces.ring!({ ...input, elems: 0, chunkElems: 4 })[0], { sends: [], recvs: [] });
});

t.test("each rank of a ring allgather sends all parts but its right neighbour's", async (t) => {
  const elemsOf = [3, 0, 7, 1];
  t.same(allgather({ elemsOf, segmentElems: 2 }).map(elemsSent), [11, 4, 10, 8]);
});

t.test('each rank of a ring reduce-scatter sends all parts but its own, and completes its own', async (t) => {
  const plans = reduceScatter({
    elemsOf: [
      [3, 0, 7, 1],
      [1, 1, 0, 0],
    ],
    segmentElems: 2,
  });
  t.same(plans.map(elemsSent), [9, 12, 6, 12]);
  t.same(
    plans.map(({ recvs }) => recvs.filter(({ finish }) => finish).map(({ from, until }) => [from, until])),
    [
      [
        [0, 1],
        [1, 3],
        [11, 12],
      ],
      [[12, 13]],
      [
        [3, 4],
        [4, 6],
        [6, 8],
        [8, 10],
      ],
      [[10, 11]],
    ],
  );
});

t.test('recursive doubling takes log2(N) exchanges; extra ranks send once and receive the result', async (t) => {
  const plans = allreduces['recursive doubling']!({ size: 5, elems: 4, segmentElems: 4 });
  t.same(
    plans.map(({ sends }) => sends.map(({ to }) => to)),
    [[1, 2, 4], [0, 3], [3, 0], [2, 1], [0]],
  );
  t.same(
    plans.map(({ recvs }) => recvs.map(({ peer }) => peer)),
    [[4, 1, 2], [0, 3], [3, 0], [2, 1], [0]],
  );
  t.same(
    plans[4]!.recvs.map(({ action }) => action),
    ['copy'],
  );
});

t.test('a tree serves the largest subtree first; a chain passes each segment to the next place', async (t) => {
  const tree = broadcasts.tree!({ size: 8, elems: 1, segmentElems: 1, root: 0 });
  t.same(
    tree.map(({ sends }) => sends.map(({ to }) => to)),
    [[4, 2, 1], [], [3], [], [6, 5], [], [7], []],
  );
  const chain = broadcasts.chain!({ size: 4, elems: 2, segmentElems: 1, root: 2 });
  t.same(
    chain.map(({ sends }) => sends.map(({ to }) => to)),
    [[1, 1], [], [3, 3], [0, 0]],
  );
  t.same(
    chain[3]!.sends.map(({ afterRecvs }) => afterRecvs),
    [1, 2],
  );
});
