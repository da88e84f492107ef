/** Unix sockets beside a listener's port: who is reached by them, the same handshake on them, and TCP where they fail. What goes over them is tested with what goes over TCP. */
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import t from 'tap';
import { dial } from '../../../src/transport/dial';
import { Listener } from '../../../src/transport/listener';
import { dialPeer, type Peer } from '../../../src/transport/peer';
import { isInReach, namespaceOf, unixPath, unixText, whyNoUnixSockets } from '../../../src/transport/unix';
import type { Identity } from '../../../src/wire/handshake';
import { closed, HOST, identityOf, until } from './ranks';

t.test('who has one, and whom it reaches', async (t) => {
  t.equal(whyNoUnixSockets(false, 'boot net:[1]', 'linux'), undefined);
  t.match(whyNoUnixSockets(false, 'boot net:[1]', 'darwin'), /need Linux/);
  t.match(whyNoUnixSockets(true, 'boot net:[1]', 'linux'), /--tls/);
  t.match(whyNoUnixSockets(false, '', 'linux'), /\/proc/);
  const own = { name: 'a', scope: 'boot net:[1]' };
  t.ok(isInReach(own, { name: 'b', scope: 'boot net:[1]' }));
  for (const [name, scope] of [
    ['b', 'boot net:[2]'],
    ['b', 'other net:[1]'],
    ['', 'boot net:[1]'],
    ['', ''],
  ] as const)
    t.notOk(isInReach(own, { name, scope }), `${name} in ${scope}`);
  t.notOk(isInReach(undefined, own), 'who has none dials none');
});

const scope = namespaceOf('net');
t.test('abstract sockets', { skip: whyNoUnixSockets(false, scope) ?? false }, async (t) => {
  /** Rank 1, and how rank 0 sees it. */
  async function openPeer({ identity = identityOf(1), ...options }: { identity?: Identity; maxStrangers?: number } = {}) {
    const listener = await Listener.open({ identity, size: 4, host: HOST, ...options });
    const unixName = await listener.listenUnix();
    const links: net.Socket[] = [];
    listener.onLink('data', (_from, socket) => {
      links.push(socket);
      socket.on('error', () => {});
      socket.resume();
    });
    const refusals: string[] = [];
    const near = { unixName, onRefused: (why: string): void => void refusals.push(why) };
    const peer: Peer = { rank: 1, host: 'host1', address: HOST, port: listener.port, near };
    return { listener, unixName, links, refusals, peer };
  }
  const as = (rank: number, timeoutMs = 5000) => ({ identity: identityOf(rank), channel: 'data', timeoutMs }) as const;
  const isTcp = (socket: net.Socket): boolean => socket.remoteAddress !== undefined;

  t.test('the scope is that of this process, and each listener has a name of its own, in no file system', async (t) => {
    t.equal(scope, namespaceOf('net'));
    t.not(scope, namespaceOf('pid'));
    const before = readdirSync('.');
    const peers = [await openPeer(), await openPeer()];
    t.not(peers[0]!.unixName, peers[1]!.unixName);
    const listed = (name: string): boolean => readFileSync('/proc/net/unix', 'latin1').includes(unixText(name));
    for (const { unixName } of peers) {
      t.match(unixName, /^khorovod-[0-9a-f]{32}$/);
      t.ok(listed(unixName));
    }
    t.same(readdirSync('.'), before);
    for (const { listener } of peers) listener.close();
    for (const { unixName } of peers) await until(() => !listed(unixName), 'the name is gone');
  });

  t.test('a peer in reach is dialled by its Unix socket, any other by TCP', async (t) => {
    const { listener, peer, links, refusals } = await openPeer();
    const near = await dialPeer(peer, as(0));
    const far = await dialPeer({ ...peer, near: undefined }, as(2));
    await until(() => links.length === 2, 'both');
    t.same(links.map(isTcp), [false, true]);
    t.same([near, far].map(isTcp), [false, true]);
    t.same(refusals, []);
    for (const socket of [near, far]) socket.destroy();
    listener.close();
  });

  t.test('the key is proved on it as on the port: strangers get nothing, and are as many as on both', async (t) => {
    const { listener, unixName, peer, links } = await openPeer({ maxStrangers: 2 });
    const target = { to: 1, host: HOST, port: 1, unixName, channel: 'data', timeoutMs: 5000 } as const;
    await t.rejects(dial({ ...target, identity: identityOf(0, { key: Buffer.alloc(32, 9) }) }), {
      code: 'ERR_HVD_PEER',
      message: /rank 1 at @khorovod-[0-9a-f]+ \(data\) failed .*did not prove that it holds the key/,
    });
    await t.rejects(dial({ ...target, identity: identityOf(0, { generation: 2 }) }), { message: /closed the connection in the handshake/ });
    const sit = (where: net.NetConnectOpts): net.Socket => net.connect(where).on('error', () => {});
    const sitting = [sit({ path: unixPath(unixName) }), sit({ host: HOST, port: peer.port }), sit({ path: unixPath(unixName) })];
    await closed(sitting[0]!);
    t.notOk(sitting[2]!.destroyed);
    t.same(links, []);
    const first = await dial({ ...target, identity: identityOf(0) });
    await closed(await dialPeer({ ...peer, near: undefined }, as(0)));
    t.notOk(first.destroyed, 'one link of a rank, by whichever way');
    for (const socket of [first, ...sitting]) socket.destroy();
    listener.close();
  });

  t.test('where it fails TCP is used, and why is told', async (t) => {
    const { listener, peer, refusals } = await openPeer();
    const elsewhere = await openPeer({ identity: identityOf(1, { jobId: 'another' }) });
    for (const [unixName, why] of [
      ['khorovod-nobody', /rank 1 on host host1 at @khorovod-nobody \(data\) failed .*: connect ECONNREFUSED @khorovod-nobody/],
      [elsewhere.unixName, /did not prove that it holds the key/],
    ] as const) {
      const socket = await dialPeer({ ...peer, near: { ...peer.near!, unixName } }, as(0));
      t.ok(isTcp(socket));
      t.match(refusals, [why]);
      refusals.length = 0;
      socket.destroy();
      await until(() => socket.closed, 'closed');
    }
    for (const one of [listener, elsewhere.listener]) one.close();
  });

  t.test('a peer that is gone is an error of its port, and nothing is told of TCP', async (t) => {
    const { listener, peer, refusals } = await openPeer();
    listener.close();
    await t.rejects(dialPeer(peer, as(0)), {
      code: 'ERR_HVD_PEER',
      peer: 1,
      host: 'host1',
      message: new RegExp(`at ${HOST}:${peer.port}`),
    });
    t.same(refusals, []);
  });

  t.test('both ways together have one deadline, and a dial that is given up tries no other', async (t) => {
    const { listener, peer, refusals } = await openPeer();
    const name = `khorovod-silent-${process.pid}`;
    const silent = net.createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(unixPath(name), resolve));
    const deaf = { ...peer, near: { ...peer.near!, unixName: name } };
    await t.rejects(dialPeer(deaf, as(0, 300)), { message: /failed after 0.3 of 0.3 s: connected, but the handshake was not answered/ });
    const controller = new AbortController();
    const dialled = dialPeer(deaf, { ...as(0, 60_000), signal: controller.signal });
    await new Promise((resolve) => setImmediate(resolve));
    const reason = new Error('given up');
    controller.abort(reason);
    t.equal(await dialled.catch((error: unknown) => error), reason);
    t.same(refusals, []);
    silent.close();
    listener.close();
  });

  t.test('more dialers at once than its queue takes all get through', async (t) => {
    const name = `khorovod-crowded-${process.pid}`;
    const { listener, peer, unixName } = await openPeer();
    // Of one place; what it accepts goes on to the listener.
    const narrow = net.createServer((socket) => {
      const behind = net.connect({ path: unixPath(unixName) });
      for (const end of [socket, behind]) end.on('error', () => {});
      socket.pipe(behind).pipe(socket);
    });
    await new Promise<void>((resolve) => narrow.listen({ path: unixPath(name), backlog: 1 }, resolve));
    const sockets = await Promise.all(
      [0, 2, 3].flatMap((rank) =>
        (['data', 'push', 'pull'] as const).map((channel) =>
          dial({ identity: identityOf(rank), to: 1, host: HOST, port: peer.port, unixName: name, channel, timeoutMs: 10_000 }),
        ),
      ),
    );
    t.equal(sockets.length, 9);
    t.notOk(sockets.some(isTcp));
    for (const socket of sockets) socket.destroy();
    for (const one of [narrow, listener]) one.close();
  });
});
