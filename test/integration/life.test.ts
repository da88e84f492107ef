/** A rank's life from its program's side: what keeps it alive, what it still owes its peers when it ends, which scripts run as they are. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { findDevices, findTaskset } from '../../launcher/devices';
import { parseCpuList } from '../../launcher/pinning';
import { runJob } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');
const entry = path.join(root, 'dist', 'src', 'index.js');
const run = (np: number, code: string, ...options: string[]) =>
  runJob(['-np', String(np), ...options, '--', 'node', '-e', `const hvd = require(${JSON.stringify(entry)}); ${code}`]);

t.test('a program that joins and returns ends by itself', async (t) => {
  const { status, left, err } = await run(2, 'hvd.init(); hvd.allreduce(Float32Array.of(1));');
  t.equal(status, 0, err);
  t.same(left, []);
});

t.test('over TLS, large and small, again after shutdown()', async (t) => {
  const code = `for (let generation = 1; generation <= 2; generation += 1) {
    hvd.init();
    const large = hvd.allreduce(new Float32Array(1 << 20).fill(hvd.rank() + 1), { op: 'sum' });
    console.log(generation, hvd.allreduce(Float32Array.of(2), { op: 'sum' })[0], large.every((x) => x === 6));
    hvd.shutdown();
  }`;
  const { status, out, err, left } = await run(3, code, '--tls', '--no-prefix');
  t.equal(status, 0, err);
  t.same(out.split('\n').sort(), ['', ...Array(3).fill('1 6 true'), ...Array(3).fill('2 6 true')]);
  t.same(left, []);
});

t.test('an awaited handle keeps the process alive, one that nobody awaits does not', async (t) => {
  const awaited = await run(
    2,
    `hvd.init(); (async () => {
      if (hvd.rank() === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
      const [sum] = await hvd.allreduceAsync(Float32Array.of(1), { op: 'sum', name: 'late' });
      console.log('sum ' + sum);
    })();`,
  );
  t.equal(awaited.status, 0, awaited.err);
  t.equal(awaited.out.match(/sum 2/g)?.length, 2);
  const forgotten = await run(1, "hvd.init(); hvd.allreduceAsync(Float32Array.of(1), { op: 'sum' });");
  t.equal(forgotten.status, 0, forgotten.err);
});

t.test('a rank that blocks its main thread for longer than --peer-timeout is slow, not lost', async (t) => {
  const { status, out, err } = await run(
    2,
    `hvd.init(); if (hvd.rank() === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
     console.log('sum ' + hvd.allreduce(Float32Array.of(1), { op: 'sum' })[0]);`,
    '--peer-timeout',
    '2',
  );
  t.equal(status, 0, err);
  t.equal(out.match(/sum 2/g)?.length, 2);
});

t.test('what the others still need of a complete operation is sent before a rank ends', async (t) => {
  // Rank 0 is the root of 64 MiB and ends as soon as its own part is done.
  const { status, out, err } = await run(
    3,
    "hvd.init(); const x = new Float32Array(1 << 24).fill(hvd.rank() === 0 ? 7 : 0); const y = hvd.broadcast(x, 0); console.log('last ' + y[y.length - 1]);",
  );
  t.equal(status, 0, err);
  t.equal(out.match(/last 7/g)?.length, 3);
});

t.test('collectives with a rank that has left by shutdown() are a ShutdownError, at once', async (t) => {
  const { status, out, err } = await run(
    2,
    // Rank 1 stays until rank 0 has its error: that does not wait for its process to end.
    `const fs = require('fs'); hvd.init();
     if (hvd.rank() === 1) { hvd.shutdown(); const stay = setInterval(() => fs.existsSync('@/told') && clearInterval(stay), 20); }
     else {
       try { hvd.allreduce(Float32Array.of(1), { name: 'alone' }); } catch (error) { console.log(error.constructor.name, error.peer); }
       fs.writeFileSync('@/told', '');
     }`,
  );
  t.equal(status, 0, err);
  t.match(out, /ShutdownError 1$/m);
});

t.test('a rank that never comes is a RendezvousError that names it, after --start-timeout', async (t) => {
  const { status, err } = await run(
    3,
    "if (process.env.HOROVOD_RANK === '2') setTimeout(() => {}, 60000); else hvd.init();",
    // Also for tsrun's own start.
    '--start-timeout',
    '6',
  );
  t.equal(status, 1);
  t.match(err, /RendezvousError: .*\brank 2\b/);
});

t.test('a rank whose exit code is not 0 fails its peers with its code', async (t) => {
  const { status, err } = await run(
    2,
    // SIGTERM follows at once, and may come before the peer's own error.
    "process.on('SIGTERM', () => {}); hvd.init(); if (hvd.rank() === 1) { hvd.barrier(); process.exit(9); } hvd.barrier(); hvd.allreduce(Float32Array.of(1), { name: 'x' });",
  );
  t.equal(status, 9);
  t.match(err.trimEnd().split('\n').at(-1), /rank 1 on host localhost ended with exit code 9/);
  t.match(err, /PeerError: .*[Rr]ank 1.*exit code 9/);
});

const { cpus } = findDevices(undefined);
const canBind = cpus.length >= 2 && findTaskset(process.env.PATH ?? '') !== undefined;
t.test(
  'ranks run on processors of their own where there is one for each',
  { skip: !canBind && 'needs two processors and the taskset of util-linux' },
  async (t) => {
    const cpusOf = async (np: number, ...options: string[]): Promise<number[][]> => {
      const command = ['grep', 'Cpus_allowed_list', '/proc/self/status'];
      const { out, status } = await runJob(['-np', String(np), '--no-prefix', ...options, '--', ...command]);
      t.equal(status, 0);
      return out
        .trim()
        .split('\n')
        .map((line) => parseCpuList(line.split('\t')[1]!).filter((cpu) => cpus.includes(cpu)));
    };
    const all = [...cpus].sort((a, b) => a - b);
    const shares = await cpusOf(2);
    t.same(
      shares.flat().sort((a, b) => a - b),
      all,
      "every processor is one rank's",
    );
    t.ok(
      shares.every(({ length }) => length > 0),
      `${shares}`,
    );
    t.same(await cpusOf(2, '--bind-to', 'none'), [all, all]);
    t.same(await cpusOf(3, '--bind-to', 'none'), [all, all, all]);
  },
);

t.test('a taskset that does not work binds nobody, and is an error only for who asked', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-taskset-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, 'taskset'), '#!/bin/sh\necho no such option >&2\nexit 1\n', { mode: 0o755 });
  const env = { env: { PATH: `${folder}:${process.env.PATH}` } };
  const { status, out } = await runJob(['-np', '2', '--', 'echo', 'here'], env);
  t.equal(status, 0);
  t.equal(out.match(/here/g)?.length, 2);
  const asked = await runJob(['-np', '2', '--bind-to', 'core', '--', 'echo', 'here'], env);
  t.equal(asked.status, 4);
  t.match(asked.err, /no taskset .* that works; leave out --bind-to core/);
  t.notMatch(asked.out, /here/);
});

t.test('a script whose interpreter is not there cannot be started', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-script-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const script = path.join(folder, 'job');
  writeFileSync(script, '#!/no/such/shell -e\n', { mode: 0o755 });
  const { status, err } = await runJob(['-np', '2', '--', script]);
  t.equal(status, 3);
  t.match(err, /rank 0 on host localhost: the command '.*job' is a script for \/no\/such\/shell, which is not there/);
});

t.test('without a launcher a program is a job of one', async (t) => {
  const { out, status } = await runJob([
    '-np',
    '1',
    '--',
    'env',
    '-i',
    process.execPath,
    '-e',
    `const hvd = require(${JSON.stringify(entry)}); hvd.init(); console.log(hvd.rank(), hvd.size(), hvd.allreduce(Float32Array.of(3))[0])`,
  ]);
  t.equal(status, 0);
  t.match(out, /0 1 3/);
});

t.test('scripts run as they are, whatever package.json stands near them', async (t) => {
  for (const kind of ['', '{"type": "commonjs"}', '{"type": "module"}']) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-scripts-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    if (kind !== '') writeFileSync(path.join(folder, 'package.json'), kind);
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(root, path.join(folder, 'node_modules', 'khorovod'));
    const body = `import * as hvd from 'khorovod';
enum Kind { One = 1 }
hvd.init();
const late: typeof import('khorovod') = AWAIT;
console.log('same', late.allreduce === hvd.allreduce, hvd.allreduce(new Float32Array([Kind.One]), { op: 'sum' })[0]);
`;
    for (const extension of ['ts', 'mts']) {
      writeFileSync(path.join(folder, `await.${extension}`), body.replace('AWAIT', "await import('khorovod')"));
      const { status, out, err } = await runJob(['-np', '2', `await.${extension}`], { cwd: folder });
      t.equal(status, 0, `${kind} ${extension} ${err}`);
      t.equal(out.match(/same true 2/g)?.length, 2, `${kind} await.${extension}: ${out}`);
    }
    writeFileSync(path.join(folder, 'plain.ts'), `${body.replace('AWAIT', 'hvd')}`);
    const plain = await runJob(['-np', '2', 'plain.ts'], { cwd: folder });
    t.equal(plain.out.match(/same true 2/g)?.length, 2, `${kind} plain.ts: ${plain.err}`);
  }
});

t.test("scripts have glibc ask for huge pages, unless its knobs are somebody's already; other commands are left alone", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-scripts-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, 'knobs.js'), 'console.log(process.env.GLIBC_TUNABLES)');
  const knobs = async (...words: string[]): Promise<string> => (await runJob(['-np', '1', '--no-prefix', ...words], { cwd: folder })).out;
  t.equal(await knobs('knobs.js'), 'glibc.malloc.hugetlb=1\n');
  t.equal(await knobs('-x', 'GLIBC_TUNABLES=glibc.malloc.check=0', 'knobs.js'), 'glibc.malloc.check=0\n');
  t.equal(await knobs('--', 'node', 'knobs.js'), 'undefined\n');
});
