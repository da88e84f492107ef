import t from 'tap';
import { hierarchicalAllreduce } from '../../../src/collective/hierarchical';
import type { Plan, Range } from '../../../src/collective/plan';

const plansOf = (byHost: number[][], elems: number, more: { segmentElems?: number; chunkElems?: number } = {}): Plan[] =>
  Array.from({ length: byHost.flat().length }, (_, rank) =>
    hierarchicalAllreduce({ rank, size: byHost.flat().length, elems, byHost, segmentElems: 1000, chunkElems: 1000, ...more }),
  );
const lengthOf = (ranges: readonly Range[]): number => ranges.reduce((sum, { from, until }) => sum + until - from, 0);
/** Elements that leave each host. */
const leaving = (byHost: number[][], plans: readonly Plan[]): number[] =>
  byHost.map((ranks) => lengthOf(ranks.flatMap((rank) => plans[rank]!.sends.filter(({ to }) => !ranks.includes(to)))));

t.test('two hosts of two: halves are summed on each host, exchanged by those that have them, and spread', async (t) => {
  const plans = plansOf(
    [
      [0, 1],
      [2, 3],
    ],
    4,
  );
  const shown = ({ sends }: Plan): string => sends.map(({ to, from, until }) => `${'abcd'.slice(from, until)}→${to}`).join(' ');
  t.same(plans.map(shown), ['cd→1 a→2 b→2 ab→1', 'ab→0 c→3 d→3 cd→0', 'cd→3 b→0 a→0 ab→3', 'ab→2 d→1 c→1 cd→2']);
  t.same(
    plans.map(({ recvs }) => recvs.map(({ action }) => action)),
    plans.map(() => ['reduce', 'reduce', 'copy', 'copy']),
  );
  t.same(
    plans.map(({ recvs }) => recvs.filter(({ finish }) => finish).map(({ from }) => 'abcd'[from])),
    [['b'], ['d'], ['a'], ['c']],
    'each completes what it gets from another host',
  );
});

t.test('the link of a host carries 2(H−1)/H of the tensor each way, shared by its ranks', async (t) => {
  const halves = [
    [0, 2, 4],
    [1, 3, 5],
  ];
  const three = [
    [0, 1],
    [2, 3],
    [4, 5],
  ];
  for (const byHost of [halves, three]) {
    const hosts = byHost.length;
    for (const chunkElems of [1000, 5]) {
      const plans = plansOf(byHost, 360, { segmentElems: 5, chunkElems });
      t.same(leaving(byHost, plans), Array(hosts).fill((2 * (hosts - 1) * 360) / hosts), `${hosts} hosts, chunks of ${chunkElems}`);
      const share = plans.map(({ sends }, rank) =>
        lengthOf(sends.filter(({ to }) => !byHost.find((ranks) => ranks.includes(rank))!.includes(to))),
      );
      t.equal(new Set(share).size, 1, 'equally');
    }
  }
});

t.test('hosts with unequal numbers of ranks: so many of each as the smallest has talk to other hosts', async (t) => {
  const byHost = [
    [0, 1, 2],
    [3, 4],
  ];
  const plans = plansOf(byHost, 60);
  const abroad = plans.map(({ sends }, rank) =>
    sends.some(({ to }) => byHost.findIndex((ranks) => ranks.includes(to)) !== Number(rank > 2)),
  );
  t.same(abroad, [true, true, false, true, true]);
  t.same(leaving(byHost, plans), [60, 60]);
});

t.test('a block is between hosts while the next one is summed on the host, and the last one spread', async (t) => {
  const byHost = [
    [0, 1],
    [2, 3],
  ];
  const [plan] = plansOf(byHost, 12, { chunkElems: 1 }) as [Plan];
  t.equal(
    plan.sends.map(({ to, from }) => `${to === 1 ? 'local' : 'between'} ${Math.floor(from / 4)}`).join(', '),
    'local 0, between 0, local 1, between 0, between 1, local 2, local 0, between 1, between 2, local 1, between 2, local 2',
  );
});

t.test('nothing is sent of a tensor without elements', async (t) => {
  for (const plan of plansOf([[0, 1], [2]], 0)) t.same([plan.sends, plan.recvs], [[], []]);
});
