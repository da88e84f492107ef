/** Every example runs on two ranks, as its user starts it, and is right by its own judgement; both ranks end with the same line and, to the bit, the same variables. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { runJob } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');
const preload = path.join(__dirname, '..', 'helpers', 'weights_at_exit.js');
const LIMIT_MS = 300_000;

/** Runs an example on two ranks and returns the line that both end with. */
async function runExample(t: Test, args: readonly string[], { trains = true } = {}): Promise<string> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-example-'));
  const [name, ...rest] = args;
  const { status, out, err } = await runJob(
    ['-np', '2', path.join(root, 'examples', `${name}.ts`), ...rest],
    { env: { NODE_OPTIONS: `--require ${preload}`, WEIGHTS_AT_EXIT: folder } },
    LIMIT_MS,
  );
  t.equal(status, 0, err.slice(-2000));
  const [first, second] = [0, 1].map((rank) => out.match(new RegExp(`^\\[${rank}\\]<stdout>:(${name}: .*)$`, 'm'))?.[1]);
  t.ok(first, out);
  t.equal(second, first);
  const variables = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
  rmSync(folder, { recursive: true });
  if (trains) {
    t.equal(variables.length, 2);
    t.match(variables[0], /^[1-9]\d* variables /);
    t.equal(variables[1], variables[0]);
  } else t.same(variables, [], 'TensorFlow.js is not loaded');
  return first ?? '';
}

t.test('plain: a program without TensorFlow.js', async (t) => {
  t.match(await runExample(t, ['plain'], { trains: false }), /^plain: \d+ rounds, centres found to 0\.0\d+$/);
});

t.test('mnist: model.fit with callbacks, on made digits', async (t) => {
  t.match(await runExample(t, ['mnist']), /^mnist: 4000 digits, accuracy on 1000 others 9\d\.\d\d %$/);
});

t.test("mnist --data reads MNIST's files", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-idx-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  // A digit is a bright bar as far down as the digit is large.
  for (const [set, count] of [
    ['train', 2000],
    ['t10k', 300],
  ] as const) {
    const labels = Buffer.from(Array.from({ length: count }, (_, i) => i % 10));
    const images = Buffer.alloc(count * 784);
    for (const [i, label] of labels.entries()) images.fill(250, i * 784 + 56 * label, i * 784 + 56 * (label + 1));
    writeFileSync(path.join(folder, `${set}-images-idx3-ubyte`), Buffer.concat([idxHead(3, count, 28, 28), images]));
    writeFileSync(path.join(folder, `${set}-labels-idx1-ubyte`), Buffer.concat([idxHead(1, count), labels]));
  }
  t.match(await runExample(t, ['mnist', '--data', folder]), /^mnist: 2000 digits, accuracy on 300 others 100\.00 %$/);
});

t.test('custom_loop: variableGrads', async (t) => {
  t.match(await runExample(t, ['custom_loop']), /^custom_loop: \d+\.\d % of 1024 points told right$/);
});

t.test('dataset: fitDataset with shard', async (t) => {
  t.match(await runExample(t, ['dataset']), /^dataset: prices of 200 other houses told to \d+\.\d %$/);
});

t.test('gan: two optimizers, and no tensor more', async (t) => {
  t.match(await runExample(t, ['gan']), /^gan: \d+ tensors, points around /);
});

t.test('lstm: embeddings', async (t) => {
  t.match(await runExample(t, ['lstm']), /^lstm: 18 letters, loss \d\.\d+ in the first epoch, \d\.\d+ in the last$/);
});

t.test('transfer: frozen layers', async (t) => {
  t.match(await runExample(t, ['transfer']), /^transfer: \d+\.\d % of six waveforms, \d+\.\d % of three others told right /);
});

t.test('policy_gradient: episodes of different length', async (t) => {
  t.match(await runExample(t, ['policy_gradient']), /^policy_gradient: the pole stands \d+\.\d of 200 steps$/);
});

t.test('resume: a second run goes on where the first stopped', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-resume-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const run = async () => {
    const line = await runExample(t, ['resume', '--checkpoint', path.join(folder, 'checkpoint')]);
    const [from, to, before, after] = line.match(/\d+(\.\d+)?/g)?.map(Number) ?? [];
    return { from: from!, to: to!, before: before!, after: after! };
  };
  const first = await run();
  t.same([first.from, first.to], [0, 5]);
  const second = await run();
  // An epoch that was worse than the one before is not saved.
  t.ok(second.from >= 4 && second.from <= 5, `it goes on from epoch ${second.from}`);
  t.equal(second.to, second.from + 5);
  t.ok(Math.abs(second.before - first.after) < 0.2 * (first.before - first.after), `${first.after} became ${second.before}`);
  t.ok(second.after < first.after);
});

function idxHead(dimensions: number, ...sizes: number[]): Buffer {
  const head = Buffer.alloc(4 + 4 * sizes.length);
  head.set([0, 0, 8, dimensions]);
  for (const [i, size] of sizes.entries()) head.writeUInt32BE(size, 4 + 4 * i);
  return head;
}
