import net from 'node:net';
import t from 'tap';
import { dial } from '../../../src/transport/dial';
import { Listener, type ListenerOptions, MOST_STRANGERS } from '../../../src/transport/listener';
import { type Channel, DialerHandshake, HELLO_BYTES, LAUNCHER_RANK, PROOF_BYTES, REPLY_BYTES } from '../../../src/wire/handshake';
import { randomFrom } from '../collective/simulation';
import { closed, connectAsStranger, dialAs, dribble, HOST, identityOf, turn, until } from './ranks';

interface Link {
  from: number;
  channel: Channel;
  socket: net.Socket;
  /** All that came. */
  text: string;
}
/** Rank 1 of 4, and what it was given. */
async function openListener(options: Partial<ListenerOptions> = {}): Promise<{ listener: Listener; port: number; links: Link[] }> {
  const listener = await Listener.open({ identity: identityOf(1), size: 4, host: HOST, ...options });
  const links: Link[] = [];
  for (const channel of ['control', 'data', 'store'] as const) {
    listener.onLink(channel, (from, socket) => {
      const link = { from, channel, socket, text: '' };
      links.push(link);
      socket.on('data', (chunk) => {
        link.text += String(chunk);
      });
      socket.resume();
    });
  }
  t.teardown(() => {
    listener.close();
    for (const { socket } of links) socket.destroy();
  });
  return { listener, port: listener.port, links };
}

t.test('a rank that proves the key gets through on its channel, and no byte behind the handshake is lost either way', async (t) => {
  const { port, links } = await openListener();
  const [control, data] = [await dialAs(0, 1, port, 'control'), await dialAs(3, 1, port, 'data')];
  control.write('behind the proof');
  data.end();
  await until(() => links.length === 2 && links[0]!.text !== '', 'both links');
  t.match(links, [
    { from: 0, channel: 'control', text: 'behind the proof' },
    { from: 3, channel: 'data' },
  ]);
  control.destroy();
});

t.test('what comes in one segment with proof or reply belongs to the link', async (t) => {
  const { port, links } = await openListener();
  const handshake = new DialerHandshake(identityOf(0), 1, 'control');
  const stranger = await connectAsStranger(port);
  const replied = new Promise<Buffer>((resolve) => stranger.once('data', (chunk) => resolve(chunk as Buffer)));
  await dribble(stranger, handshake.begin(), Array(HELLO_BYTES).fill(1));
  stranger.write(Buffer.concat([handshake.prove(await replied), Buffer.from('at once')]));
  await until(() => links[0]?.text === 'at once', 'the text');

  const early = await Listener.open({ identity: identityOf(2), host: HOST });
  // Written when the proof is verified: with luck in the same segment as nothing else, never lost.
  early.onLink('control', (_from, socket) => socket.write('welcome'));
  const dialled = await dialAs(0, 2, early.port, 'control');
  for (let i = 0; i < 20; i += 1) await turn();
  let text = '';
  dialled.on('data', (chunk) => {
    text += String(chunk);
  });
  dialled.resume();
  await until(() => text === 'welcome', 'the text that came before anybody listened');
  for (const socket of [stranger, dialled]) socket.destroy();
  early.close();
  t.pass();
});

t.test('a dialer takes what comes in one segment with the reply', async (t) => {
  const server = net.createServer((socket) => {
    // A listener that knows the reply and answers in one piece: played by a real one behind it.
    const behind = net.connect({ host: HOST, port });
    socket.pipe(behind);
    behind.once('data', (chunk) => socket.write(Buffer.concat([chunk as Buffer, Buffer.from('first words')])));
    for (const end of [socket, behind]) end.on('error', () => {});
    socket.on('close', () => behind.destroy());
  });
  const { port } = await openListener();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const link = await dialAs(0, 1, (server.address() as net.AddressInfo).port, 'control');
  let text = '';
  link.on('data', (chunk) => {
    text += String(chunk);
  });
  link.resume();
  await until(() => text === 'first words', 'the text');
  t.equal(text, 'first words');
  link.destroy();
  server.close();
});

t.test('a handler that comes late gets the links that came early, and not those that have closed', async (t) => {
  const listener = await Listener.open({ identity: identityOf(1), size: 4, host: HOST });
  const [early, gone] = [await dialAs(0, 1, listener.port, 'control'), await dialAs(2, 1, listener.port, 'control')];
  early.write('early');
  for (let i = 0; i < 10; i += 1) await turn();
  gone.resetAndDestroy();
  for (let i = 0; i < 10; i += 1) await turn();
  const came: Array<[number, string]> = [];
  listener.onLink('control', (from, socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      came.push([from, String(chunk)]);
      socket.destroy();
    });
    socket.resume();
  });
  await until(() => came.length > 0, 'the early link');
  t.same(came, [[0, 'early']]);
  early.destroy();
  listener.close();
});

t.test('a second control or data link of a rank is closed while the first lives; the store takes any number', async (t) => {
  const { port, links } = await openListener({ identity: identityOf(LAUNCHER_RANK), size: undefined });
  for (const channel of ['control', 'data'] as const) {
    const first = await dialAs(0, LAUNCHER_RANK, port, channel);
    await closed(await dialAs(0, LAUNCHER_RANK, port, channel));
    first.destroy();
    const before = links.length;
    await until(() => links.at(-1)!.socket.destroyed, 'the first is closed');
    const next = await dialAs(0, LAUNCHER_RANK, port, channel);
    await until(() => links.length === before + 1, 'the next is taken');
    next.destroy();
  }
  const before = links.length;
  const stores = [
    await dialAs(0, LAUNCHER_RANK, port, 'store', { generation: 1 }),
    await dialAs(0, LAUNCHER_RANK, port, 'store', { generation: 2 }),
  ];
  await until(() => links.length === before + 2, 'both');
  t.pass();
  for (const store of stores) store.destroy();
});

t.test('a stranger is cut off, without an answer, at the first byte too many and by a hello that does not fit', async (t) => {
  const { port, links } = await openListener();
  const hello = (rank: number, to: number, channel: Channel, other = {}) =>
    new DialerHandshake({ ...identityOf(rank), ...other }, to, channel).begin();
  const random = randomFrom(5);
  const cases: Record<string, Uint8Array> = {
    'random bytes': Buffer.from(Array.from({ length: HELLO_BYTES }, () => Math.floor(random() * 256))),
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: somewhere\r\nUser-Agent: anything\r\n\r\n'),
    'a huge length': Buffer.alloc(HELLO_BYTES, 255),
    'a megabyte': Buffer.alloc(1 << 20, 1),
    'a hello and one byte': Buffer.concat([hello(0, 1, 'data'), Buffer.alloc(1)]),
    'another rank meant': hello(0, 2, 'data'),
    'another generation': hello(0, 1, 'control', { generation: 2 }),
    'a rank outside': hello(4, 1, 'control'),
    'the rank itself': hello(1, 1, 'control'),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    const stranger = await connectAsStranger(port);
    let answered = 0;
    stranger.on('data', (chunk) => {
      answered += chunk.length;
    });
    stranger.write(bytes);
    await closed(stranger);
    t.equal(answered, 0, name);
  }
  t.equal(links.length, 0);
});

t.test('a recorded hello and proof, an echoed mac, and a proof by another key open nothing', async (t) => {
  const { port, links } = await openListener();
  const exchange = async (hello: Uint8Array, proofOf: (reply: Buffer) => Uint8Array): Promise<net.Socket> => {
    const stranger = await connectAsStranger(port);
    const replied = new Promise<Buffer>((resolve) => stranger.once('data', (chunk) => resolve(chunk as Buffer)));
    stranger.write(hello);
    stranger.write(proofOf(await replied));
    return stranger;
  };
  const honest = new DialerHandshake(identityOf(0), 1, 'data');
  let recorded: Uint8Array = new Uint8Array(PROOF_BYTES);
  const open = await exchange(honest.begin(), (reply) => {
    recorded = honest.prove(reply);
    return recorded;
  });
  await until(() => links.length === 1, 'the honest one');
  open.destroy();
  await until(() => links[0]!.socket.destroyed, 'its end');
  await closed(await exchange(honest.begin(), () => recorded));
  await closed(await exchange(honest.begin(), (reply) => reply.subarray(REPLY_BYTES - PROOF_BYTES)));
  await closed(await exchange(honest.begin(), () => Buffer.alloc(PROOF_BYTES)));
  t.equal(links.length, 1);
});

t.test('a stranger who dawdles is cut off at the deadline of the whole handshake, not of each byte', async (t) => {
  const { port } = await openListener({ handshakeTimeoutMs: 80 });
  const stranger = await connectAsStranger(port);
  const startedMs = performance.now();
  const timer = setInterval(() => stranger.write('K'), 10);
  await closed(stranger);
  clearInterval(timer);
  t.ok(performance.now() - startedMs < 30_000);
});

t.test('strangers who sit there keep nobody out: the oldest goes', async (t) => {
  const { port, links } = await openListener();
  const sitting: net.Socket[] = [];
  for (let i = 0; i < MOST_STRANGERS + 10; i += 1) sitting.push(await connectAsStranger(port));
  await Promise.all(sitting.slice(0, 10).map(closed));
  const link = await dialAs(0, 1, port);
  await until(() => links.length === 1, 'the honest one');
  t.equal(sitting.filter((socket) => !socket.destroyed).length, MOST_STRANGERS - 1);
  for (const socket of [...sitting, link]) socket.destroy();
});

t.test('more dialers at once than may be in their handshake all get in, for who is cut off dials again', async (t) => {
  const { port, links } = await openListener({ identity: identityOf(LAUNCHER_RANK), size: undefined });
  const ranks = 4 * MOST_STRANGERS;
  const dialled = await Promise.all(Array.from({ length: ranks }, (_, rank) => dialAs(rank, LAUNCHER_RANK, port, 'store')));
  await until(() => links.length === ranks, 'all of them');
  t.equal(new Set(links.map(({ from }) => from)).size, ranks);
  for (const socket of dialled) socket.destroy();
});

t.test('ports come from the range; when all are taken the error names it', async (t) => {
  const first = (await openListener()).port;
  const range = { first, last: Math.min(65535, first + 30) };
  const open: Listener[] = [];
  const { error } = await (async () => {
    for (;;) {
      try {
        open.push(await Listener.open({ identity: identityOf(1), host: HOST, portRange: range }));
      } catch (failure) {
        return { error: failure };
      }
    }
  })();
  t.match(error, {
    code: 'ERR_HVD_RENDEZVOUS',
    message: new RegExp(`from ${range.first} to ${range.last} on 127.0.0.1 are taken.*--port-range`),
  });
  t.ok(open.length > 0 && open.every(({ port }) => port > range.first && port <= range.last));
  t.equal(new Set(open.map(({ port }) => port)).size, open.length);
  for (const listener of open) listener.close();
});

t.test('it listens on the address given and no other; an address of another host, or none, is refused', async (t) => {
  const listener = await Listener.open({ identity: identityOf(1), host: '127.0.0.1' });
  const elsewhere = net.connect({ host: '127.0.0.2', port: listener.port });
  t.match(await new Promise((resolve) => elsewhere.once('error', resolve)), { code: 'ECONNREFUSED' });
  listener.close();
  await t.rejects(Listener.open({ identity: identityOf(1), host: '192.0.2.1' }), {
    code: 'ERR_HVD_RENDEZVOUS',
    message: /192\.0\.2\.1.*--network-interface/,
  });
  await t.rejects(Listener.open({ identity: identityOf(1), host: '192.0.2.1', portRange: { first: 40000, last: 40001 } }), {
    code: 'ERR_HVD_RENDEZVOUS',
  });
  await t.rejects(Listener.open({ identity: identityOf(1), host: '' }), { code: 'ERR_HVD_RENDEZVOUS', message: /no address/ });
});

t.test('close ends the listening, strangers and unclaimed links; a link that was handed over lives on', async (t) => {
  const { listener, port, links } = await openListener();
  const claimed = await dialAs(0, 1, port);
  await until(() => links.length === 1, 'the link');
  const bare = await Listener.open({ identity: identityOf(1), host: HOST });
  const unclaimed = await dialAs(0, 1, bare.port);
  const stranger = await connectAsStranger(port);
  await turn();
  listener.close();
  bare.close();
  await Promise.all([closed(stranger), closed(unclaimed)]);
  claimed.write('still here');
  await until(() => links[0]!.text === 'still here', 'the text');
  await t.rejects(dialAs(0, 1, port), { code: 'ERR_HVD_PEER', message: /ECONNREFUSED/ });
  claimed.destroy();
});

// ───── the dialer ─────

const target = { identity: identityOf(0), to: 1, hostName: 'far', host: HOST, channel: 'control' as const };

t.test('a dialer that waits for its listener connects as soon as it is there; one that does not is refused at once', async (t) => {
  const { listener, port } = await openListener();
  listener.close();
  await t.rejects(dial({ ...target, port, timeoutMs: 5000 }), {
    code: 'ERR_HVD_PEER',
    peer: 1,
    message: new RegExp(
      `Connecting to rank 1 on host far at 127.0.0.1:${port} \\(control\\) failed after [\\d.]+ of 5.0 s: .*ECONNREFUSED`,
    ),
  });
  const dialled = dial({ ...target, port, timeoutMs: 5000, awaitListener: true });
  for (let i = 0; i < 100; i += 1) await turn();
  const again = await Listener.open({ identity: identityOf(1), host: HOST, portRange: { first: port, last: port } });
  (await dialled).destroy();
  again.close();
  const startedMs = performance.now();
  await t.rejects(dial({ ...target, port, timeoutMs: 200, awaitListener: true }), { code: 'ERR_HVD_PEER', message: /ECONNREFUSED/ });
  t.ok(performance.now() - startedMs < 30_000);
});

t.test('a listener that never answers, answers nonsense or hangs up ends the call in time, saying which', async (t) => {
  const cases: Array<[(socket: net.Socket) => void, RegExp]> = [
    [() => {}, /failed after [\d.]+ of 0.3 s: connected, but the handshake was not answered/],
    [(socket) => socket.write(Buffer.alloc(REPLY_BYTES)), /did not prove that it holds the key of this job/],
    [(socket) => socket.end('short'), /closed the connection in the handshake/],
    [(socket) => void socket.resetAndDestroy(), /broke off|closed the connection/],
  ];
  for (const [act, message] of cases) {
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      socket.resume();
      act(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    const { port } = server.address() as net.AddressInfo;
    await t.rejects(dial({ ...target, port, timeoutMs: message.source.includes('0.3') ? 300 : 5000 }), { code: 'ERR_HVD_PEER', message });
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

t.test('a handshake that is broken off is tried again, a few times', async (t) => {
  const { port } = await openListener();
  let came = 0;
  const moody = net.createServer((socket) => {
    socket.on('error', () => {});
    if ((came += 1) < 4) return void socket.destroy();
    const behind = net.connect({ host: HOST, port });
    behind.on('error', () => {});
    socket.pipe(behind).pipe(socket);
  });
  await new Promise<void>((resolve) => moody.listen(0, HOST, resolve));
  const link = await dial({ ...target, port: (moody.address() as net.AddressInfo).port, timeoutMs: 5000 });
  t.equal(came, 4);
  link.destroy();
  moody.close();
});

t.test('a dial that is given up rejects with the reason, while connecting and between attempts', async (t) => {
  for (const awaitListener of [true, false]) {
    const silent = net.createServer();
    await new Promise<void>((resolve) => silent.listen(0, HOST, resolve));
    const { port } = silent.address() as net.AddressInfo;
    if (awaitListener) silent.close();
    const controller = new AbortController();
    const dialled = dial({ ...target, port, timeoutMs: 60_000, awaitListener, signal: controller.signal });
    for (let i = 0; i < 20; i += 1) await turn();
    const reason = new Error('given up');
    controller.abort(reason);
    t.equal(await dialled.catch((error: unknown) => error), reason);
    silent.close();
  }
});

t.test('IPv6 addresses, in brackets where they are written', async (t) => {
  const listener = await Listener.open({ identity: identityOf(1), host: '::1' }).catch(() => undefined);
  if (!listener) return t.pass('no IPv6 here');
  (await dial({ ...target, host: '::1', port: listener.port, timeoutMs: 5000 })).destroy();
  listener.close();
  await t.rejects(dial({ ...target, host: '::1', port: listener.port, timeoutMs: 5000 }), {
    message: new RegExp(`at \\[::1\\]:${listener.port}`),
  });
});
