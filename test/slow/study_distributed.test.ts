/** The distributed study with real computation, at its smallest: networks are trained, and every strategy keeps replicas alike where it must. Not how fast it is. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const script = path.join(__dirname, '..', '..', '..', 'scripts', 'study', 'distributed.mjs');
const LIMIT_MS = 600_000;

t.test('one network, two workers, real computation', async (t) => {
  const out = path.join(t.testdir({}), 'out');
  const words =
    '--networks resnet50 --image-size 32 --classes 5 --batch-size 2 --warmup 0 --iterations 2 --data-workers 1 --workers 2 --strategies ring,ps-sync@1,ps-async@1';
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...words.split(' '), '--out', out], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  });
  t.equal(status, 0, stdout + stderr);
  const { rows, ...results } = JSON.parse(readFileSync(path.join(out, 'results.json'), 'utf8')) as {
    emulated?: string;
    rows: Array<{ strategy: string; state: string; samples: Array<Record<string, number>> }>;
  };
  t.equal(results.emulated, undefined);
  t.same(
    rows.map(({ strategy, state }) => [strategy, state]),
    ['no-communication', 'no-computation', 'ring', 'ps-sync@1', 'ps-async@1'].map((strategy) => [strategy, 'measured']),
  );
  for (const { strategy, samples } of rows)
    if (strategy !== 'no-computation') t.ok(samples[0]!.loss! > 0 && samples[0]!.imagesPerSec! > 0, `${strategy}: trained`);
  const { runs } = JSON.parse(readFileSync(path.join(out, 'sweep.json'), 'utf8')) as {
    runs: Array<{ cell: { strategy: string }; reports: Array<{ metrics: { replicas?: string } }> }>;
  };
  const replicas = Object.fromEntries(runs.map(({ cell, reports }) => [cell.strategy, reports[0]!.metrics.replicas]));
  t.match(replicas, { ring: 'identical', 'ps-sync@1': 'identical', 'ps-async@1': 'not compared' });
});
