/** The benchmark of collectives, but for running it: its command line, figures, layouts, patterns and lines. */
import t from 'tap';
import { benchOptions, collectives as namesOfLauncher } from '../../../launcher/bench_words';
import { collectiveOptions, collectives, ops, parseSizes, readCollectiveArgs } from '../../../src/bench/collective_args';
import { busFactor, figuresOf, median, percentile, samplesOfCalls, scheduleOf } from '../../../src/bench/collective_figures';
import { headLines, rowLine } from '../../../src/bench/collective_table';
import { layoutOf } from '../../../src/bench/layout';
import { elementOf, fillWith, PERIOD, reducedTile, tileOfRank, wrongElems } from '../../../src/bench/pattern';
import { arrayTypeOf, dtypes } from '../../../src/dtype';

const read = (text: string) => readCollectiveArgs(text.split(' '));

t.test('the launcher knows the same collectives and options', async (t) => {
  t.same(namesOfLauncher, collectives);
  const own = Object.entries(collectiveOptions).map(([name, { type }]) => [name, type === 'string']);
  t.same(benchOptions, { ...Object.fromEntries(own), compare: true, rounds: true, out: true });
});

t.test('the command line', async (t) => {
  const { sizes, dtype, op, order, parts, iterations } = read(
    'allreduce --sizes=1..64 --dtype=int8 --op=max --out-of-order --iterations=3',
  );
  t.same([sizes, dtype, op, order, parts, iterations], [[1, 4, 16, 64], 'int8', 'max', 'out-of-order', 1, 3]);
  t.same([read('allgather').op, read('reducescatter').op, read('allreduce').order], [undefined, 'sum', 'single']);
  t.same([read('grouped-allreduce --parts=3').parts, read('barrier').sizes], [3, [0]]);
  const table: Array<[string, RegExp]> = [
    ['reduce', /'reduce'.*allreduce, grouped-allreduce/],
    ['allreduce --dtype=bool', /--dtype 'bool'.*float32/],
    ['allreduce --op=mean', /--op 'mean'.*average/],
    ['reducescatter --op=max', /--op 'max'.*sum, average/],
    ['broadcast --op=sum', /broadcast reduces nothing/],
    ['allreduce --op=adasum --dtype=int32', /adasum is for float32 and float64, not int32/],
    ['allreduce --tensors --dtype=float64', /float32 or int32, but --dtype is float64/],
    ['allgather --compression=fp16', /only what reduces is compressed/],
    ['allreduce --in-order --out-of-order', /exclude each other/],
    ['allreduce --parts=2', /grouped-allreduce/],
    ['allreduce --iterations=0', /--iterations is a whole number >= 1, but was '0'/],
    ['allreduce --bogus', /bogus/],
  ];
  for (const [words, message] of table) t.throws(() => read(words), { name: 'UsageError', message }, words);
});

t.test('sizes', async (t) => {
  t.same(parseSizes('1K..16K'), [1024, 4096, 16_384]);
  t.same(parseSizes('1..10'), [1, 4, 10], 'the last is there');
  t.same(parseSizes('1,2KiB,1G'), [1, 2048, 2 ** 30]);
  for (const text of ['', '1X', '4..1', '0..4', '-1']) t.throws(() => parseSizes(text), { name: 'UsageError' }, text);
});

t.test('figures', async (t) => {
  t.same(
    collectives.map((collective) => busFactor(collective, 4)),
    [1.5, 1.5, 0.75, 1, 0.75, 0.75, 0],
  );
  t.equal(busFactor('allreduce', 1), 0);
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  t.same([percentile(hundred, 0.99), percentile([3], 0.99), percentile([2, 1, 3], 0.99)], [99, 3, 3]);
  t.same([median([3, 1, 2]), median([4, 1, 3, 2])], [2, 2.5]);
  const { meanUs, algbw, busbw } = figuresOf([1, 3], 4000, 'allreduce', 2);
  t.same([meanUs, algbw, busbw], [2, 2, 2], '4,000 bytes in 2 µs are 2 GB/s');
});

t.test('a sample is of the slowest rank where ranks begin together, else of all', async (t) => {
  t.same(samplesOfCalls([1, 2, 5, 0], 2, { isAligned: true }), [5, 2]);
  t.same(samplesOfCalls([1, 2, 5, 0], 2, { isAligned: false }), [3, 1]);
  t.notOk(scheduleOf(64 << 10).isAligned);
  t.ok(scheduleOf((64 << 10) + 1).isAligned);
  t.equal(scheduleOf(1 << 30, 7).iterations, 7);
  t.same(
    [2 << 20, 24e6, 1 << 30].map((bytes) => scheduleOf(bytes).iterations),
    [100, 44, 15],
    'as many as reduce 1 GiB',
  );
});

t.test('what ranks give and get', async (t) => {
  const seat = { ranks: 3, rank: 1 };
  const layouts = collectives
    .filter((collective) => collective !== 'barrier')
    .map((collective) => [collective, layoutOf(collective, 50, 4, 2, seat)] as const);
  t.same(
    layouts.map(([name, { count, bytes, inputs }]) => [name, count, bytes, inputs]),
    [
      ['allreduce', 12, 48, [6, 6]],
      ['grouped-allreduce', 12, 48, [6, 6]],
      ['allgather', 4, 48, [4]],
      ['broadcast', 12, 48, [12]],
      ['reducescatter', 4, 48, [12]],
      ['alltoall', 4, 48, [12]],
    ],
  );
  const outputs = Object.fromEntries(layouts.map(([name, layout]) => [name, layout.outputs]));
  t.same(outputs['grouped-allreduce'], [[{ source: 'reduced', from: 0, elems: 6 }], [{ source: 'reduced', from: 6, elems: 6 }]]);
  t.same(outputs.reducescatter, [[{ source: 'reduced', from: 4, elems: 4 }]]);
  t.same(outputs.alltoall, [[0, 1, 2].map((source) => ({ source, from: 4, elems: 4 }))]);
  for (const collective of collectives)
    if (collective !== 'barrier')
      t.ok(
        layoutOf(collective, 1, 8, 3, seat).inputs.every((elems) => elems > 0),
        `${collective}: no size is less than an element`,
      );
});

t.test('patterns: what is expected is what the definition says, in every dtype', async (t) => {
  const ranks = 20;
  for (const dtype of dtypes.filter((one) => one !== 'bool')) {
    for (const op of ops.filter((one) => one !== 'average' && one !== 'adasum')) {
      const { values } = reducedTile(ranks, dtype, op, 0);
      const own = new (arrayTypeOf(dtype))(1);
      const isLong = typeof own[0] === 'bigint';
      let wrong = 0;
      for (let i = 0; i < PERIOD; i += 1) {
        const all = Array.from({ length: ranks }, (_, rank) => elementOf(rank, i, op));
        const exact = { sum: (a: number, b: number) => a + b, product: (a: number, b: number) => a * b, min: Math.min, max: Math.max }[op];
        const result = all.reduce((a, b) => exact(a, b));
        (own as Float32Array)[0] = (isLong ? BigInt(result) : result) as number;
        if (own[0] !== values[i]) wrong += 1;
      }
      t.equal(wrong, 0, `${dtype} ${op}`);
    }
  }
  t.equal(reducedTile(2, 'int32', 'average', 0).values[0], Math.trunc((elementOf(0, 0, 'sum') + elementOf(1, 0, 'sum')) / 2));
});

t.test('patterns: an element that is missing, shifted or another rank’s is seen', async (t) => {
  const tile = tileOfRank(1, 'float32', 'sum');
  const array = new Float32Array(1000);
  fillWith(array, tile, 40);
  t.equal(wrongElems(array, 0, 1000, tile, 40), 0);
  t.equal(wrongElems(array, 300, 700, tile, 340), 0);
  array[999]! += 1;
  array[5] = Number.NaN;
  t.equal(wrongElems(array, 0, 1000, tile, 40), 2);
  for (const shift of [1, 2, 7, 64, 256, 1024, 1 << 20]) t.ok(wrongElems(array, 0, 1000, tile, 40 + shift) > 10, `shifted by ${shift}`);
  for (const rank of [0, 2, 3]) t.ok(wrongElems(array, 0, 1000, tileOfRank(rank, 'float32', 'sum'), 40) > 900, `of rank ${rank}`);
  const compressed = reducedTile(2, 'float32', 'sum', 2 ** -8);
  fillWith(array, compressed, 0);
  array[3]! *= 1 + 2 ** -8;
  array[4]! *= 1 + 2 ** -5;
  t.equal(wrongElems(array, 0, 1000, compressed, 0), 1, 'within the bound of what travels');
});

t.test('lines have as many cells as heads', async (t) => {
  const args = read('allreduce --tensors');
  const row = { form: 'in-place', bytes: 1024, count: 256, samplesUs: [1, 2, 3], wrong: 4, copied: 0.5 } as const;
  const cells = rowLine([row, { ...row, plainUs: [1] }], args, 2)
    .trim()
    .split(/\s+/);
  t.same(cells, [
    '1024',
    '256',
    'float32',
    'sum',
    '2.0',
    '2.0',
    '3.0',
    '0.51',
    '0.51',
    '4',
    '0.50',
    '2.0',
    '2.0',
    '3.0',
    '0.51',
    '0.51',
    '4',
    '0.50',
    '1.0',
    '2.00',
  ]);
  const [forms, heads] = headLines(['out-of-place', 'in-place'], false);
  t.equal(heads!.replace('#wrong', 'wrong').slice(1).trim().split(/\s+/).length, 4 + 2 * 7);
  t.match(forms, /out-of-place +in-place$/);
});
