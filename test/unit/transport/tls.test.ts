/** Encrypted links: real sockets of loopback, with a proxy that records what an eavesdropper sees. */
import net from 'node:net';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { dial } from '../../../src/transport/dial';
import { Listener } from '../../../src/transport/listener';
import type { Identity } from '../../../src/wire/handshake';

const identity = (rank: number, more: Partial<Identity> = {}): Identity => ({
  jobId: 'job',
  key: Buffer.alloc(32, 3),
  generation: 1,
  rank,
  tls: true,
  ...more,
});

async function listening(t: Test, own: Identity = identity(0)) {
  const links: net.Socket[] = [];
  const listener = await Listener.open({ identity: own, size: 4, host: '127.0.0.1', handshakeTimeoutMs: 1500 });
  listener.onLink('control', (_from, socket) => {
    links.push(socket);
    socket.on('data', (data) => socket.write(data));
    socket.resume();
  });
  t.teardown(() => {
    listener.close();
    for (const link of links) link.destroy();
  });
  return { listener, links };
}

/** Records both directions. */
async function tapped(t: Test, port: number): Promise<{ port: number; seen: Buffer[] }> {
  const seen: Buffer[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
      from.on('data', (data: Buffer) => {
        seen.push(Buffer.from(data));
        to.write(data);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as net.AddressInfo).port, seen };
}

const to = (port: number, own: Identity = identity(1), timeoutMs = 3000) =>
  ({ identity: own, to: 0, host: '127.0.0.1', port, channel: 'control', timeoutMs }) as const;
const PATTERN = Buffer.from('gradients that nobody else may read. '.repeat(1000));

t.test('what goes over an encrypted link comes out right, and is not to be seen on the way', async (t) => {
  const { listener } = await listening(t);
  const { port, seen } = await tapped(t, listener.port);
  const socket = await dial(to(port));
  t.equal((socket as tls.TLSSocket).getProtocol(), 'TLSv1.3');
  const back: Buffer[] = [];
  const all = new Promise<void>((resolve) => {
    socket.on('data', (data) => {
      back.push(data as Buffer);
      if (Buffer.concat(back).length === PATTERN.length) resolve();
    });
  });
  socket.resume();
  socket.write(PATTERN);
  await all;
  t.ok(Buffer.concat(back).equals(PATTERN));
  const wire = Buffer.concat(seen);
  t.ok(wire.length > 2 * PATTERN.length);
  for (const secret of [PATTERN.subarray(0, 16), Buffer.from('KHVD'), Buffer.alloc(32, 3)]) t.notOk(wire.includes(secret));
  socket.destroy();
});

t.test('bytes land in the memory of whoever waits for them', async (t) => {
  const { listener } = await listening(t);
  const memory = Buffer.alloc(PATTERN.length);
  let bytes = 0;
  let finish!: () => void;
  const all = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const onread = {
    room: () => memory.subarray(bytes),
    took(count: number) {
      bytes += count;
      if (bytes === memory.length) finish();
      return bytes < memory.length;
    },
  };
  const socket = await dial({ ...to(listener.port), onread });
  socket.write(PATTERN);
  await all;
  t.ok(memory.equals(PATTERN));
  socket.destroy();
});

t.test('never in the clear: both ends have it, or there is no link', async (t) => {
  const encrypted = await listening(t);
  const plain = await listening(t, identity(0, { tls: false }));
  const unsecured = identity(1, { tls: false });
  const onread = { room: () => Buffer.alloc(100), took: () => true };
  for (const more of [{}, { onread }]) {
    await t.rejects(dial({ ...to(plain.listener.port), ...more }), { message: /: this end has --tls, the other has not\. Start all/ });
    await t.rejects(dial({ ...to(encrypted.listener.port, unsecured), ...more }), {
      message: /: the other end has --tls, this one has not\. Start all/,
    });
  }
  t.equal(encrypted.links.length + plain.links.length, 0);
});

t.test('strangers: another key, another job, a certificate, garbage, halves, huge records; the port goes on', async (t) => {
  const { listener, links } = await listening(t);
  for (const other of [identity(1, { key: Buffer.alloc(32, 4) }), identity(1, { jobId: 'other' })])
    await t.rejects(dial(to(listener.port, other)), { code: 'ERR_HVD_PEER', message: /did not prove that it holds the key of this job/ });
  const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
  for (const bytes of [Buffer.alloc(3000, 0xa5), hello, Buffer.from([22, 3, 3, 0xff, 0xff, 1]), Buffer.from('KHVD')]) {
    const stranger = net.connect(listener.port, '127.0.0.1');
    stranger.on('error', () => {}).resume();
    stranger.write(bytes);
    await new Promise((resolve) => stranger.on('close', resolve)); // at once, or at the handshake's deadline
  }
  const certified = tls.connect({ host: '127.0.0.1', port: listener.port, rejectUnauthorized: false });
  const refused = await new Promise((resolve) => certified.on('error', () => resolve(true)).on('secureConnect', () => resolve(false)));
  t.ok(refused, 'TLS without the secret of the job');
  t.equal(links.length, 0);
  const socket = await dial(to(listener.port));
  t.ok(socket.writable);
  socket.destroy();
});

t.test('what begins well and goes no further gives way: to the next stranger, and at its deadline', async (t) => {
  const own = identity(0);
  const listener = await Listener.open({ identity: own, size: 4, host: '127.0.0.1', handshakeTimeoutMs: 1000, maxStrangers: 2 });
  t.teardown(() => listener.close());
  const hello = await new Promise<Buffer>((resolve) => {
    const spy = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (data) => {
        resolve(data as Buffer);
        socket.destroy();
        spy.close();
      });
    });
    spy.listen(0, '127.0.0.1', () => void dial({ ...to((spy.address() as net.AddressInfo).port) }).catch(() => {}));
  });
  let closed = 0;
  const strangers = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const stranger = net.connect(listener.port, '127.0.0.1');
      const answered = new Promise<void>((resolve) => stranger.once('data', () => resolve()).once('close', resolve));
      const end = new Promise<void>((resolve) => stranger.once('close', () => resolve(void (closed += 1))));
      stranger.on('error', () => {});
      for (const byte of hello) stranger.write(Buffer.from([byte]));
      await answered;
      return { stranger, end };
    }),
  );
  await Promise.race(strangers.map(({ end }) => end));
  t.ok(closed >= 1, 'the third puts the first out');
  await Promise.all(strangers.map(({ end }) => end));
  t.equal(closed, 3);
});
