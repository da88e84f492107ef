/** What ranks print: whole, in order, none lost, and no faster than it can be shown. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { Job, runJob } from '../helpers/tsrun';

const linux = process.platform === 'linux' ? false : 'looks at /proc';
const residentKib = (pid: number): number => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);

t.test('200 MB of output do not grow tsrun, and arrive whole', { skip: linux }, async (t) => {
  const line = 'x'.repeat(999);
  const job = new Job([
    '-np',
    '2',
    '--no-prefix',
    '--',
    'node',
    '-e',
    `
    const block = Buffer.from(('${line}' + '\\n').repeat(1000));
    const fs = require('fs');
    for (let i = 0; i < 100; i += 1) for (let at = 0; at < block.length; ) { try { at += fs.writeSync(1, block, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; } }
  `,
  ]);
  let bytes = 0;
  let isRight = true;
  job.child.stdout!.removeAllListeners('data');
  job.child.stdout!.on('data', (text: string) => {
    bytes += text.length;
    isRight &&= /^[x\n]*$/.test(text.slice(0, 4096));
  });
  let most = 0;
  const watch = setInterval(() => {
    if (job.isRunning) most = Math.max(most, residentKib(job.pid) || 0);
  }, 100);
  t.equal(await job.status(180_000), 0);
  clearInterval(watch);
  t.equal(bytes, 200 * 1000 * 1000);
  t.ok(isRight);
  t.ok(most > 0 && most < 250 * 1024, `tsrun held at most ${most} KiB`);
  t.same(await job.leftAfter(), []);
});

t.test('a reader that stops for a while stops the ranks, and loses nothing', { skip: linux }, async (t) => {
  const job = new Job([
    '-np',
    '2',
    '--',
    'sh',
    '-c',
    'i=0; while [ $i -lt 30000 ]; do echo line $i of the many that are printed; i=$((i+1)); done; : > "@/done-$HOROVOD_RANK"',
  ]);
  job.child.stdout!.pause();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  t.ok(job.isRunning);
  job.child.stdout!.resume();
  t.equal(await job.status(), 0);
  for (const rank of [0, 1]) t.equal(job.out.match(new RegExp(`^\\[${rank}\\]<stdout>:line \\d+ of`, 'gm'))?.length, 30_000);
  t.same(await job.leftAfter(), []);
});

t.test('what a rank printed before it crashed is shown', { skip: linux }, async (t) => {
  const { status, out } = await runJob(['-np', '1', '--', 'sh', '-c', 'seq 1 20000; kill -SEGV $$']);
  t.equal(status, 139);
  t.equal(out.match(/<stdout>:/g)?.length, 20_000);
  t.match(out, /:20000\n/);
});

t.test('--output-filename holds each rank’s bytes as they were, besides the console', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', '--output-filename', '@/logs', '--', 'sh', '-c', 'printf "a\\nno newline"; echo woe >&2']);
  t.equal(await job.status(), 0);
  for (const rank of [0, 1]) {
    t.equal(job.read(`logs/rank.${rank}/stdout`), 'a\nno newline');
    t.equal(job.read(`logs/rank.${rank}/stderr`), 'woe\n');
    t.match(job.out, new RegExp(`\\[${rank}\\]<stdout>:a\\n`));
  }
  t.same(await job.leftAfter(), []);
});

t.test('a full disk under --output-filename is one warning and exit 1; the console goes on', { skip: linux }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-full-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  mkdirSync(path.join(folder, 'rank.0'));
  symlinkSync('/dev/full', path.join(folder, 'rank.0', 'stdout'));
  const full = await runJob(['-np', '1', '--output-filename', folder, '--', 'sh', '-c', 'seq 1 100000']);
  t.equal(full.status, 1);
  t.match(full.out, /:100000\n/);
  t.match(full.err, /^tsrun: warning: .*rank\.0\/stdout cannot be written: .*ENOSPC.*\n$/, 'one line');
  const failed = await runJob(['-np', '1', '--output-filename', folder, '--', 'sh', '-c', 'seq 1 10; exit 4']);
  t.equal(failed.status, 4, 'a rank’s failure stands over it');
});

t.test('a folder for --output-filename that cannot be made is refused before anything starts', { skip: linux }, async (t) => {
  // Under /proc Node's own way to make folders never returns.
  for (const folder of ['/dev/null/logs', '/proc/logs', '/proc/logs/deep', '/dev/null']) {
    const { status, err } = await runJob(['-np', '1', '--output-filename', folder, '--', 'true']);
    t.equal(status, 2, folder);
    t.match(err, `tsrun: --output-filename: the folder ${folder}/rank.0 cannot be made: `);
  }
});

t.test('stdin goes to rank 0 byte by byte, the others read end of file', { skip: linux }, async (t) => {
  const big = `${'зміст\n'.repeat(50_000)}end`;
  const { status, out } = await runJob(['-np', '2', '--', 'sh', '-c', 'wc -c'], { stdin: big });
  t.equal(status, 0);
  t.match(out, new RegExp(`\\[0\\]<stdout>: *${Buffer.byteLength(big)}\\n`));
  t.match(out, /\[1\]<stdout>: *0\n/);
});
