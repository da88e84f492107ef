/**
 * `tsrun doctor` on hosts of their own: each fault that it must find is made on one of them, and found there with one line and what mends it; a job then ends with the code that doctor
 * ended with.
 *
 * The hosts share disk and clock, so a fault is a mount in one host's own namespace, or a route of it; each is undone before the next.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { BedHost } from '../helpers/bed_host';
import { TestBed, whyNoBed } from '../helpers/test_bed';

const root = path.join(__dirname, '..', '..', '..');
const whyNoFaketime = spawnSync('faketime', ['--version']).error ? 'needs faketime' : undefined;
const RANGE = '31000-31007';

/** In one host only; undone with the test. */
function mount(t: Test, host: BedHost, target: string, ...words: string[]): void {
  const { status, err } = host.exec(['mount', ...words, target]);
  if (status !== 0) throw new Error(`mount ${words.join(' ')} ${target} on ${host.name}: ${err}`);
  t.teardown(() => {
    const undone = host.exec(['umount', '-l', target]);
    if (undone.status !== 0) throw new Error(`umount ${target} on ${host.name}: ${undone.err}`);
  });
}

interface Found {
  /** Where the fault is, and what doctor is to say of it. */
  readonly host: BedHost;
  readonly check: string;
  readonly says?: RegExp;
  /** What follows the arrow, or stands in the message itself. */
  readonly mend: string;
  readonly level?: 'error' | 'warning';
  readonly exitCode: number;
  readonly options?: readonly string[];
  /** Those that are asked, a rank each. */
  readonly hosts?: readonly number[];
}

/** One line of all that doctor prints is bad, and a job ends as doctor said. */
async function finds(
  t: Test,
  bed: TestBed,
  { host, check, says = /./, mend, level = 'error', exitCode, options = [], hosts = [1, 2] }: Found,
) {
  const asked = ['-np', String(hosts.length), '-H', bed.list(...hosts), '--wdir', root, '--start-timeout', '20', ...options];
  const { status, out, err, left } = await bed.run(['doctor', ...asked]);
  t.equal(status, exitCode, err);
  const bad = out.split('\n').filter((line) => /^\S+: (error|warning) /.test(line));
  t.equal(bad.length, 1, out);
  const [line = ''] = bad;
  t.ok(line.startsWith(`${host.name}: ${level.padEnd(7)} ${check}: `), line);
  t.match(line, says);
  t.ok(line.includes(mend), `${line} says ${mend}`);
  t.same(left, []);
  const job = await bed.run([...asked, '--', 'true']);
  t.equal(job.status, exitCode, `a job ends with the same code: ${job.err}`);
  t.same(job.left, []);
}

t.test('doctor on three hosts', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(2);
  t.teardown(() => bed.down());
  const h2 = bed.hosts[2]!;
  const byConfig = (host: BedHost) => `ssh -F ${bed.sshConfig} ${host.name}`;
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };
  const install = `${byConfig(h2)} 'cd '\\''${root}'\\'' && npm install khorovod@${version}'`;

  t.test('hosts that are well', async (t) => {
    const { status, out, err, left } = await bed.run([
      ...['doctor', '-np', '3', '-H', bed.list(0, 1, 2), '--wdir', root, '--port-range', RANGE, '--json'],
    ]);
    t.equal(status, 0, err);
    const told = JSON.parse(out) as { exitCode: number; findings: Array<{ host: string; check: string; level: string }> };
    t.equal(told.exitCode, 0);
    t.same(
      told.findings.filter(({ level }) => level !== 'ok'),
      [],
    );
    for (const { name } of bed.hosts)
      for (const check of ['package', 'network', 'ports', 'clock', 'disk'])
        t.ok(
          told.findings.some((one) => one.host === name && one.check === check),
          `${name} ${check}`,
        );
    t.same(left, []);
  });

  t.test('a refused key', async (t) => {
    mount(t, h2, path.join(bed.folder, 'user.pub'), '--bind', '/dev/null');
    const mend = `ssh-copy-id -F ${bed.sshConfig} ${h2.name}`;
    await finds(t, bed, { host: h2, check: 'key', says: /accepts none of the keys/, mend, exitCode: 3 });
  });

  t.test('a changed host key', async (t) => {
    const known = readFileSync(bed.knownHosts, 'utf8');
    t.teardown(() => writeFileSync(bed.knownHosts, known));
    const [, keyOf1, keyOf2] = known.split('\n').map((line) => line.split(' ')[2]!);
    t.not(keyOf1, keyOf2);
    writeFileSync(bed.knownHosts, known.replace(keyOf2!, keyOf1!));
    const mend = `ssh-keygen -R '${h2.name}' -f ${bed.knownHosts}`;
    await finds(t, bed, { host: h2, check: 'host key', says: /has CHANGED/, mend, exitCode: 3 });
  });

  t.test('a missing package', async (t) => {
    mount(t, h2, path.join(root, 'dist'), '-t', 'tmpfs', 'none');
    await finds(t, bed, { host: h2, check: 'package', says: /found no khorovod/, mend: install, exitCode: 3 });
  });

  t.test('an older version', async (t) => {
    const older = path.join(bed.folder, 'older.json');
    writeFileSync(older, readFileSync(path.join(root, 'package.json'), 'utf8').replace(`"version": "${version}"`, '"version": "0.0.9"'));
    mount(t, h2, path.join(root, 'package.json'), '--bind', older);
    const says = new RegExp(`khorovod 0\\.0\\.9, here is ${version.replaceAll('.', '\\.')}`);
    await finds(t, bed, { host: h2, check: 'package', says, mend: install, exitCode: 3 });
  });

  t.test('a port range that a firewall drops', async (t) => {
    const rule = ['sport', RANGE, 'ipproto', 'tcp', 'blackhole'];
    t.equal(h2.exec(['ip', 'rule', 'add', ...rule]).status, 0);
    t.teardown(() => h2.exec(['ip', 'rule', 'del', ...rule]));
    const mend = `${byConfig(h2)} 'sudo iptables -I INPUT -p tcp --dport 31000:31007 -j ACCEPT'`;
    await finds(t, bed, { host: h2, check: 'network', says: /not from h1/, mend, exitCode: 3, options: ['--port-range', RANGE] });
  });

  t.test('a port range that is taken on loopback, where the store is passed on', async (t) => {
    t.teardown(await h2.occupy('127.0.0.1', 31000));
    await finds(t, bed, {
      ...{ host: h2, check: 'ports', says: /cannot reach the store: .*31000/, mend: 'give another --port-range', exitCode: 3 },
      options: ['--port-range', '31000-31000'],
    });
  });

  t.test('a clock that is 5 minutes off is a warning: a job starts nevertheless', { skip: whyNoFaketime ?? false }, async (t) => {
    const folder = path.join(bed.folder, 'fast');
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'node'), `#!/bin/sh\nexec faketime --exclude-monotonic -f +5m ${process.execPath} "$@"\n`);
    chmodSync(path.join(folder, 'node'), 0o755);
    const profile = path.join(bed.folder, 'fast.profile');
    writeFileSync(profile, `PATH=${folder}:$PATH\n`);
    mount(t, h2, path.join(bed.folder, 'home', '.profile'), '--bind', profile);
    const mend = `${byConfig(h2)} 'sudo timedatectl set-ntp true'`;
    await finds(t, bed, { host: h2, check: 'clock', says: /(299|300|301)\.\d s ahead/, mend, level: 'warning', exitCode: 0 });
  });

  t.test('a full disk', async (t) => {
    // The bed's own folder stays where it is.
    const tmp = os.tmpdir();
    const kept = '/run/bed';
    t.equal(h2.exec(['mkdir', kept]).status, 0);
    mount(t, h2, kept, '--bind', bed.folder);
    mount(t, h2, tmp, '-t', 'tmpfs', '-o', 'size=64k', 'small');
    t.equal(h2.exec(['mkdir', bed.folder]).status, 0);
    mount(t, h2, bed.folder, '--bind', kept);
    t.not(h2.exec(['dd', 'if=/dev/zero', `of=${tmp}/filled`, 'bs=4k']).status, 0, 'it is full');
    const mend = `${byConfig(h2)} 'df -h "\${TMPDIR:-/tmp}"'`;
    await finds(t, bed, { host: h2, check: 'disk', says: /ENOSPC/, mend, exitCode: 3 });
  });

  t.test("a full disk under --output-filename, on the launcher's host, is a warning: a job starts nevertheless", async (t) => {
    const kept = '/run/output';
    t.equal(bed.here.exec(['mkdir', kept]).status, 0);
    mount(t, bed.here, kept, '-t', 'tmpfs', '-o', 'size=64k', 'small');
    t.not(bed.here.exec(['dd', 'if=/dev/zero', `of=${kept}/filled`, 'bs=4k']).status, 0, 'it is full');
    const asked = ['-np', '2', '-H', bed.list(1, 2), '--wdir', root, '--output-filename', `${kept}/a/b`];
    const { status, out, err, left } = await bed.run(['doctor', ...asked]);
    t.equal(status, 0, err);
    const bad = out.split('\n').filter((line) => /^\S+: (error|warning) /.test(line));
    t.match(bad, [/^job: warning output: --output-filename: .*\/run\/output\/a\/b\/rank\.0: ENOSPC.* → df -h '\/run\/output'$/]);
    t.equal(bad.length, 1, out);
    t.equal(bed.here.exec(['ls', kept]).out, 'filled\n', 'nothing is left of the trial');
    t.same(left, []);
    const job = await bed.run([...asked, '--', 'echo', 'it runs']);
    t.match(job.out, /it runs/);
    t.match(job.err, /ENOSPC.*the console goes on/);
    t.equal(job.status, 1, 'as jobs do whose output was lost');
  });

  t.test('no GPU where one is asked for', async (t) => {
    // This machine may have some.
    const options = ['--gpus-per-process', '64'];
    const mend = `${byConfig(h2)} 'nvidia-smi -L'`;
    await finds(t, bed, { host: h2, check: 'devices', says: /64 each were asked for/, mend, exitCode: 4, options, hosts: [2] });
  });
});

t.test('no common network', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(3, { isolated: [2, 3] });
  t.teardown(() => bed.down());
  const [, h1, h2, h3] = bed.hosts as [BedHost, BedHost, BedHost, BedHost];
  const { status, out, err, left } = await bed.run(['doctor', '-np', '3', '-H', bed.list(1, 2, 3), '--wdir', root]);
  t.equal(status, 3, err);
  const bad = out.split('\n').filter((line) => /^\S+: (error|warning) /.test(line));
  t.equal(bad.length, 2, out);
  for (const [i, [host, other]] of [
    [h2, h3],
    [h3, h2],
  ].entries()) {
    const line = bad[i]!;
    t.ok(line.startsWith(`${host!.name}: error   network: `), line);
    t.ok(line.includes(`${host!.address} (not from ${other!.name})`), line);
    t.match(line, / → put the hosts on one network, .*all TCP ports/);
    t.ok(line.endsWith(`ssh -F ${bed.sshConfig} ${host!.name} 'ip route'`), line);
  }
  t.notOk(bad.some((line) => line.startsWith(h1.name)));
  t.same(left, []);
  const job = await bed.run(['-np', '3', '-H', bed.list(1, 2, 3), '--wdir', root, '--', 'true']);
  t.equal(job.status, 3, 'nor does a job start');
  t.same(job.left, []);
});
