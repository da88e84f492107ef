/** scripts/study/distributed.mjs as its user starts it, with computation emulated: what it runs, writes and marks; that it goes on where it was, draws anew, and refuses another study's folder. Not how fast it is. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const script = path.join(__dirname, '..', '..', '..', 'scripts', 'study', 'distributed.mjs');
const LIMIT_MS = 120_000;
const run = (...words: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...words], { encoding: 'utf8', timeout: LIMIT_MS });
  return { status, out: stdout, err: stderr };
};

t.test('a study from its start to its figures', async (t) => {
  const folder = t.testdir({
    'fast.json': JSON.stringify({ source: 'made up', networks: { resnet50: { imagesPerSec: 400, batchSize: 4 } } }),
  });
  const out = path.join(folder, 'out');
  const settings = ['--networks', 'resnet50', '--batch-size', '4', '--classes', '5', '--warmup', '0', '--iterations', '2', '--out', out];
  const words = [
    ...settings,
    '--emulate-compute',
    `${folder}/fast.json`,
    '--slow-down',
    '2',
    '--strategies',
    'ps-sync@1',
    '--workers',
    '2',
  ];
  const read = (name: string): string => readFileSync(path.join(out, name), 'utf8');
  const first = run(...words);
  t.equal(first.status, 0, first.err);
  t.match(first.out, /^\[1\/3\] np2 no-communication network=resnet50, repeat 1: imagesPerSec /m);
  const results = JSON.parse(read('results.json')) as { emulated: string; slowDown: number; rows: Array<Record<string, unknown>> };
  t.match(results, { emulated: `${folder}/fast.json`, slowDown: 2 });
  t.same(
    results.rows.map(({ strategy, state, emulated }) => [strategy, state, emulated === results.emulated]),
    ['no-communication', 'no-computation', 'ps-sync@1'].map((strategy) => [strategy, 'measured', true]),
  );
  for (const name of ['tables.md', 'throughput.svg', 'efficiency.svg']) t.match(read(name), /emulated computation/, name);
  t.match(read('throughput.svg'), /EMULATED/, 'across the plot');

  writeFileSync(path.join(out, 'tables.md'), '');
  const again = run('--report', out);
  t.equal(again.status, 0, again.err);
  t.match(read('tables.md'), /3 of 3 combinations are done/);
  t.match(run(...words).out, /^3 of 3 runs are done already/m, 'the same command has nothing to do');
  const other = run(...words, '--iterations', '3');
  t.equal(other.status, 2);
  t.match(other.err, /holds another sweep: the command was /);
});

t.test('what cannot be is refused before anything starts; what does not fit is left out', async (t) => {
  const out = path.join(t.testdir({}), 'out');
  for (const [words, message] of [
    ['--networks vgg16 --emulate-compute k81', /^study: There is no profile 'k81'/],
    ['--workers 4 -H h1:2', /^study: 4 processes were asked for/],
  ] as const) {
    const { status, err } = run(...words.split(' '), '--out', out);
    t.equal(status, 2, words);
    t.match(err, message);
    t.notMatch(err, /\n\s+at /, 'no stack');
  }
  t.match(run('--report', out).err, /^study: --report .*: there is no study that can be read/);
  t.notOk(existsSync(out));
  const dry = run(
    '--dry-run',
    '--networks',
    'vgg16',
    '--workers',
    '1,4',
    '--memory',
    '2',
    '--emulate-compute',
    'k80',
    '--strategies',
    'ring',
  );
  t.equal(dry.status, 0, dry.err);
  t.match(dry.out, /^np1 ring network=vgg16, repeat 1: tsrun /m);
  t.match(dry.out, /^np4 ring network=vgg16: left out: it needs about 2\.\d GiB of memory, there are 2\.0 GiB$/m);
});
