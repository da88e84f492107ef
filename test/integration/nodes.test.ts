/** One tsrun a host, without ssh. (Both hosts are this machine.) */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { freePort } from '../helpers/free_port';
import { Job } from '../helpers/tsrun';

const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-nodes-'));
const keyFile = path.join(folder, 'key');
writeFileSync(keyFile, Buffer.alloc(32, 9), { mode: 0o600 });
t.teardown(() => rmSync(folder, { recursive: true }));

const entry = path.join(__dirname, '..', '..', 'src', 'index.js');
const start = (port: number, node: number, command: string[], options: string[] = []): Job => {
  const own = ['--nnodes', '2', '--node-rank', String(node), '--rdzv-endpoint', `127.0.0.1:${port}`, '--key-file', keyFile];
  return new Job(['-np', '3', ...own, ...options, '--', ...command]);
};
const codes = (jobs: readonly Job[]): Promise<number[]> => Promise.all(jobs.map((job) => job.status()));
const left = async (jobs: readonly Job[]): Promise<string[]> => (await Promise.all(jobs.map((job) => job.leftAfter()))).flat();

t.test('the ranks of all hosts meet; each tsrun shows its own', async (t) => {
  const port = await freePort();
  const code = `const hvd = require(${JSON.stringify(entry)}); hvd.init(); console.log('sum', hvd.allreduce(Float32Array.of(hvd.rank() + 1), { op: 'sum' })[0], hvd.localSize(), hvd.crossSize());`;
  const second = start(port, 1, ['node', '-e', code]);
  const first = start(port, 0, ['node', '-e', code]);
  t.same(await codes([first, second]), [0, 0], first.err + second.err);
  t.same(first.out.split('\n').sort(), ['', '[0]<stdout>:sum 6 2 2', '[1]<stdout>:sum 6 2 1']);
  t.equal(second.out, '[2]<stdout>:sum 6 1 2\n');
  t.same(await left([first, second]), []);
});

t.test('a rank that fails ends all hosts with its code, and each says where', async (t) => {
  const port = await freePort();
  const command = ['sh', '-c', 'test $HOROVOD_RANK = 2 && exit 7; sleep 60'];
  const jobs = [start(port, 0, command), start(port, 1, command)];
  t.same(await codes(jobs), [7, 7]);
  t.match(jobs[0]!.err, /node 1 \(host .*\) has failed: rank 2 on host .* ended with exit code 7/);
  t.match(jobs[1]!.err, /rank 2 on host .* ended with exit code 7/);
  t.same(await left(jobs), []);
});

t.test('servers run on node 0, until the ranks of all hosts have ended', async (t) => {
  const port = await freePort();
  const last = path.join(folder, 'last');
  const server = `while [ ! -e ${last} ]; do sleep 0.1; done; echo written down`;
  // Node 0 has no rank left for longer than servers have to end.
  const rank = `[ $HOROVOD_RANK != 2 ] || { sleep 6; : > ${last}; }`;
  const command = ['sh', '-c', `if [ -n "$TSRUN_SERVER" ]; then ${server}; else ${rank}; fi`];
  const jobs = [start(port, 0, command, ['--ps', '1']), start(port, 1, command, ['--ps', '1'])];
  t.same(await codes(jobs), [0, 0]);
  t.same(
    jobs.map(({ out, err }) => out + err),
    ['[ps0]<stdout>:written down\n', ''],
  );
  t.same(await left(jobs), []);
});

t.test('with --keep-going a rank that fails ends no other host', async (t) => {
  const port = await freePort();
  const command = ['sh', '-c', 'test $HOROVOD_RANK = 2 && exit 7; sleep 1; echo through'];
  const jobs = [start(port, 0, command, ['--keep-going']), start(port, 1, command, ['--keep-going'])];
  t.same(await codes(jobs), [0, 7]);
  t.equal(jobs[0]!.out.match(/through/g)?.length, 2);
  t.same(await left(jobs), []);
});

for (const killed of [0, 1]) {
  t.test(`the tsrun of node ${killed} is killed: nothing is left anywhere`, async (t) => {
    const port = await freePort();
    const command = ['sh', '-c', 'touch @/begun; sleep 60'];
    const jobs = [start(port, 0, command), start(port, 1, command)];
    for (const job of jobs) await job.files(/^begun$/, 1);
    process.kill(jobs[killed]!.pid, 'SIGKILL');
    t.equal(await jobs[1 - killed]!.status(), 1);
    t.match(jobs[1 - killed]!.err, killed === 0 ? /the tsrun of node 0 .* is gone/ : /node 1 .* has failed: its tsrun is gone/);
    t.same(await left(jobs), []);
  });
}

t.test('what is wrong is said before any rank starts', async (t) => {
  const port = await freePort();
  const served = [start(port, 0, ['echo', 'started'], ['--ps', '1']), start(port, 1, ['echo', 'started'])];
  t.same(await codes(served), [3, 3]);
  t.match(served[1]!.err, /node 0 .* has --ps 1, this one 0/);
  const alone = start(port, 0, ['echo', 'started'], ['--start-timeout', '3']);
  t.equal(await alone.status(), 3);
  t.match(alone.err, /after 3 s node 1 of 2 had not come .*--node-rank 1/);
  const nobody = start(port, 1, ['echo', 'started'], ['--start-timeout', '3']);
  t.equal(await nobody.status(), 3);
  t.match(nobody.err, /Connecting to node 0 at 127\.0\.0\.1:\d+ .*ECONNREFUSED/);
  const other = new Job([
    '-np',
    '4',
    '--nnodes',
    '2',
    '--node-rank',
    '1',
    '--rdzv-endpoint',
    `127.0.0.1:${port}`,
    '--key-file',
    keyFile,
    '--',
    'echo',
    'started',
  ]);
  const first = start(port, 0, ['echo', 'started']);
  t.same(await codes([other, first]), [3, 3]);
  t.match(other.err, /node 0 .* has -np 3, this one 4/);
  chmodSync(keyFile, 0o644);
  const open = start(port, 0, ['echo', 'started']);
  t.equal(await open.status(), 3);
  t.match(open.err, /chmod 600/);
  t.equal([...served, alone, nobody, other, first, open].map(({ out }) => out).join(''), '');
  t.same(await left([...served, alone, nobody, other, first, open]), []);
});
