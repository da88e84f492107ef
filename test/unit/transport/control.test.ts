import type net from 'node:net';
import t from 'tap';
import { ControlLink, type Lane, MAX_FRAME_BYTES } from '../../../src/transport/control';
import { Listener } from '../../../src/transport/listener';
import { encodeFrame } from '../../../src/wire/frame';
import { khorovod } from '../../../src/wire/generated/messages';
import { randomFrom } from '../collective/simulation';
import { closed, dialAs, dribble, HOST, identityOf, turn, until } from './ranks';

interface Heard {
  messages: khorovod.IControl[];
  closings: Array<Error | undefined>;
}
function hear(link: ControlLink): Heard {
  const heard: Heard = { messages: [], closings: [] };
  link.onMessage = (message) => void heard.messages.push(message);
  link.onClose = (error) => void heard.closings.push(error);
  return heard;
}
/** The coordinator's end as a link, the other as a socket. */
async function openLink(): Promise<{ link: ControlLink; heard: Heard; socket: net.Socket }> {
  const listener = await Listener.open({ identity: identityOf(0), size: 2, host: HOST });
  const came = new Promise<{ link: ControlLink; heard: Heard }>((resolve) => {
    listener.onLink('control', (from, accepted) => {
      const link = new ControlLink(from, accepted);
      resolve({ link, heard: hear(link) });
    });
  });
  const socket = await dialAs(1, 0, listener.port, 'control');
  const opened = await came;
  listener.close();
  t.teardown(() => {
    opened.link.destroy();
    socket.destroy();
  });
  return { ...opened, socket };
}
const frameOf = (message: khorovod.IControl): Buffer => encodeFrame(khorovod.Control.encode(message).finish());
const goodbye = (reason: string): khorovod.IControl => ({ goodbye: { failed: false, reason } });
const reasonsIn = ({ messages }: Heard): string[] => messages.map((message) => message.goodbye?.reason ?? '');

t.test('messages both ways, in order, however they are cut', async (t) => {
  const { link, heard, socket } = await openLink();
  const random = randomFrom(3);
  const reasons = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(1 + Math.floor(random() * 200)));
  const bytes = Buffer.concat(reasons.map((reason) => frameOf(goodbye(reason))));
  await dribble(
    socket,
    bytes,
    (function* () {
      for (;;) yield 1 + Math.floor(random() * 300);
    })(),
  );
  await until(() => heard.messages.length === reasons.length, 'all messages');
  t.same(reasonsIn(heard), reasons);

  const other = new ControlLink(0, socket);
  const back = hear(other);
  for (const reason of reasons) link.send(goodbye(reason));
  await until(() => back.messages.length === reasons.length, 'all answers');
  t.same(reasonsIn(back), reasons);
  t.equal(other.peer, 0);
});

t.test('bytes that are no message, or announce too long a one, close the link with an error that names the peer', async (t) => {
  const tooLong = Buffer.alloc(4);
  tooLong.writeUInt32LE(MAX_FRAME_BYTES + 1);
  for (const [bytes, text] of [
    [tooLong, /announced/],
    [encodeFrame(Buffer.alloc(9, 255)), /no control message/],
  ] as const) {
    const { link, heard, socket } = await openLink();
    socket.write(Buffer.concat([bytes, frameOf(goodbye('too late'))]));
    await closed(socket);
    await until(() => heard.closings.length > 0, 'the close');
    t.match(heard.closings, [{ code: 'ERR_HVD_WIRE', peer: 1, message: text }]);
    t.same(heard.messages, []);
    link.send(goodbye('nobody there'));
  }
});

t.test('onClose comes once, whoever closes, and nothing throws afterwards', async (t) => {
  const acts: Record<string, (link: ControlLink, socket: net.Socket) => unknown> = {
    'the peer ends': (_, socket) => socket.end(),
    'the peer is reset': (_, socket) => socket.resetAndDestroy(),
    'the link is destroyed': (link) => link.destroy(),
    'the link is flushed': (link) => link.flush(1000),
  };
  for (const [name, act] of Object.entries(acts)) {
    const { link, heard, socket } = await openLink();
    socket.resume();
    await act(link, socket);
    await until(() => heard.closings.length > 0, name);
    for (let i = 0; i < 10; i += 1) await turn();
    t.equal(heard.closings.length, 1, name);
    link.send(goodbye('late'));
    await link.flush(1000);
    link.destroy();
  }
});

t.test('after destroy no message of the same read is delivered', async (t) => {
  const { link, socket } = await openLink();
  const reasons: string[] = [];
  link.onMessage = (message) => {
    reasons.push(message.goodbye?.reason ?? '');
    link.destroy();
  };
  socket.write(Buffer.concat([frameOf(goodbye('one')), frameOf(goodbye('two'))]));
  await closed(socket);
  t.same(reasons, ['one']);
});

t.test('flush hands all over to the kernel, and gives up on a peer that does not read', async (t) => {
  const { link, socket } = await openLink();
  const reason = 'x'.repeat(1 << 20);
  for (let i = 0; i < 30; i += 1) link.send(goodbye(reason));
  const startedMs = performance.now();
  await link.flush(60);
  t.ok(performance.now() - startedMs < 30_000, 'the peer has read nothing');
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await new Promise((resolve) => socket.once('end', resolve));
  t.equal(bytes, 30 * frameOf(goodbye(reason)).length, 'nothing is lost by that');
});

t.test('a message that the peer would not accept is not sent', async (t) => {
  const { link } = await openLink();
  t.throws(() => link.send(goodbye('x'.repeat(MAX_FRAME_BYTES))), { code: 'ERR_HVD_BUG' });
});

t.test('hearing anything counts as a sign of life', async (t) => {
  const { link, socket } = await openLink();
  link.lastHeardMs = 0;
  socket.write(frameOf({ heartbeat: {} }));
  await until(() => link.lastHeardMs > 0, 'the beat');
  t.pass();
});

/** Both ends of a link, and a lane between them in this thread: what is sent waits until it is drained. */
async function openLinkWithLane() {
  const { link, heard, socket } = await openLink();
  const other = new ControlLink(0, socket);
  const back = hear(other);
  const ways = [[] as Uint8Array[], [] as Uint8Array[]] as const;
  const state = { isOpen: false, flushed: Promise.resolve() };
  const laneOf = (out: Uint8Array[], inbox: Uint8Array[], hearLane: (bytes: Uint8Array) => void): Lane => ({
    get isOpen() {
      return state.isOpen;
    },
    send: (bytes) => state.isOpen && out.push(bytes) > 0,
    drain: () => {
      for (const bytes of inbox.splice(0)) hearLane(bytes);
    },
    flush: () => state.flushed,
  });
  const lanes: Lane[] = [];
  link.useLane((hearLane) => (lanes[0] = laneOf(ways[0], ways[1], hearLane)));
  other.useLane((hearLane) => (lanes[1] = laneOf(ways[1], ways[0], hearLane)));
  return { link, heard, socket, other, back, ways, state, lanes: lanes as [Lane, Lane] };
}

t.test('going over to a lane and back keeps the order, whichever way is the faster', async (t) => {
  const { link, other, back, ways, state, lanes } = await openLinkWithLane();
  link.send(goodbye('1'));
  state.isOpen = true;
  link.send(goodbye('2'));
  link.send(goodbye('3'));
  link.send({ heartbeat: {} });
  t.equal(ways[0].length, 2, 'heartbeats stay with the socket');
  lanes[1].drain();
  t.same(reasonsIn(back), [], 'the socket’s come first');
  await until(() => back.messages.length === 4, 'all');
  t.same(reasonsIn(back).filter(Boolean), ['1', '2', '3']);
  link.send(goodbye('4'));
  lanes[1].drain();
  link.send(goodbye('5'));
  state.isOpen = false;
  link.send(goodbye('6'));
  await until(() => reasonsIn(back).includes('6'), 'the last');
  t.same(reasonsIn(back).filter(Boolean), ['1', '2', '3', '4', '5', '6']);
  other.destroy();
});

t.test('news of a failure goes by the socket, behind what the lane holds', async (t) => {
  const { link, other, back, ways, state } = await openLinkWithLane();
  state.isOpen = true;
  const failures: khorovod.IControl[] = [{ failure: { error: { message: 'gone' } } }, { goodbye: { failed: true, reason: 'gone' } }];
  for (const [i, failure] of failures.entries()) {
    link.send(goodbye('before'));
    link.send(failure);
    t.equal(ways[0].length, 1, 'the lane is given up, and with it what it has no room for');
    await until(() => back.messages.length === 2 * i + 2, 'both');
    t.match(back.messages.slice(2 * i), [goodbye('before'), failure]);
  }
  other.destroy();
});

t.test(
  'what is heard while the socket’s last message is waited for keeps its order, though hearing it has the lane looked at',
  async (t) => {
    const { link, other, back, state, lanes } = await openLinkWithLane();
    link.send(goodbye('1'));
    state.isOpen = true;
    link.send(goodbye('2'));
    link.send(goodbye('3'));
    lanes[1].drain();
    const order: string[] = [];
    other.onMessage = ({ goodbye: said }) => {
      order.push(said!.reason!);
      if (said!.reason !== '2') return;
      link.send(goodbye('4'));
      lanes[1].drain();
    };
    await until(() => order.length === 4, 'all');
    t.same(order, ['1', '2', '3', '4']);
    t.same(back.messages, []);
    other.destroy();
  },
);

t.test('what came by the lane is heard before the end of the link, and nothing after destroy', async (t) => {
  const { link, heard, socket, other, ways, state, lanes } = await openLinkWithLane();
  state.isOpen = true;
  other.send(goodbye('last'));
  await until(() => {
    lanes[0].drain();
    return heard.messages.length === 1;
  }, 'the first');
  const order: string[] = [];
  link.onMessage = (message) => void order.push(message.goodbye?.reason ?? '');
  link.onClose = () => void order.push('closed');
  other.send(goodbye('very last'));
  socket.destroy();
  await until(() => order.includes('closed'), 'the close');
  t.same(order, ['very last', 'closed']);
  link.destroy();
  ways[1].push(khorovod.Control.encode(goodbye('too late')).finish());
  lanes[0].drain();
  t.same(order, ['very last', 'closed']);
});

t.test('the link ends only when the peer can hear all that was sent by the lane', async (t) => {
  const { link, other, back, ways, state, lanes } = await openLinkWithLane();
  state.isOpen = true;
  link.send(goodbye('1'));
  lanes[1].drain();
  await until(() => back.messages.length === 1, 'the first');
  const order: string[] = [];
  other.onMessage = (message) => void order.push(message.goodbye?.reason ?? '');
  other.onClose = () => void order.push('closed');
  // The lane has no room for the last yet.
  link.send(goodbye('last'));
  const [late] = ways[0].splice(0) as [Uint8Array];
  let hasRoom = (): void => {};
  state.flushed = new Promise((resolve) => {
    hasRoom = resolve;
  });
  const flushing = link.flush(5000);
  for (let i = 0; i < 20; i += 1) await turn();
  t.same(order, []);
  ways[0].push(late);
  hasRoom();
  await flushing;
  await until(() => order.includes('closed'), 'the close');
  t.same(order, ['last', 'closed']);
});
