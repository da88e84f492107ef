import t from 'tap';
import type { Plan } from '../../../src/collective/plan';
import { allreduces } from './algorithms';

const elemsSent = ({ sends }: Plan): number => sends.reduce((sum, { from, until }) => sum + until - from, 0);
const rangesOf = (list: ReadonlyArray<{ from: number; until: number }>): string =>
  list.map(({ from, until }) => 'abcd'.slice(from, until)).join(' ');

t.test('halving-doubling on four ranks is the trace in its head', async (t) => {
  const plans = allreduces['halving-doubling']!({ size: 4, elems: 4, segmentElems: 4 });
  t.same(
    plans.map(({ sends }) => sends.map(({ to }) => to)),
    [
      [1, 2, 2, 1],
      [0, 3, 3, 0],
      [3, 0, 0, 3],
      [2, 1, 1, 2],
    ],
  );
  t.same(
    plans.map(({ sends }) => rangesOf(sends)),
    ['cd b a ab', 'ab d c cd', 'cd a b ab', 'ab c d cd'],
  );
  t.same(
    plans.map(({ recvs }) => rangesOf(recvs.filter(({ finish }) => finish))),
    ['a', 'c', 'b', 'd'],
  );
});

t.test('each rank of a power of two sends 2(N−1)/N of a tensor that N divides, to log2(N) others', async (t) => {
  for (const size of [2, 4, 8, 16, 64]) {
    for (const plan of allreduces['halving-doubling']!({ size, elems: size * 10, segmentElems: 7 })) {
      t.equal(elemsSent(plan), 2 * (size - 1) * 10);
      t.equal(new Set(plan.sends.map(({ to }) => to)).size, Math.log2(size));
    }
  }
});

t.test('an extra rank gives its tensor and gets the result; its partner does the rest', async (t) => {
  const plans = allreduces['halving-doubling']!({ size: 3, elems: 4, segmentElems: 4 });
  t.same(
    plans.map(({ sends }) => sends.map(({ to }) => to)),
    [[1, 1, 2], [0, 0], [0]],
  );
  t.same(
    plans[2]!.recvs.map(({ peer, action }) => [peer, action]),
    [[0, 'copy']],
  );
});

t.test('a tree allreduce goes up to rank 0, the nearest child first, and down the largest subtree first, by segments', async (t) => {
  const plans = allreduces.tree!({ size: 5, elems: 2, segmentElems: 2 });
  t.same(
    plans.map(({ recvs }) => recvs.map(({ peer }) => peer)),
    [[1, 2, 4], [0], [3, 0], [2], [0]],
  );
  t.same(
    plans.map(({ sends }) => sends.map(({ to }) => to)),
    [[4, 2, 1], [0], [0, 3], [2], [0]],
  );
  const [root, , inner] = allreduces.tree!({ size: 4, elems: 3, segmentElems: 1 }) as [Plan, Plan, Plan, Plan];
  t.same(
    inner.sends.filter(({ to }) => to === 0).map(({ afterRecvs }) => afterRecvs),
    [1, 2, 3],
    'a segment goes up as soon as it is complete',
  );
  t.same(
    root.sends.filter(({ to }) => to === 2).map(({ afterRecvs }) => afterRecvs),
    [2, 4, 6],
    'and down',
  );
});
