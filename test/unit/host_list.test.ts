import t from 'tap';
import { UsageError } from '../../src/errors';
import { expandRanges, slurmNodes, splitHostList } from '../../src/host_list';

t.test('lists in every form are expanded', async (t) => {
  const table: Array<[string, string[]]> = [
    ['h1', ['h1']],
    ['n[001-003,7],h2', ['n001', 'n002', 'n003', 'n7', 'h2']],
    ['n[098-101]', ['n098', 'n099', 'n100', 'n101']],
    ['r[0-1]n[01-02]-ib', ['r0n01-ib', 'r0n02-ib', 'r1n01-ib', 'r1n02-ib']],
    ['a[1,3],b[2]', ['a1', 'a3', 'b2']],
  ];
  for (const [text, hosts] of table) t.same(splitHostList(text).flatMap(expandRanges), hosts, text);
});

t.test('malformed and endless ranges are refused', async (t) => {
  for (const text of ['n[', 'n]', 'n[2-1]', 'n[a]', 'n[0-99999999]', 'n[0-60000][0-60000]', 'n[]'])
    t.throws(() => expandRanges(text), UsageError, text);
});

t.test("Slurm's counts are matched with its nodes", async (t) => {
  const nodes = (list: string, counts: string) => slurmNodes({ LIST: list, COUNTS: counts }, 'LIST', 'COUNTS');
  t.same(nodes('n[1-5]', '4(x3),2,1'), { nodes: ['n1', 'n2', 'n3', 'n4', 'n5'], tasks: [4, 4, 4, 2, 1] });
  t.same(nodes('h', '7').tasks, [7]);
  for (const [list, counts] of [
    ['n[1-2]', '4'],
    ['n1', '4(x2)'],
    ['n1', ''],
    ['n1', '4(x0)'],
    ['n1', '4(x99999999)'],
    ['', '1'],
    ['n1', 'x'],
  ])
    t.throws(() => nodes(list!, counts!), UsageError, `${list} ${counts}`);
});
