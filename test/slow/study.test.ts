/** scripts/study/optimizers.mjs as its user starts it: stopped by Ctrl-C or killed it goes on where it was, with the same bits; what it cannot do it says before anything starts. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { IMAGE_ELEMS, seeded } from '../../examples/cifar10/data';
import { until } from '../helpers/processes';

const script = path.join(__dirname, '..', '..', '..', 'scripts', 'study', 'optimizers.mjs');
const LIMIT_MS = 300_000;
const EPOCHS = 6;

interface Result {
  readonly optimizer: string;
  readonly epochs: ReadonlyArray<Record<string, number>>;
}

/** Noise, with labels: small files. */
function batch(count: number, seed: number): Buffer {
  const random = seeded(seed);
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => Buffer.from([i % 10, ...Array.from({ length: IMAGE_ELEMS }, () => 256 * random())])),
  );
}

function start(...words: string[]) {
  const child = spawn(process.execPath, [script, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TSRUN_BACKEND: 'wasm' },
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
  const timer = setTimeout(() => child.kill('SIGTERM'), LIMIT_MS);
  const endBy = (event: 'exit' | 'close') =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve) => child.on(event, (code) => resolve({ code, out, err })));
  const [exited, ended] = [endBy('exit'), endBy('close')];
  child.on('exit', () => clearTimeout(timer));
  return { child, exited, ended };
}
const run = (...words: string[]) => start(...words).ended;
const resultIn = (folder: string, name: string): Result => JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8')) as Result;
/** But for the seconds. */
const measured = ({ epochs }: Result) => epochs.map(({ seconds: _, trainSeconds: __, ...rest }) => rest);

t.test('a run that is stopped twice has the numbers of one that is not', async (t) => {
  const folder = t.testdir({ data: { 'data_batch_1.bin': batch(40, 1), 'test_batch.bin': batch(10, 2) } });
  const settings = [
    '--data',
    `${folder}/data`,
    '--images',
    '32',
    '--epochs',
    String(EPOCHS),
    '-np',
    '2',
    '--batch-size',
    '4',
    '--optimizers',
    'adam',
  ];
  const [whole, parts] = [`${folder}/whole`, `${folder}/parts`];
  const unbroken = await run(...settings, '--out', whole);
  t.equal(unbroken.code, 0, unbroken.err);
  t.match(unbroken.out, /^\| 1 \| adam \| 6 \| /m);
  t.equal(resultIn(whole, 'adam').epochs.length, EPOCHS);

  const stopAfterOneMore = async (signal: 'SIGINT' | 'SIGKILL') => {
    const before = existsSync(`${parts}/adam.json`) ? resultIn(parts, 'adam').epochs.length : 0;
    const { child, ended, exited } = start(...settings, '--out', parts);
    t.ok(await until(() => existsSync(`${parts}/adam.json`) && resultIn(parts, 'adam').epochs.length > before, LIMIT_MS));
    child.kill(signal);
    return signal === 'SIGINT' ? ended : exited;
  };
  const interrupted = await stopAfterOneMore('SIGINT');
  t.equal(interrupted.code, 130);
  t.match(interrupted.err, /study: adam was stopped by SIGINT; what is done is in .*parts, the same command goes on from there/);
  const done = resultIn(parts, 'adam').epochs.length;
  t.ok(done < EPOCHS, `${done} epochs were done`);
  // Only the driver: its job may still write when the next one begins.
  await stopAfterOneMore('SIGKILL');
  const last = await run(...settings, '--out', parts);
  t.equal(last.code, 0, last.err);
  t.match(last.out, /^adam: (goes on after epoch [2-5]|6 epochs are there)$/m);
  t.same(measured(resultIn(parts, 'adam')), measured(resultIn(whole, 'adam')));

  const other = await run(...settings, '--lr', '0.01', '--seed', '2', '--out', parts);
  t.equal(other.code, 1);
  t.match(
    other.err,
    /^study: .*parts holds a run with other settings: learningRate is 0\.001 there and 0\.01 here, seed is 1 there and 2 here\./,
  );
  const again = await run(...settings, '--out', whole);
  t.match([again.code, again.out], [0, /^adam: 6 epochs are there$/m]);
  const table = await run('--table', whole);
  t.match([table.code, table.out], [0, /^\| 1 \| adam \| 6 \| .* \| 80 % \|$/m]);
});

t.test('for now until an epoch; a run ends when another one has taken its folder over', async (t) => {
  const folder = t.testdir({ data: { 'data_batch_1.bin': batch(8, 1), 'test_batch.bin': batch(2, 2) } });
  const out = `${folder}/out`;
  const words = [
    '--data',
    `${folder}/data`,
    '-np',
    '1',
    '--batch-size',
    '4',
    '--optimizers',
    'sgd,nadam',
    '--epochs',
    '2000',
    '--out',
    out,
  ];
  const { code, err } = await run(...words, '--until', '2');
  t.equal(code, 0, err);
  t.same([resultIn(out, 'sgd').epochs.length, resultIn(out, 'nadam').epochs.length], [2, 2]);
  const { ended } = start(...words);
  t.ok(await until(() => resultIn(out, 'sgd').epochs.length > 2, LIMIT_MS));
  writeFileSync(`${out}/owner`, 'another');
  const over = await ended;
  t.equal(over.code, 1);
  t.match(over.err, /study: another run has taken .*out over: this one ends/);
});

t.test('what cannot be done is said before a folder is made', async (t) => {
  const folder = t.testdir({ empty: {}, damaged: { 'data_batch_1.bin': batch(2, 1).subarray(1), 'test_batch.bin': batch(1, 2) } });
  const out = `${folder}/out`;
  for (const [words, message] of [
    [['--optimizers', 'sgd,adamw'], /'adamw' is none of sgd, momentum, nesterov/],
    [['--data', `${folder}/none`], /none cannot be read/],
    [['--data', `${folder}/empty`], /empty holds no data_batch_N\.bin/],
    [['--data', `${folder}/damaged`], /data_batch_1\.bin has 6145 bytes, no multiple of 3073/],
    [['--images', '5000'], /there are only 4000 images/],
  ] as const) {
    const { code, err } = await run(...words, '--out', out);
    t.match([code, err], [1, message]);
    t.match(err, /^study: .*\n$/, 'one line');
    t.notOk(existsSync(out));
  }
  mkdirSync(out);
  writeFileSync(`${out}/letter.txt`, '');
  const { code, err } = await run('--out', out);
  t.match([code, err], [1, /out holds other files and no settings\.json/]);
  rmSync(`${out}/letter.txt`);
  writeFileSync(`${out}/settings.json`, '{');
  t.match((await run('--out', out)).err, /^study: .*settings\.json cannot be read: /);
  t.match((await run('--table', out)).err, /^study: --table .*out holds no results/);
});
