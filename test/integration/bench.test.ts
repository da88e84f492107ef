/** `tsrun bench allreduce`: what it prints, with and without TLS. Not how fast it is. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { runJob } from '../helpers/tsrun';

const bench = async (json: string, ...words: string[]) => {
  const ended = await runJob(['bench', 'allreduce', '-np', '2', '--sizes', '1K,256K', '--iterations', '3', '--json', json, ...words]);
  return { ...ended, lines: ended.out.split('\n'), rows: (JSON.parse(readFileSync(json, 'utf8')) as { rows: Row[] }).rows };
};
interface Row {
  bytes: number;
  form: string;
  samplesUs: number[];
  plainUs?: number[];
  wrong: number;
}
const folder = t.testdir({});
const shapeOf = (rows: readonly Row[]) => rows.map(({ bytes, form, wrong }) => [bytes, form, wrong]);
const SHAPE = [1024, 262_144].flatMap((bytes) => ['out-of-place', 'in-place'].map((form) => [bytes, form, 0]));
const cellsOf = (line: string | undefined): string[] => line?.trim().split(/\s+/) ?? [];

t.test("nccl-tests' columns", async (t) => {
  const { status, err, lines, rows } = await bench(path.join(folder, 'plain.json'));
  t.equal(status, 0, err);
  t.same(shapeOf(rows), SHAPE);
  t.ok(rows.every(({ samplesUs, plainUs }) => samplesUs.length === 3 && plainUs === undefined));
  const heads = cellsOf(lines.find((line) => /algbw/.test(line)));
  t.same(heads, ['#', 'size', 'count', ...['time', 'algbw', 'busbw', '#wrong'], ...['time', 'algbw', 'busbw', '#wrong']]);
  t.equal(cellsOf(lines.find((line) => /^ +1024 /.test(line))).length, heads.length - 1);
});

t.test('with --compression: verified within its bound', async (t) => {
  const { status, err, lines, rows } = await bench(path.join(folder, 'bf16.json'), '--compression', 'bf16');
  t.equal(status, 0, err);
  t.same(shapeOf(rows), SHAPE);
  t.match(lines[0], /float32, sum, compression bf16/);
  const wrong = await runJob(['bench', 'allreduce', '-np', '1', '--compression', 'zip']);
  t.not(wrong.status, 0);
  t.match(wrong.err, /--compression 'zip': it is none, fp16, bf16/);
});

t.test('with --tls: beside them the time in the clear, and what TLS costs', async (t) => {
  const { status, err, lines, rows } = await bench(path.join(folder, 'tls.json'), '--tls');
  t.equal(status, 0, err);
  t.same(shapeOf(rows), SHAPE);
  t.ok(
    rows.every(({ samplesUs, plainUs }) => samplesUs.length === 6 && plainUs!.length === 6),
    'two turns of each',
  );
  const heads = cellsOf(lines.find((line) => /algbw/.test(line)));
  const form = ['time', 'algbw', 'busbw', '#wrong', 'plain', 'ratio'];
  t.same(heads, ['#', 'size', 'count', ...form, ...form]);
  for (const bytes of [1024, 262_144]) {
    const cells = cellsOf(lines.find((line) => line.trim().startsWith(`${bytes} `))).map(Number);
    t.equal(cells.length, heads.length - 1);
    for (const [i, name] of heads.slice(1).entries())
      if (['time', 'plain', 'ratio'].includes(name)) t.ok(cells[i]! > 0, `${name}: ${cells[i]}`);
  }
});

t.test('--calibrate writes what --cost-model reads', async (t) => {
  const file = path.join(folder, 'costs.json');
  const { status, out, err } = await runJob(['bench', '--calibrate', file, '-np', '3', '--iterations', '2']);
  t.equal(status, 0, err);
  t.match(out, /within a host: .* µs a message, .* GB\/s each way/);
  const { local, remote, reduceSecondsPerByte, measured } = JSON.parse(readFileSync(file, 'utf8'));
  t.ok(local.latencySeconds > 0 && local.secondsPerByte > 0 && reduceSecondsPerByte > 0);
  t.equal(remote, undefined, 'there is one host');
  t.ok(measured.local.points.length > 2 && measured.cpu && Date.parse(measured.date) > 0);
  const job = await runJob([
    'bench',
    'allreduce',
    '-np',
    '2',
    '--sizes',
    '64K',
    '--iterations',
    '1',
    '--cost-model',
    file,
    '--log-level',
    'DEBUG',
  ]);
  t.equal(job.status, 0, job.err);
  t.match(job.err, /allreduce: 65536 bytes on 2 ranks of 1 host\(s\) take, in µs, ring/);
  const alone = await runJob(['bench', '--calibrate', file, '-np', '1']);
  t.not(alone.status, 0);
  t.match(alone.err, /--calibrate takes two ranks or more/);
});
