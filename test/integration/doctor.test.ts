/** `tsrun doctor` on this machine and on hosts reached by a real sshd: what it finds, and what it ends with. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { Sshd, whyNoSshd } from '../helpers/sshd';
import { runJob } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');

interface Told {
  exitCode: number;
  findings: Array<{ host: string; check: string; level: string; text: string; mend?: string }>;
}
async function doctor(...args: string[]) {
  const { status, out, err, left } = await runJob(['doctor', ...args, '--json']);
  t.same(left, [], 'nothing is left');
  const told: Told = out.startsWith('{') ? JSON.parse(out) : { exitCode: -1, findings: [] };
  t.equal(told.exitCode, status, err);
  return { status, bad: told.findings.filter(({ level }) => level !== 'ok'), ...told };
}

t.test('this machine', async (t) => {
  const { status, out, err } = await runJob(['doctor', '-np', '2', '--wdir', root]);
  t.equal(status, 0, err);
  t.match(out, /^localhost: ok +package: khorovod \d/m);
  t.match(out, /^a job would start \(0 errors, /m);
  const missing = await doctor('--wdir', '/no/such/folder');
  t.equal(missing.status, 3);
  t.match(missing.bad, [{ host: 'localhost', check: 'working folder', level: 'error', mend: "mkdir -p '/no/such/folder'" }]);
  const file = await doctor('--wdir', process.execPath);
  t.equal(file.status, 3);
  t.match(file.bad[0], { check: 'working folder', level: 'error', mend: /--wdir/ }, 'a file that may be executed is no folder');
  t.equal((await doctor('-np', '3', '-H', 'localhost:2')).status, 4, 'too few slots');
  const gpus = await doctor('-np', '2', '--gpus-per-process', '64');
  t.equal(gpus.status, 4);
  t.match(gpus.bad, [{ check: 'devices', level: 'error', text: /64/ }]);
});

t.test('hosts with parameter servers only are asked, others without ranks are not', async (t) => {
  const { findings } = await doctor('-np', '1', '-H', 'localhost:1,h2:1', '--ps', '1', '--ps-hosts', '127.0.0.1', '--wdir', root);
  const saidOf = (host: string): string[] => findings.filter((one) => one.host === host).map(({ check, text }) => `${check}: ${text}`);
  t.match(saidOf('').join('\n'), /1 processes on 1 hosts, 1 parameter servers/);
  t.match(saidOf('127.0.0.1').join('\n'), /^package: khorovod/m);
  t.same(saidOf('h2'), ['slots: gets no rank: not asked']);
});

t.test('where the output is to be kept', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-output-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const output = (name: string) => doctor('-np', '1', '--wdir', root, '--output-filename', name);
  const well = await output(path.join(folder, 'a', 'b'));
  t.same(well.bad, []);
  t.match(
    well.findings.find(({ check }) => check === 'output'),
    { host: '', level: 'ok' },
  );
  t.same(readdirSync(folder), [], 'nothing is left of the trial');
  writeFileSync(path.join(folder, 'file'), '');
  for (const name of ['/proc/logs', path.join(folder, 'file'), path.join(folder, 'file', 'in')]) {
    const { status, bad } = await output(name);
    t.equal(status, 2, name);
    t.match(bad, [{ host: '', check: 'output', level: 'error', mend: /--output-filename/ }], name);
    t.match(bad[0]?.text, name);
  }
  const used = path.join(folder, 'used');
  mkdirSync(path.join(used, 'rank.0'), { recursive: true });
  writeFileSync(path.join(used, 'rank.0', 'stdout'), 'of an earlier job');
  t.same((await output(used)).bad, [], 'an earlier job may have written there');
  t.same(readdirSync(used, { recursive: true }).sort(), ['rank.0', 'rank.0/stdout']);
  writeFileSync(path.join(used, 'rank.1'), '');
  const two = ['-np', '2', '--wdir', root, '--output-filename', used];
  const { status, bad } = await doctor(...two);
  t.equal(status, 2);
  t.match(bad, [{ host: '', check: 'output', level: 'error', text: /used\/rank\.1 cannot be made: .* is no folder/ }]);
  t.equal((await runJob([...two, '--', 'true'])).status, 2, 'nor does a job start');
});

t.test('a port range that is taken', async (t) => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const { status, bad } = await doctor('-np', '1', '--port-range', `${port}-${port}`, '--wdir', root);
  t.equal(status, 3);
  t.match(bad, [{ check: 'ports', level: 'error', text: /^0 of the 1 ports/ }]);
});

t.test('by ssh', { skip: whyNoSshd ?? false }, async (t) => {
  const sshd = await Sshd.start();
  t.teardown(() => sshd.stop());
  const far = (hosts: string, ...more: string[]) => doctor('-H', hosts, '--ssh-config', sshd.config, ...more);

  t.test('all is well, and the hosts try each other', async (t) => {
    const { status, bad, findings } = await far('far1:1,far2:1', '--wdir', root);
    t.same(bad, []);
    t.equal(status, 0);
    for (const host of ['far1', 'far2']) t.ok(findings.some((one) => one.host === host && one.check === 'network' && one.level === 'ok'));
  });

  t.test('two names of one machine need the ports of both', async (t) => {
    // Below those that the system gives to others.
    const first = 20_000 + ((process.pid * 8) % 12_000);
    const ranks = ['-np', '4', '--wdir', root, '--port-range'];
    const enough = await far('far1:2,far2:2', ...ranks, `${first}-${first + 3}`);
    t.same(enough.bad, []);
    const few = await far('far1:2,far2:2', ...ranks, `${first}-${first + 2}`);
    t.equal(few.status, 3);
    t.match(few.bad, [
      { host: 'far1', check: 'ports', text: /^3 of the 3 ports .* 4 are needed/ },
      { host: 'far2', check: 'ports' },
    ]);
  });

  t.test('a host without the working folder does not keep the other from being asked', async (t) => {
    const { status, bad, findings } = await far('far,localhost', '--wdir', '/no/such/folder');
    t.equal(status, 3);
    t.match(
      bad.filter(({ level }) => level === 'error').map(({ host, check }) => `${host} ${check}`),
      ['far working folder', 'localhost working folder'],
    );
    t.ok(findings.some(({ host, check }) => host === 'localhost' && check === 'disk'));
  });

  t.test('a working folder that is a file', async (t) => {
    const { status, bad } = await far('far', '--wdir', sshd.config);
    t.equal(status, 3);
    t.match(bad, [{ host: 'far', check: 'working folder', level: 'error', text: /found a file there/, mend: 'name a folder with --wdir' }]);
  });

  t.test('by another program: what mends goes by that program', async (t) => {
    // Runs its last word here, whatever the host.
    const program = path.join(sshd.folder, 'reach');
    writeFileSync(program, '#!/bin/sh\nshift\nexec sh -c "$1"\n', { mode: 0o755 });
    const by = (...more: string[]) => doctor('-H', 'pod1:1,pod2:1', '--rsh', program, ...more);
    const well = await by('--wdir', root);
    t.equal(well.status, 0, JSON.stringify(well.bad));
    const missing = await by('--wdir', '/no/such/folder');
    t.equal(missing.status, 3);
    t.match(
      missing.bad.map(({ mend }) => mend),
      ['pod1', 'pod2'].map((pod) => `${program} ${pod} 'mkdir -p '\\''/no/such/folder'\\'''`),
    );
    const none = await doctor('-H', 'pod1', '--rsh', '/no/such/program', '--wdir', root);
    t.equal(none.status, 3);
    t.match(none.bad, [{ host: 'pod1', check: 'rsh', mend: "/no/such/program pod1 'true'" }]);
    for (const { findings } of [well, missing, none]) t.notMatch(JSON.stringify(findings), / ssh|"ssh/);
  });

  t.test('a refused key', async (t) => {
    sshd.makeKey('stranger');
    const config = path.join(sshd.folder, 'config.stranger');
    writeFileSync(
      config,
      `Host far\n  HostName 127.0.0.1\n  Port ${sshd.port}\n  IdentityFile ${sshd.folder}/stranger\n  IdentitiesOnly yes\n  HostKeyAlias far\n  UserKnownHostsFile ${sshd.knownHosts}\n`,
    );
    const { status, bad } = await doctor('-H', 'far', '--ssh-config', config, '--wdir', root);
    t.equal(status, 3);
    t.match(bad, [{ host: 'far', check: 'key', level: 'error', mend: `ssh-copy-id -F ${config} far` }]);
  });

  t.test('a changed host key', async (t) => {
    sshd.learn(sshd.makeKey('other'));
    const { status, bad } = await far('far', '--wdir', root);
    sshd.learn();
    t.equal(status, 3);
    t.match(bad, [{ host: 'far', check: 'host key', level: 'error', mend: `ssh-keygen -R 'far' -f ${sshd.knownHosts}` }]);
  });

  t.test('a changed host key of a host that has no alias, on a port of its own: what mends it does', async (t) => {
    const config = path.join(sshd.folder, 'config.plain');
    writeFileSync(
      config,
      `Host far\n  HostName 127.0.0.1\n  Port ${sshd.port}\n  IdentityFile ${sshd.folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile ${sshd.knownHosts}\n`,
    );
    writeFileSync(sshd.knownHosts, `[127.0.0.1]:${sshd.port} ${sshd.makeKey('another')}`);
    t.teardown(() => sshd.learn());
    const { bad } = await doctor('-H', 'far', '--ssh-config', config, '--wdir', root);
    const mend = bad[0]?.mend ?? '';
    t.equal(mend, `ssh-keygen -R '[127.0.0.1]:${sshd.port}' -f ${sshd.knownHosts}`);
    t.equal(spawnSync('sh', ['-c', mend]).status, 0);
    const mended = await doctor('-H', 'far', '--ssh-config', config, '--wdir', root, '--accept-new-host-keys');
    t.equal(mended.status, 0, JSON.stringify(mended.bad));
  });
});
