/** The training benchmark as a job: what it prints, reports and refuses. Not how fast it is. */
import path from 'node:path';
import t from 'tap';
import { runJob } from '../helpers/tsrun';

const program = path.join(__dirname, '..', '..', 'src', 'bench', 'throughput.js');
const LIMIT_MS = 300_000;
const run = (ranks: number, words: string) => runJob(['-np', String(ranks), program, ...words.split(' ')], {}, LIMIT_MS);
const small = '--network resnet50 --image-size 32 --batch-size 2 --classes 5 --warmup 1 --iterations 2 --data-workers 1';
/** What tsrun shows of the report: `NAME VALUE, …`. */
const reported = (err: string): Record<string, string> => {
  const pairs = /(?:^|\n)tsrun: rank 0 reports (.*)/.exec(err)?.[1]?.split(', ') ?? [];
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf(' ')), pair.slice(pair.indexOf(' ') + 1)]));
};

t.test('two ranks train, end alike and report', async (t) => {
  const { status, out, err, left } = await run(2, small);
  t.equal(status, 0, err);
  t.same(left, []);
  t.match(out, /resnet50 at 32×32, 5 classes, batch 2 a rank, sgd; 2 ranks, strategy ring, compression none, backend wasm/);
  t.match(out, /step 2\/2: [\d.]+ images\/s on this rank, loss [\d.]+/);
  t.match(out, /images\/s on 2 ranks .* replicas identical/);
  const metrics = reported(err);
  t.match(metrics, {
    network: 'resnet50',
    batchSize: '2',
    size: '32',
    ranks: '2',
    strategy: 'ring',
    backend: 'wasm',
    replicas: 'identical',
  });
  for (const name of ['imagesPerSec', 'msPerStepMedian', 'msPerStepMean', 'loss'])
    t.ok(Number(metrics[name]) > 0, `${name}: ${metrics[name]}`);
});

t.test('the control exchanges nothing', async (t) => {
  const { status, out, err } = await run(2, `${small} --no-communication --optimizer momentum`);
  t.equal(status, 0, err);
  t.match(out, /momentum; 2 ranks, strategy none/);
  t.match(reported(err), { strategy: 'none', replicas: 'not compared', ranks: '2' });
});

t.test('what cannot be is refused in one line, before anything starts', async (t) => {
  for (const [words, message] of [
    ['--network resnet51', /throughput: There is no network 'resnet51'/],
    [`${small} --batch-size 100000000`, /throughput: 1 data workers need/],
  ] as const) {
    const { status, out, err } = await run(1, words);
    t.equal(status, 2, err);
    t.match(err, message);
    t.notMatch(err, /\n\s+at /, 'no stack');
    t.notMatch(out, /backend/);
  }
});
