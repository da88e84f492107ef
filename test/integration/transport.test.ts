/** What ranks of one host exchange by, as `--transport` and the system allow; that sums are right by each way, and what a killed rank is to the others. */
import path from 'node:path';
import t from 'tap';
import { namespaceOf, whyNoUnixSockets } from '../../src/transport/unix';
import { Job, runJob, worker } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');
const entry = path.join(root, 'dist', 'src', 'index.js');
const skip = whyNoUnixSockets(false, namespaceOf('net')) ?? false;

/** Two generations of small and large sums, then the sums' verdicts. */
const sums = `const hvd = require(${JSON.stringify(entry)});
  for (let generation = 1; generation <= 2; generation += 1) {
    hvd.init();
    const total = hvd.size() * (hvd.size() + 1) / 2;
    const isRight = [1, 1000, 300_007, 1 << 21].every((elems) =>
      hvd.allreduce(Float32Array.from({ length: elems }, (_, i) => (hvd.rank() + 1) * (i % 100)), { op: 'sum' }).every((x, i) => x === total * (i % 100)));
    const roots = hvd.broadcast(new Float32Array(500_000).fill(hvd.rank()), hvd.size() - 1);
    console.log(generation, isRight, roots.every((x) => x === hvd.size() - 1));
    hvd.shutdown();
  }`;
/** As on a host where koffi is not installed. */
const withoutKoffi = `const resolution = require('node:module');
  const resolve = resolution._resolveFilename;
  resolution._resolveFilename = (name, ...rest) => { if (name === 'koffi') throw new Error('not installed'); return resolve(name, ...rest); };`;

/** What its links go over, by channel, as its log at level debug says; and what it warns of. */
async function waysOf(np: number, transport: string, before = '', ...options: string[]) {
  const words = ['-np', String(np), '--transport', transport, '--log-level', 'debug', '--no-prefix', ...options];
  const { status, out, err, left } = await runJob([...words, '--', 'node', '-e', before + sums]);
  t.equal(status, 0, err);
  t.same(out.trim().split('\n').sort(), [...Array(np).fill('1 true true'), ...Array(np).fill('2 true true')]);
  t.same(left, []);
  const ways = new Set([...err.matchAll(/The (\w+) link with .* goes over (.*)\./g)].map(([, channel, way]) => `${channel}: ${way}`));
  if (/sends comes through shared memory/.test(err)) ways.add('shared memory');
  // Each generation says it again.
  const warnings = new Set([...err.matchAll(/WARNING\] (.*)/g)].map(([, text]) => text));
  return { ways: [...ways].sort(), warnings: [...warnings] };
}

t.test('Unix sockets, TCP, and what auto takes where there is no koffi', { skip }, async (t) => {
  for (const np of [2, 3]) {
    const { ways, warnings } = await waysOf(np, 'unix');
    t.same(ways, ['control: a Unix socket', 'data: a Unix socket'], `unix, ${np} ranks`);
    t.same(warnings, []);
  }
  const tcp = await waysOf(2, 'tcp');
  t.same(tcp.ways, ['control: TCP', 'data: TCP']);
  t.same(tcp.warnings, []);
  const auto = await waysOf(2, 'auto', withoutKoffi);
  t.same(auto.ways, ['control: a Unix socket', 'data: a Unix socket']);
  t.equal(auto.warnings.length, 1);
  t.match(auto.warnings[0], /^\[0\]: The ranks on host localhost exchange by sockets, not by shared memory: /);
});

t.test('with --tls every link is TCP, which is said where Unix sockets were asked for', { skip }, async (t) => {
  const { ways, warnings } = await waysOf(2, 'unix', '', '--tls');
  t.same(ways, ['control: TCP', 'data: TCP']);
  t.equal(warnings.length, 1);
  t.match(warnings[0], /^\[0\]: The processes on host localhost exchange by TCP, not by Unix sockets: with --tls/);
});

t.test('several TCP streams: right sums, over as many links, and none more on Unix sockets', { skip }, async (t) => {
  const links = async (transport: string): Promise<number> => {
    const words = ['-np', '2', '--transport', transport, '--streams', '3', '--log-level', 'debug', '--no-prefix', '--', 'node', '-e', sums];
    const { status, out, err, left } = await runJob(words);
    t.equal(status, 0, err);
    t.same(out.trim().split('\n').sort(), ['1 true true', '1 true true', '2 true true', '2 true true']);
    t.same(left, []);
    return err.match(/The data link with/g)!.length;
  };
  // Each rank dials in each generation.
  t.equal(await links('tcp'), 2 * 2 * 3);
  t.equal(await links('unix'), 2 * 2);
});

t.test('parameter servers too are reached by Unix sockets', { skip }, async (t) => {
  const job = new Job([
    '-np',
    '2',
    '--ps',
    '1',
    '--strategy',
    'ps-sync',
    '--transport',
    'unix',
    '--log-level',
    'debug',
    worker('pushes_ones.js'),
    '@',
    '3',
  ]);
  const status = await job.status();
  t.equal(status, 0, job.err);
  for (const channel of ['push', 'pull', 'control'])
    t.match(job.err, new RegExp(`The ${channel} link with .* on host localhost goes over a Unix socket`));
  t.notMatch(job.err, /goes over TCP/);
  t.same(await job.leftAfter(), []);
});

t.test('a rank that is killed is named to the others, and nothing is left', { skip }, async (t) => {
  const job = new Job(['-np', '3', '--transport', 'unix', worker('reports_peer_error.js'), '@']);
  await job.files(/^ready-/, 3);
  process.kill(Number(job.read('ready-1')), 'SIGKILL');
  t.equal(await job.status(), 137, job.err);
  await job.files(/^failed-/, 2);
  for (const rank of [0, 2]) {
    const { first, later } = JSON.parse(job.read(`failed-${rank}`));
    for (const error of [first, later]) t.match(error, { isPeerError: true, peer: 1, message: /rank 1/i }, `on rank ${rank}`);
  }
  t.same(await job.leftAfter(), []);
});
