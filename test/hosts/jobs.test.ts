/** Jobs on hosts of their own: ranks meet across them, what they say, read and end with comes back, and how hosts are reached. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { TestBed, whyNoBed } from '../helpers/test_bed';
import { worker } from '../helpers/tsrun';

const adds = worker('adds_exactly.js');
const linesOf = (text: string): string[] => text.split('\n').filter(Boolean).sort();

t.test('jobs on three hosts', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(3);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-hosts-'));
  t.teardown(async () => {
    await bed.down();
    rmSync(folder, { recursive: true });
  });
  const [h0, h1, h2, h3] = bed.hosts.map(({ name }) => name);

  t.test('ranks of two hosts add exactly, four of them shared evenly; what they write is there', async (t) => {
    const out = path.join(folder, 'output');
    const { status, out: shown, err, left } = await bed.run(['-np', '4', '-H', bed.list(1, 2), '--output-filename', out, adds, '@', '12']);
    t.equal(status, 0, err);
    const said = (host: string) => `all sums right on ${host}`;
    t.same(
      linesOf(shown),
      [h1, h1, h2, h2].map((host, rank) => `[${rank}]<stdout>:${said(host!)}`),
    );
    t.same(readdirSync(out).sort(), ['rank.0', 'rank.1', 'rank.2', 'rank.3']);
    t.equal(readFileSync(path.join(out, 'rank.3', 'stdout'), 'utf8'), `${said(h2!)}\n`);
    t.same(left, []);
  });

  t.test('this machine may be one of the hosts; a hostfile gives the slots', async (t) => {
    const hostfile = path.join(folder, 'hosts');
    writeFileSync(hostfile, `# the first is here\n${h0} slots=1\n${h3}:2\n`);
    const { status, out, err, left } = await bed.run(['-np', '3', '--hostfile', hostfile, adds, '@', '8']);
    t.equal(status, 0, err);
    t.same(
      linesOf(out).map((line) => line.split(' ').at(-1)),
      [h0, h3, h3],
    );
    t.same(left, []);
  });

  t.test('ranks know where they are; stdin goes to rank 0 alone', async (t) => {
    const show =
      'read -r line; echo "$HOROVOD_RANK/$HOROVOD_SIZE $HOROVOD_LOCAL_RANK/$HOROVOD_LOCAL_SIZE $HOROVOD_CROSS_RANK/$HOROVOD_CROSS_SIZE $(hostname) $line"';
    const { status, out, err } = await bed.run(['-np', '3', '-H', bed.list('2:2', '1'), '--no-prefix', '--', 'sh', '-c', show], {
      stdin: 'words\n',
    });
    t.equal(status, 0, err);
    t.same(linesOf(out), [`0/3 0/2 0/2 ${h2} words`, `1/3 1/2 0/1 ${h2} `, `2/3 0/1 1/2 ${h1} `]);
  });

  t.test('the exit code is that of the rank that failed first, wherever it ran', async (t) => {
    const { status, err, left } = await bed.run([
      ...['-np', '4', '-H', bed.list(1, 2), '--'],
      ...['sh', '-c', 'if [ $HOROVOD_RANK = 2 ]; then sleep 0.3; echo no space >&2; exit 7; fi; sleep 60'],
    ]);
    t.equal(status, 7);
    t.match(err.trimEnd().split('\n').at(-1), `rank 2 on host ${h2} ended with exit code 7; the others were ended`);
    t.match(err, /\| no space/);
    t.same(left, []);
    const signal = await bed.run([
      '-np',
      '2',
      '-H',
      bed.list(1, 2),
      '--',
      'sh',
      '-c',
      'if [ $HOROVOD_RANK = 1 ]; then kill -KILL $$; fi; sleep 60',
    ]);
    t.equal(signal.status, 137);
    t.match(signal.err.trimEnd().split('\n').at(-1), `rank 1 on host ${h2} was ended by signal SIGKILL`);
    t.same(signal.left, []);
  });

  t.test('one host of several that is not there: none begins', async (t) => {
    const { status, out, err, left } = await bed.run(['-np', '2', '-H', `${h1},nobody.invalid`, '--', 'echo', 'started']);
    t.equal(status, 3);
    t.match(err, /host nobody\.invalid/);
    t.equal(out, '');
    t.same(left, []);
  });

  t.test('a host whose key has changed is refused, and nothing begins', async (t) => {
    const known = readFileSync(bed.knownHosts, 'utf8');
    t.teardown(() => writeFileSync(bed.knownHosts, known));
    const lines = known.split('\n');
    const keyOf = (host: string) =>
      lines
        .find((line) => line.startsWith(`${host},`))!
        .split(' ')
        .slice(1)
        .join(' ');
    writeFileSync(bed.knownHosts, known.replace(keyOf(h2!), keyOf(h3!)));
    const { status, out, err, left } = await bed.run(['-np', '2', '-H', bed.list(1, 2), '--', 'echo', 'started']);
    t.equal(status, 3);
    t.match(err, new RegExp(`host ${h2} .*has CHANGED.*${bed.knownHosts}, line 3`));
    t.equal(out, '');
    t.same(left, []);
  });

  t.test('a login shell that takes its time is no silence', async (t) => {
    const profile = path.join(bed.folder, 'home', '.profile');
    const text = readFileSync(profile, 'utf8');
    t.teardown(() => writeFileSync(profile, text));
    writeFileSync(profile, `${text}sleep 4\n`);
    const { status, err, left } = await bed.run(['--peer-timeout', '2', '-np', '1', '-H', h1!, '--', 'true']);
    t.equal(status, 0, err);
    t.same(left, []);
  });

  t.test('nor is a link that is full of data', async (t) => {
    for (const host of bed.hosts.slice(0, 3)) host.rate(5);
    t.teardown(() => {
      for (const host of bed.hosts.slice(0, 3)) host.rate(10_000);
    });
    const limits = ['--peer-timeout', '2', '-np', '2', '-H', bed.list(1, 2)];
    const reduced = await bed.run([...limits, adds, '@', '8']);
    t.equal(reduced.status, 0, reduced.err);
    const bytes = 2_000_000;
    // Both hosts' output fills one link for twice as long.
    const said = await bed.run([
      '--peer-timeout',
      '3',
      ...limits.slice(2),
      '--no-prefix',
      '--',
      'sh',
      '-c',
      `head -c ${bytes} /dev/zero | tr '\\0' x | fold -w 999`,
    ]);
    t.equal(said.status, 0, said.err);
    t.equal(said.out.replaceAll('\n', '').length, 2 * bytes);
    for (const { left } of [reduced, said]) t.same(left, []);
  });

  t.test('agents by another program than ours', async (t) => {
    const { status, out, err, left } = await bed.run([
      '--rsh',
      `ssh -F ${bed.sshConfig}`,
      '-np',
      '2',
      '-H',
      bed.list(1, 2),
      adds,
      '@',
      '8',
    ]);
    t.equal(status, 0, err);
    t.equal(linesOf(out).length, 2);
    t.same(left, []);
  });
});

t.test('a host behind another one, which this machine does not reach itself', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(2, { isolated: [0, 2] });
  t.teardown(() => bed.down());
  const [, h1, h2] = bed.hosts.map(({ name }) => name);
  const direct = await bed.run(['--start-timeout', '2', '-np', '1', '-H', h2!, '--', 'true']);
  t.equal(direct.status, 3, 'there is no other way');
  writeFileSync(bed.sshConfig, `Host ${h2}\n  ProxyJump ${h1}\n${readFileSync(bed.sshConfig, 'utf8')}`);
  const { status, out, err, left } = await bed.run(['-np', '2', '-H', bed.list(1, 2), adds, '@', '8']);
  t.equal(status, 0, err);
  t.same(linesOf(out), [`[0]<stdout>:all sums right on ${h1}`, `[1]<stdout>:all sums right on ${h2}`]);
  t.same(left, []);
});

t.test('sixteen hosts, each with an sshd that is set up as it comes', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const bed = await TestBed.up(16);
  t.teardown(() => bed.down());
  const others = bed.hosts.slice(1);
  const { status, out, err, left } = await bed.run(
    ['--start-timeout', '120', '-np', '32', '-H', bed.list(...others.map((_, i) => i + 1)), '--no-prefix', '--', 'hostname'],
    {},
    180_000,
  );
  t.equal(status, 0, err);
  t.same(linesOf(out), others.flatMap(({ name }) => [name, name]).sort());
  for (const { name, log } of others) t.equal(log.match(/Accepted publickey/g)?.length, 1, `${name}: one connection`);
  t.same(left, []);
});
