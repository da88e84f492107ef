/** The test bed itself: what its hosts see of each other, what a cut and a power loss look like, that nothing of it stays. */
import { spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { processesWith, until } from '../helpers/processes';
import { TestBed, whyNoBed } from '../helpers/test_bed';

const interfaces = () => Object.keys(os.networkInterfaces()).sort();

t.test('hosts', { skip: whyNoBed ?? false, timeout: 0 }, async (t) => {
  const before = interfaces();
  const bed = await TestBed.up(2);
  t.teardown(() => bed.down());
  const [here, one, two] = bed.hosts as [(typeof bed.hosts)[0], (typeof bed.hosts)[0], (typeof bed.hosts)[0]];
  const sshWithin = (seconds: number, name: string, ...words: string[]) =>
    here.exec(['ssh', '-F', bed.sshConfig, '-o', `ConnectTimeout=${seconds}`, name, ...words], 60_000);
  const ssh = (name: string, ...words: string[]) => sshWithin(30, name, ...words);
  const reaches = (name: string): boolean => sshWithin(2, name, 'true').status === 0;

  t.test('they reach each other by name, and see no process and no interface of another', async (t) => {
    t.equal(ssh(one.name, 'hostname').out.trim(), one.name);
    t.equal(ssh(two.name, `ssh -F ${bed.sshConfig} ${one.name} hostname`).out.trim(), one.name);
    const sleep = spawn(one.enter(['sleep', '60'])[0]!, one.enter(['sleep', '60']).slice(1), { stdio: 'ignore' });
    t.ok(await until(() => one.pidOf(/^sleep/), 20_000));
    t.match(one.exec(['ps', 'ax']).out, /sleep 60/);
    t.notMatch(two.exec(['ps', 'ax']).out, /sleep 60/);
    const commands = () => bed.hosts.map((host) => host.processes().map(({ command }) => command));
    // The sessions by which they were reached end behind them.
    await until(() => commands().flat().length === 1, 20_000);
    t.same(commands(), [[], ['sleep 60'], []]);
    t.match((await bed.leftAfter(0)).join(), `${one.name}: sleep 60`, 'what is left is found');
    sleep.kill('SIGKILL');
    t.same(await bed.leftAfter(), [], 'and ended');
    t.same(interfaces(), before, 'nothing of it on this machine');
    t.match(one.exec(['ls', '/sys/class/net']).out, /eth0/);
  });

  t.test('a rate, a cut, a power loss', async (t) => {
    one.rate(1);
    const from = performance.now();
    t.equal(ssh(one.name, 'head -c 100000 /dev/zero').out.length, 100_000);
    t.ok(performance.now() - from > 500, 'a megabit a second is no more');
    one.cut();
    t.notOk(reaches(one.name));
    one.heal();
    t.equal(ssh(one.name, 'true').status, 0);
    await two.kill();
    t.notOk(two.isOn);
    t.notOk(reaches(two.name));
    await two.start();
    t.equal(ssh(two.name, 'hostname').out.trim(), two.name);
  });

  t.test('two beds at once, and nothing of one that is down', async (t) => {
    const other = await TestBed.up(1);
    t.equal(other.here.exec(['ssh', '-F', other.sshConfig, other.hosts[1]!.name, 'hostname']).out.trim(), other.hosts[1]!.name);
    const { folder } = other;
    await other.down();
    await other.down();
    t.notOk(existsSync(folder));
    t.ok(await until(() => processesWith(folder).length === 0, 20_000));
    t.equal(ssh(one.name, 'true').status, 0, 'the other one stays');
  });

  t.test('SIGKILL of who made it', async (t) => {
    const code = `require(${JSON.stringify(path.join(__dirname, '..', 'helpers', 'test_bed.js'))}).TestBed.up(1).then((bed) => console.log(bed.folder))`;
    const maker = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    const folder = await new Promise<string>((resolve) => maker.stdout.once('data', (text) => resolve(String(text).trim())));
    t.ok(processesWith(folder).length >= 2, 'its sshds run');
    maker.kill('SIGKILL');
    t.ok(await until(() => processesWith(folder).length === 0, 20_000));
    rmSync(folder, { recursive: true });
  });
});
