/** Parameter servers as tsrun starts, shows and ends them. The processes are programs that do not call hvd as servers: what a server does is src/'s. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { until, variableOf } from '../helpers/processes';
import { Job, runJob } from '../helpers/tsrun';

const entry = path.join(__dirname, '..', '..', 'src', 'index.js');
const linux = process.platform === 'linux' ? false : 'looks at /proc';
const verdict = (err: string): string => err.trimEnd().split('\n').at(-1)!;
/** One program for a server, another for a rank. */
const either = (server: string, rank: string): string[] => [
  '--',
  'sh',
  '-c',
  `if [ -n "$TSRUN_SERVER" ]; then ${server}; else ${rank}; fi`,
];
const untilThere = (file: string): string => `while [ ! -e ${file} ]; do sleep 0.05; done`;

const ofARank = ['RANK', 'SIZE', 'LOCAL_RANK', 'LOCAL_SIZE', 'CROSS_RANK', 'CROSS_SIZE', 'HOSTNAME'].map((name) => `HOROVOD_${name}`);
const ofAServer = ['TSRUN_SERVER', 'TSRUN_WORKERS', 'TSRUN_HOST'];

t.test('servers and ranks learn who they are; all else is alike', { skip: linux }, async (t) => {
  // tsrun may itself have been started by a rank or a server.
  const inherited = Object.fromEntries([...ofARank, ...ofAServer, 'TSRUN_SERVERS', 'TSRUN_KEEP_GOING'].map((name) => [name, '1']));
  const code = `
    const fs = require('fs');
    const { env } = process;
    const name = env.TSRUN_SERVER === undefined ? 'rank' + env.HOROVOD_RANK : 'ps' + env.TSRUN_SERVER;
    const seen = { env, stdin: fs.readFileSync(0, 'utf8'), keyBytes: fs.readFileSync(env.TSRUN_KEY_FILE).length };
    fs.writeFileSync('@/seen-' + name, JSON.stringify(seen));`;
  const options = ['--ps', '2', '--strategy', 'ps-async', '--keep-going', '--log-level', 'INFO', '-x', 'COLOUR=dark red', '--wdir', '@'];
  const job = new Job(['-np', '2', ...options, '--', 'node', '-e', code], { env: inherited, stdin: 'for rank 0' });
  t.equal(await job.status(), 0, job.err);
  const seen = (name: string) => JSON.parse(job.read(`seen-${name}`)) as { env: Record<string, string>; stdin: string; keyBytes: number };
  const [rank0, rank1, ps0, ps1] = ['rank0', 'rank1', 'ps0', 'ps1'].map(seen);
  t.same(
    [rank0, rank1, ps0, ps1].map((one) => one!.stdin),
    ['for rank 0', '', '', ''],
  );
  for (const [i, one] of [ps0, ps1].entries()) {
    t.same(
      ofARank.filter((name) => name in one!.env),
      [],
      'a server is no rank',
    );
    t.match(one!.env, { TSRUN_SERVER: String(i), TSRUN_WORKERS: '2', TSRUN_HOST: 'localhost', CUDA_VISIBLE_DEVICES: '' });
  }
  for (const [i, one] of [rank0, rank1].entries()) {
    t.same(
      ofAServer.filter((name) => name in one!.env),
      [],
      'a rank is no server',
    );
    t.match(one!.env, { HOROVOD_RANK: String(i), HOROVOD_SIZE: '2', HOROVOD_LOCAL_SIZE: '2', HOROVOD_HOSTNAME: 'localhost' });
  }
  const alike = ['RENDEZVOUS', 'JOB_ID', 'KEY_FILE', 'BIND_ADDRESS', 'TERMINAL_COLUMNS', 'LOCAL_CPUS'].map((name) => `TSRUN_${name}`);
  for (const one of [rank0, rank1, ps0, ps1]) {
    t.match(one!.env, {
      TSRUN_SERVERS: '2',
      TSRUN_KEEP_GOING: '1',
      TSRUN_STRATEGY: 'ps-async',
      HOROVOD_LOG_LEVEL: 'INFO',
      COLOUR: 'dark red',
    });
    t.equal(one!.keyBytes, 32);
    for (const name of alike) t.ok(one!.env[name] !== undefined && one!.env[name] === rank0!.env[name], name);
  }
  t.equal(new Set([rank0, rank1, ps0, ps1].map((one) => one!.env.TSRUN_ERROR_FILE)).size, 4, 'each has an error file of its own');
  t.same(await job.leftAfter(), []);
});

t.test('without --ps and --keep-going nothing speaks of them, whatever the caller had set', { skip: linux }, async (t) => {
  const { status, out } = await runJob(['-np', '1', '--', 'env'], { env: { TSRUN_SERVERS: '3', TSRUN_KEEP_GOING: '1' } });
  t.equal(status, 0);
  t.notMatch(out, /TSRUN_(SERVER|WORKERS|HOST|KEEP_GOING)/);
});

t.test('any command may be a server; its output has a prefix and files of its own', { skip: linux }, async (t) => {
  const job = new Job(['-np', '1', '--ps', '2', '--output-filename', '@/logs', '--', 'sh', '-c', 'echo here; echo woe >&2']);
  t.equal(await job.status(), 0, job.err);
  t.same(job.out.trim().split('\n').sort(), ['[0]<stdout>:here', '[ps0]<stdout>:here', '[ps1]<stdout>:here']);
  t.same(job.err.trim().split('\n').sort(), ['[0]<stderr>:woe', '[ps0]<stderr>:woe', '[ps1]<stderr>:woe']);
  for (const name of ['rank.0', 'ps.0', 'ps.1'])
    t.same([job.read(`logs/${name}/stdout`), job.read(`logs/${name}/stderr`)], ['here\n', 'woe\n']);
  t.same(await job.leftAfter(), []);
});

t.test('a server ends by itself after the ranks, and loses nothing that it still says', { skip: linux }, async (t) => {
  const { status, out, err, left } = await runJob(['-np', '2', '--ps', '1', ...either('sleep 2; echo written down', 'echo done')]);
  t.equal(status, 0);
  t.equal(err, '');
  t.match(out, /\[ps0\]<stdout>:written down/);
  t.same(left, []);
});

t.test('one that does not is ended, which is no failure', { skip: linux }, async (t) => {
  const { status, err, left } = await runJob(['-np', '2', '--ps', '2', ...either('exec sleep 60', 'true')]);
  t.equal(status, 0);
  t.equal(
    err,
    'tsrun: warning: 5 s after the last rank had ended there was still ps0 on host localhost, ps1 on host localhost: ended now\n',
  );
  t.same(left, []);
});

t.test('a server that fails ends the job and is named, with --keep-going too', { skip: linux }, async (t) => {
  for (const options of [[], ['--keep-going']]) {
    const program = either('if [ $TSRUN_SERVER = 1 ]; then sleep 0.3; echo "no space" >&2; exit 9; fi; sleep 60', 'sleep 60');
    const { status, err, left } = await runJob(['-np', '2', '--ps', '2', ...options, ...program]);
    t.equal(status, 9);
    t.match(err, /the last lines of ps1 on stderr:\n {2}\| no space/);
    t.equal(verdict(err), 'tsrun: ps1 on host localhost ended with exit code 9; the others were ended');
    t.same(left, []);
  }
});

t.test('a rank that fails ends the servers at once', { skip: linux }, async (t) => {
  const { status, err, left } = await runJob(['-np', '1', '--ps', '1', ...either('exec sleep 60', 'exit 7')]);
  t.equal(status, 7);
  t.equal(err, 'tsrun: rank 0 on host localhost ended with exit code 7\n');
  t.same(left, []);
});

t.test('with --keep-going the others and the servers go on; the code is the first failure’s', { skip: linux }, async (t) => {
  const rank = `case $HOROVOD_RANK in 1) exit 5;; 2) ${untilThere('@/second')}; exit 6;; *) ${untilThere('@/third')}; echo through; : > @/through;; esac`;
  const job = new Job(['-np', '3', '--ps', '1', '--keep-going', ...either(`${untilThere('@/through')}; echo written down`, rank)]);
  // Each when tsrun has said that the one before it failed.
  for (const [failed, next] of [
    [1, 'second'],
    [2, 'third'],
  ] as const) {
    t.ok(await until(() => job.err.includes(`rank ${failed} on host localhost ended`), 60_000), job.err);
    job.put(next);
  }
  t.equal(await job.status(), 5);
  t.match(job.out, /\[0\]<stdout>:through/);
  t.match(job.out, /\[ps0\]<stdout>:written down/);
  t.same(job.err.trim().split('\n'), [
    'tsrun: rank 1 on host localhost ended with exit code 5; the job goes on (--keep-going)',
    'tsrun: rank 2 on host localhost ended with exit code 6; the job goes on (--keep-going)',
    'tsrun: rank 2 on host localhost ended with exit code 6 as well',
    'tsrun: first, rank 1 on host localhost ended with exit code 5',
  ]);
  t.same(await job.leftAfter(), []);
});

t.test('with --keep-going a job without a rank that ended well does not wait for its servers', { skip: linux }, async (t) => {
  const { status, err, left } = await runJob([
    '-np',
    '2',
    '--ps',
    '1',
    '--keep-going',
    ...either('exec sleep 60', 'sleep $HOROVOD_RANK; exit 5'),
  ]);
  t.equal(status, 5);
  t.notMatch(err, /there was still/);
  t.match(err, /rank 0 .*; the job goes on/);
  t.equal(verdict(err), 'tsrun: first, rank 0 on host localhost ended with exit code 5');
  t.same(left, []);
});

t.test('ranks meet and reduce among themselves beside servers', { skip: linux }, async (t) => {
  // In the server init() serves, and does not return.
  const code = `const hvd = require(${JSON.stringify(entry)}); hvd.init(); console.log('sum', hvd.allreduce(Float32Array.of(hvd.rank() + 1), { op: 'sum' })[0], hvd.size(), hvd.localSize());`;
  const { status, out, err } = await runJob(['-np', '2', '--ps', '1', '--no-prefix', '--', 'node', '-e', code]);
  t.equal(status, 0, err);
  t.equal(out, 'sum 3 2 2\nsum 3 2 2\n');
});

t.test('a host may have servers only; whatever ends the job leaves nothing of them', { skip: linux }, async (t) => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGKILL', 137],
  ] as const) {
    const program = either(': > @/ready-ps; exec sleep 60', ': > @/ready-rank; exec sleep 60');
    const job = new Job(['-np', '1', '-H', 'localhost', '--ps', '1', '--ps-hosts', '127.0.0.1', ...program]);
    await job.files(/^ready-/, 2);
    const hosts = job.processes().map(({ pid }) => variableOf(pid, 'TSRUN_HOST') ?? variableOf(pid, 'HOROVOD_HOSTNAME'));
    t.same(hosts.filter(Boolean).sort(), ['127.0.0.1', 'localhost']);
    process.kill(job.pid, signal);
    t.equal(await job.status(), code, signal);
    t.same(await job.leftAfter(), [], signal);
  }
});

t.test('on another host too, whatever its agent was started in', { skip: linux }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-far-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const reach = path.join(folder, 'reach');
  writeFileSync(reach, '#!/bin/sh\nHOROVOD_RANK=7 TSRUN_SERVER=7 exec /bin/sh -c "$2"\n', { mode: 0o755 });
  const command = ['--', 'sh', '-c', 'echo $TSRUN_SERVER $TSRUN_HOST, $HOROVOD_RANK $HOROVOD_HOSTNAME'];
  const { status, out, err } = await runJob(['-np', '1', '-H', 'far', '--ps', '1', '--rsh', reach, ...command]);
  t.equal(status, 0, err);
  t.same(out.trim().split('\n').sort(), ['[0]<stdout>:, 0 far', '[ps0]<stdout>:0 far,']);
});

t.test('a server that cannot be started is named, and no rank starts', { skip: linux }, async (t) => {
  const { status, out, err } = await runJob([
    '-np',
    '1',
    '-H',
    'localhost',
    '--ps',
    '1',
    '--ps-hosts',
    'far.invalid',
    '--',
    'echo',
    'started',
  ]);
  t.equal(status, 3);
  t.match(err, /far\.invalid/);
  t.equal(out, '');
});

t.test('--dry-run shows them', async (t) => {
  const { status, out } = await runJob(['-np', '1', '--ps', '2', '--ps-hosts', 's1', '--dry-run', '--', 'true']);
  t.equal(status, 0);
  t.same(
    out
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(/ +/)),
    [
      ['0', 'localhost', '0', '0', '-', 'true'],
      ['ps0', 's1', '-', '-', '-', 'true'],
      ['ps1', 's1', '-', '-', '-', 'true'],
    ],
  );
});
