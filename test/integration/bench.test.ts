/** `tsrun bench`: what it prints and records, of every collective, with and without TLS, and beside other libraries. Not how fast it is. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { collectives } from '../../launcher/bench_words';
import { runJob } from '../helpers/tsrun';

interface Row {
  bytes: number;
  count: number;
  form: string;
  samplesUs: number[];
  plainUs?: number[];
  wrong: number;
  copied: number;
}
interface Recorded {
  collective: string;
  machine: Record<string, unknown>;
  versions: Record<string, string>;
  knobs: Record<string, unknown>;
  rows: Row[];
}
const folder = t.testdir({});
async function bench(collective: string, ...words: string[]) {
  const json = path.join(folder, 'record.json');
  const ended = await runJob(['bench', collective, '-np', '2', '--iterations', '3', '--json', json, ...words]);
  return { ...ended, lines: ended.out.split('\n'), record: JSON.parse(readFileSync(json, 'utf8')) as Recorded };
}
const shapeOf = (rows: readonly Row[]) => rows.map(({ bytes, form, wrong }) => [bytes, form, wrong]);
const SIZES = ['--sizes', '1K,256K'];
const SHAPE = [1024, 262_144].flatMap((bytes) => ['out-of-place', 'in-place'].map((form) => [bytes, form, 0]));
const cellsOf = (line: string | undefined): string[] => line?.trim().split(/\s+/) ?? [];
const SHARED = ['#', 'size', 'count', 'type', 'redop'];
const FORM = ['time', 'p50', 'p99', 'algbw', 'busbw', '#wrong', 'copied'];

t.test("nccl-tests' columns, and the record", async (t) => {
  const { status, err, lines, record } = await bench('allreduce', ...SIZES);
  t.equal(status, 0, err);
  t.same(shapeOf(record.rows), SHAPE);
  t.ok(record.rows.every(({ samplesUs, plainUs }) => samplesUs.length === 3 && plainUs === undefined));
  t.same(
    record.rows.map(({ copied }) => copied),
    [2, 0, 2, 0],
    'in and out; nothing on arrays from allocate',
  );
  for (const name of ['cpu', 'cores', 'kernel', 'memoryBytes']) t.ok(record.machine[name], name);
  t.same([record.versions.node, record.knobs.TSRUN_TLS], [process.version, false]);
  const heads = cellsOf(lines.find((line) => /algbw +busbw/.test(line)));
  t.same(heads, [...SHARED, ...FORM, ...FORM]);
  t.equal(cellsOf(lines.find((line) => /^ +1024 /.test(line))).length, heads.length - 1);
});

t.test('every collective, down to one element', async (t) => {
  // Bytes and count of `--sizes 1,4K` on two ranks, and what is copied of the larger.
  const float64 = { allreduce: [8, 1, 2], 'grouped-allreduce': [24, 3, 2], allgather: [16, 1, 1], broadcast: [8, 1, 2] };
  const expected: Record<string, number[]> = { ...float64, reducescatter: [16, 1, 1.5], alltoall: [16, 1, 1.5], barrier: [0, 0, 0] };
  for (const collective of collectives) {
    const own = collective === 'grouped-allreduce' ? ['--parts', '3'] : [];
    const { status, err, record } = await bench(collective, '--sizes', '1,4K', '--dtype', 'float64', ...own);
    t.equal(status, 0, err);
    t.equal(record.collective, collective);
    const [first] = record.rows;
    t.same([first!.bytes, first!.count, record.rows.filter(({ form }) => form === 'out-of-place').at(-1)!.copied], expected[collective]);
    t.ok(record.rows.every(({ samplesUs, wrong }) => samplesUs.length === 3 && wrong === 0));
  }
});

t.test('several calls under way, in one order or another; dtypes and ops', async (t) => {
  for (const words of [
    ['--out-of-order', '--dtype', 'int64', '--op', 'max'],
    ['--in-order', '--op', 'average', '--dtype', 'int8'],
  ]) {
    const { status, err, record } = await bench('allreduce', '--sizes', '64,2K', ...words);
    t.equal(status, 0, err);
    t.ok(record.rows.length === 4 && record.rows.every(({ wrong }) => wrong === 0), words.join(' '));
  }
});

t.test('with --compression: verified within its bound; wrong options', async (t) => {
  const { status, err, lines, record } = await bench('allreduce', ...SIZES, '--compression', 'bf16');
  t.equal(status, 0, err);
  t.same(shapeOf(record.rows), SHAPE);
  t.match(lines[1], /allreduce, 2 ranks on 1 host.*compression bf16/);
  const wrong = await runJob(['bench', 'allreduce', '-np', '2', '--compression', 'zip']);
  t.equal(wrong.status, 2);
  t.match(wrong.err, /--compression 'zip': it is none, fp16, bf16/);
  const unbounded = await runJob(['bench', 'allreduce', '-np', '2', '--compression', 'int8']);
  t.equal(unbounded.status, 2);
  t.match(unbounded.err, /--compression 'int8': it is none, fp16, bf16/, 'nothing is measured that is not verified');
});

t.test('with --tls: beside them the time in the clear, and what TLS costs', async (t) => {
  const { status, err, lines, record } = await bench('allreduce', ...SIZES, '--tls');
  t.equal(status, 0, err);
  t.same(shapeOf(record.rows), SHAPE);
  t.ok(
    record.rows.every(({ samplesUs, plainUs }) => samplesUs.length === 6 && plainUs!.length === 6),
    'two turns of each',
  );
  const heads = cellsOf(lines.find((line) => /algbw +busbw/.test(line)));
  const form = [...FORM, 'plain', 'ratio'];
  t.same(heads, [...SHARED, ...form, ...form]);
  for (const bytes of [1024, 262_144]) {
    const cells = cellsOf(lines.find((line) => line.trim().startsWith(`${bytes} `)));
    t.equal(cells.length, heads.length - 1);
    for (const [i, name] of heads.slice(1).entries())
      if (['time', 'p50', 'plain', 'ratio'].includes(name)) t.ok(Number(cells[i]) > 0, `${name}: ${cells[i]}`);
  }
});

t.test('--compare names what is not installed, and what installs it', async (t) => {
  const words = ['bench', 'allreduce', '-np', '2', '--sizes', '1K', '--compare', 'gloo,gloo-cpp,openmpi,openmpi-tcp'];
  const { status, out, err, left } = await runJob(words, { env: { PATH: t.testdir({}) } });
  t.equal(status, 1);
  for (const [name, install] of Object.entries({
    gloo: 'python3-torch',
    'gloo-cpp': 'libgloo-dev',
    openmpi: 'openmpi-bin',
    'openmpi-tcp': 'libopenmpi-dev',
  }))
    t.match(out, new RegExp(`^# ${name}: left out, for it is not installed: .*To install it: .*${install}`, 'm'));
  t.match(err, /none of the libraries is installed/);
  t.same(left, []);
});

t.test('--compare is of allreduce on this machine', async (t) => {
  const other = await runJob(['bench', 'broadcast', '--compare', 'gloo']);
  t.equal(other.status, 2);
  t.match(other.err, /measure allreduce only, no broadcast/);
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
