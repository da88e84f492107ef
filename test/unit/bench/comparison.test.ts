/** Khorovod beside other libraries, but for running them: the command line, ratios, lines, the chart, what their programs say. */
import t from 'tap';
import { chartSpec } from '../../../src/bench/chart_spec';
import { readCompareArgs } from '../../../src/bench/compare_args';
import { chartOf, compareAt, type Library, tableLines } from '../../../src/bench/comparison';
import { parsePeerRun, wordsOf } from '../../../src/bench/peers/peer';

const read = (text: string) => readCompareArgs(text.split(' '));
const library = (name: string, rounds: number[][], wrong = 0): Library => ({
  name,
  title: name,
  version: '1',
  sizes: [{ bytes: 2000, rounds, wrong }],
});

t.test('the command line', async (t) => {
  const { words, peers, rounds, ranks, tsrunWords, out } = read(
    '--tsrun=t.js allreduce --sizes=1K --tensors --compare=gloo,openmpi --out=o --np=3 -- --bind-to none',
  );
  t.same(words, ['allreduce', '--sizes=1K', '--tensors']);
  t.same([peers, rounds, ranks, tsrunWords, out], [['gloo', 'openmpi'], 3, 3, ['--bind-to', 'none'], 'o']);
  const table: Array<[string, RegExp]> = [
    ['broadcast --compare=gloo --np=2 --', /measure allreduce only, no broadcast/],
    ['allreduce --compare=nccl --np=2 --', /'nccl'.*gloo, gloo-cpp, openmpi, openmpi-tcp/],
    ['allreduce --compare=gloo --dtype=int8 --np=2 --', /float32, float64, int32, int64, but --dtype is int8/],
    ['allreduce --compare=gloo --op=average --np=2 --', /--op is average/],
    ['allreduce --compare=gloo --in-order --np=2 --', /one call at a time/],
    ['allreduce --compare=gloo --compression=fp16 --np=2 --', /the same bytes/],
    ['allreduce --compare=gloo --rounds=x --np=2 --', /--rounds is a whole number/],
  ];
  for (const [text, message] of table) t.throws(() => read(text), { name: 'UsageError', message }, text);
});

const libraries = [library('khorovod in-place', [[1, 2, 3], [4], [10]]), library('other', [[4], [2], [30]], 5)];

t.test('ratios are of one round; the median is given with both ends', async (t) => {
  const [own, other] = compareAt(2000, libraries);
  t.same(own, {
    title: 'khorovod in-place',
    us: { median: 4, lowest: 2, highest: 10 },
    ratio: { median: 1, lowest: 1, highest: 1 },
    wrong: 0,
  });
  t.same(other!.ratio, { median: 2, lowest: 0.5, highest: 3 });
  t.match(tableLines(libraries).at(-1), /2000 +other +4\.0 +2\.0…30\.0 +0\.50 +2\.00 +0\.50…3\.00 +5$/);
});

t.test('the chart has a line a library', async (t) => {
  const chart = chartOf(libraries, { ranks: 2, dtype: 'float32', op: 'sum', rounds: 3, where: 'here' });
  t.same(chart.series[1], { name: 'other', points: [{ x: 2000, y: 4, low: 2, high: 30 }] });
  t.doesNotThrow(() => chartSpec(chart));
});

t.test('what a program is told, and what it says', async (t) => {
  const schedules = [{ bytes: 8, warmUps: 4, iterations: 2, isAligned: true }];
  const request = { ranks: 2, dtype: 'float32', op: 'sum', schedules, folder: '' } as const;
  t.same(wordsOf(request), ['float32', 'sum', '8:4:2:1']);
  const out = 'a warning\n{"version":"X 1"}\n{"bytes":8,"wrong":0,"samplesUs":[1,2]}\n';
  t.same(parsePeerRun('x', out, request), { version: 'X 1', rows: [{ bytes: 8, wrong: 0, samplesUs: [1, 2] }] });
  t.throws(() => parsePeerRun('x', '', request), /x was to measure 8 bytes, but answered for ''/);
});
