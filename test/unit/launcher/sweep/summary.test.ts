import t from 'tap';
import { chartsOf } from '../../../../launcher/sweep/figures';
import { type Asked, planOf } from '../../../../launcher/sweep/plan';
import { chosenMetric, numbersOf, parseReport, type RunRecord } from '../../../../launcher/sweep/records';
import { causeOf } from '../../../../launcher/sweep/run_job';
import { summaryOf } from '../../../../launcher/sweep/summary';
import { percent, shown, tableOf, textOf, withInterval } from '../../../../launcher/sweep/table';

const asked: Asked = {
  ...{ workers: [2, 4], strategies: ['ring'], isStrategyGiven: false, vary: [], repeats: 2, options: [], command: ['/a/train.ts'] },
  ...{ isAnyCommand: false, scriptSha256: '', hosts: [], knobs: {} },
};
const about = { exitCode: 0, startedAt: '', endedAt: '', seconds: 1, log: '', reports: [] };
/** @param values by worker count, in the order of repeats; undefined: failed */
const runsOf = (values: Record<number, Array<number | undefined>>): RunRecord[] =>
  planOf(asked).flatMap(({ cell, repeat }): RunRecord[] => {
    const of = values[cell.workers] ?? [];
    if (repeat > of.length) return [];
    const value = of[repeat - 1];
    return [
      { ...about, cell, repeat, isFailed: value === undefined, numbers: value === undefined ? {} : { loss: 1, imagesPerSec: value } },
    ];
  });

t.test('what several ranks and several records come to', async (t) => {
  const report = (rank: number, metrics: Record<string, number | string>) => ({ rank, metrics });
  t.same(
    numbersOf([report(0, { imagesPerSec: 1, loss: 9 }), report(0, { imagesPerSec: 5 })]),
    { imagesPerSec: 5, loss: 9 },
    'the last of each name',
  );
  t.same(numbersOf([report(0, { imagesPerSec: 5, loss: 2, backend: 'wasm' }), report(1, { imagesPerSec: 7, loss: 4 })]), {
    imagesPerSec: 12,
    loss: 3,
  });
  t.same(numbersOf([report(0, { tokens_per_second: 1 }), report(1, { tokens_per_second: 1 }), report(1, { accuracy: 0.5 })]), {
    tokens_per_second: 2,
    accuracy: 0.5,
  });
  t.same(parseReport(1, '{"a":1}'), { rank: 1, metrics: { a: 1 } });
  t.equal(parseReport(1, 'no'), undefined);
});

t.test('which number is the throughput', async (t) => {
  const runs = runsOf({ 2: [1] });
  t.equal(chosenMetric(undefined, runs), 'imagesPerSec');
  t.equal(chosenMetric('loss', runs), 'loss');
  t.equal(chosenMetric(undefined, [{ ...runs[0]!, numbers: { steps: 1, loss: 2 } }]), 'steps');
  t.equal(chosenMetric(undefined, []), undefined);
});

t.test('efficiency is measured by the smallest worker count', async (t) => {
  const { base, cells } = summaryOf(asked, runsOf({ 2: [100, 100], 4: [150, 170] }));
  t.equal(base, 2);
  t.same(
    cells.map(({ throughput }) => throughput?.mean),
    [100, 160],
  );
  t.same(
    cells.map(({ efficiency }) => efficiency?.mean),
    [1, 0.8],
    '160 / (4 / 2 · 100)',
  );
  t.equal(cells[0]?.efficiency?.halfWidth, undefined, 'by itself it is 1');
  t.ok(cells[1]!.efficiency!.halfWidth! > 0);
});

t.test('failed and open runs', async (t) => {
  const { cells } = summaryOf(asked, runsOf({ 2: [undefined], 4: [150, undefined] }));
  t.match(cells[0], { samples: [], failed: 1, open: 1, throughput: undefined, efficiency: undefined });
  t.match(cells[1], { samples: [150], failed: 1, open: 0, efficiency: undefined });
  const table = tableOf(asked, { metric: 'imagesPerSec', base: 2, cells });
  t.match(table.rows[0]?.join('|'), 'ring|2|0, 1 failed, 1 open|–|–|–|–|–');
  t.same(table.marked, [0, 1]);
  t.equal(
    new Set(
      textOf(table)
        .split('\n')
        .map((line) => line.length),
    ).size,
    1,
    'columns stand under one another',
  );
  t.equal(chartsOf(asked, summaryOf(asked, []), 'light'), undefined, 'nothing to draw');
  t.equal(chartsOf(asked, { metric: 'imagesPerSec', base: 2, cells }, 'light')?.efficiency, undefined);
});

t.test('the charts have the ideal line from the smallest worker count', async (t) => {
  const charts = chartsOf(asked, summaryOf(asked, runsOf({ 2: [100, 100], 4: [150, 170] })), 'light');
  t.same(charts?.throughput.ideal, [
    {
      facet: undefined,
      points: [
        { x: 2, y: 100 },
        { x: 4, y: 200 },
      ],
    },
  ]);
  t.match(charts?.throughput.series, [
    {
      name: 'ring',
      points: [
        { x: 2, y: 100, low: 100, high: 100 },
        { x: 4, y: 160 },
      ],
    },
  ]);
  t.match(charts?.efficiency?.series[0]?.points, [
    { x: 2, y: 1 },
    { x: 4, y: 0.8 },
  ]);
});

t.test('numbers as people read them', async (t) => {
  for (const [value, text] of [
    [0, '0'],
    [0.01234, '0.01234'],
    [1.5, '1.500'],
    [19.03, '19.03'],
    [812.34, '812.3'],
    [12345.6, '12346'],
    [1e-9, '1.000e-9'],
  ] as const)
    t.equal(shown(value), text);
  t.equal(withInterval({ n: 2, mean: 812.34, halfWidth: 3.06 }), '812.3 ± 3.1');
  t.equal(percent({ n: 2, mean: 0.8123, halfWidth: 0.012 }), '81.2 ± 1.2 %');
});

t.test('the cause of a failed run in one sentence', async (t) => {
  const lines = [
    'tsrun: the last lines of rank 1 on stderr:',
    '  | /a/train.ts:3',
    '  |   throw new Error',
    '  | Error: no data',
    '  |     at main',
    'tsrun: rank 1 on host h ended with exit code 1; the others were ended',
  ];
  t.equal(causeOf({ exitCode: 1, lines }), 'rank 1 on host h ended with exit code 1: Error: no data');
  const typed = ['tsrun: its error (ERR_HVD_USAGE):', '  init() was called twice', 'tsrun: first, rank 0 on host h ended with exit code 1'];
  t.equal(causeOf({ exitCode: 1, lines: typed }), 'rank 0 on host h ended with exit code 1: init() was called twice');
  t.equal(causeOf({ exitCode: 124, lines: ['tsrun: ended after the 3 s of --timeout'] }), 'ended after the 3 s of --timeout');
  t.equal(causeOf({ exitCode: 9, lines: [] }), 'tsrun ended with exit code 9');
});
