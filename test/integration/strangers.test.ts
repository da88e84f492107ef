/** Bytes from strangers on every port and Unix socket of a running job disturb nothing; the job key shows nowhere. */
import { readFileSync, statSync } from 'node:fs';
import net from 'node:net';
import t from 'tap';
import { processesWith, until } from '../helpers/processes';
import { Job, worker } from '../helpers/tsrun';

const linux = process.platform === 'linux' ? false : 'looks at /proc';

/** TCP ports on which these processes listen, with their addresses. */
function listeners(pids: readonly number[]): Array<{ port: number; address: string }> {
  const inodes = new Map<string, { port: number; address: string }>();
  for (const file of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/net/${file}`, 'latin1').split('\n').slice(1)) {
      const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/);
      const [address = '', port = ''] = local.split(':');
      if (state === '0A' && inode) inodes.set(inode, { port: Number.parseInt(port, 16), address });
    }
  }
  return pids.flatMap((pid) => socketsOf(pid).flatMap((inode) => inodes.get(inode) ?? []));
}
/** Abstract Unix sockets on which these processes listen. */
function unixListeners(pids: readonly number[]): string[] {
  const sockets = new Set(pids.flatMap(socketsOf));
  const lines = readFileSync('/proc/net/unix', 'latin1').split('\n').slice(1);
  return lines.flatMap((line) => {
    const [, , , flags, , , inode = '', name = ''] = line.trim().split(/\s+/);
    return flags === '00010000' && name.startsWith('@') && sockets.has(inode) ? [`\0${name.slice(1)}`] : [];
  });
}
function socketsOf(pid: number): string[] {
  return Array.from({ length: 256 }, (_, fd) => {
    try {
      return String(statSync(`/proc/${pid}/fd/${fd}`).ino);
    } catch {
      return '';
    }
  });
}

/** One connection with these bytes; resolves when it is closed. */
function knock(where: net.NetConnectOpts, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(where, () => socket.write(bytes));
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.on('data', () => {});
    setTimeout(() => socket.destroy(), 300).unref();
  });
}

t.test('garbage on every port and Unix socket of a job that reduces changes nothing', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', '--transport', 'unix', worker('reduces_for_ever.js'), '@']);
  await job.files(/^ready-/, 2);
  const ports = listeners(job.processes().map(({ pid }) => pid));
  t.ok(ports.length >= 3, `tsrun and both ranks listen: ${ports.map(({ port }) => port).join(' ')}`);
  for (const { address } of ports) t.equal(address, '0100007F', 'on the loopback address only');
  const names = unixListeners(job.processes().map(({ pid }) => pid));
  t.equal(names.length, 2, 'each rank has one');
  const doors = [...ports.map(({ port }) => ({ port, host: '127.0.0.1' })), ...names.map((path) => ({ path }))];
  let seed = 7;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return seed % below;
  };
  for (let round = 0; round < 40; round += 1) {
    const hello = Buffer.from('KHVD\x01\x01\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0', 'latin1');
    const garbage = Buffer.from(Array.from({ length: 1 + random(2000) }, () => random(256)));
    const huge = Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0x7f]), Buffer.alloc(1 << 20)]);
    const bytes = [garbage, Buffer.concat([hello, garbage]), huge][round % 3]!;
    await Promise.all(doors.map((door) => knock(door, bytes)));
  }
  t.ok(job.isRunning, job.err);
  const before = Number(job.read('steps-0'));
  t.ok(await until(() => Number(job.read('steps-0')) > before + 500, 120_000), 'it reduces on');
  process.kill(job.pid, 'SIGTERM');
  t.equal(await job.status(), 143);
  t.same(await job.leftAfter(), []);
});

t.test('the key is in no command line and in no environment, and its file is gone afterwards', { skip: linux }, async (t) => {
  const job = new Job(['-np', '2', worker('reduces_for_ever.js'), '@']);
  await job.files(/^ready-/, 2);
  const pids = job.processes().map(({ pid }) => pid);
  const environment = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  const keyFile = environment(Number(job.read('ready-0')))
    .find((entry) => entry.startsWith('TSRUN_KEY_FILE='))!
    .slice('TSRUN_KEY_FILE='.length);
  const key = readFileSync(keyFile);
  t.equal(key.length, 32);
  t.equal(statSync(keyFile).mode & 0o777, 0o600);
  for (const form of [key.toString('hex'), key.toString('base64'), key.toString('base64url'), key.toString('latin1')]) {
    for (const pid of pids) {
      t.notOk(readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(form));
      t.notOk(environment(pid).join('\0').includes(form));
    }
    t.same(
      processesWith(form).map(({ command }) => command),
      [],
    );
  }
  process.kill(job.pid, 'SIGTERM');
  await job.status();
  t.throws(() => statSync(keyFile), { code: 'ENOENT' });
  t.same(await job.leftAfter(), []);
});
