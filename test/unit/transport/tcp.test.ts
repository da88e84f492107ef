import type { Socket } from 'node:net';
import t, { type Test as Tap } from 'tap';
import { execute, type Operand } from '../../../src/collective/execute';
import type { Plan } from '../../../src/collective/plan';
import { HvdError } from '../../../src/errors';
import { HEADER_BYTES, SMALL_BYTES, writeHeader } from '../../../src/transport/data_message';
import type { TcpTransport } from '../../../src/transport/tcp';
import { allgather, allreduces, broadcasts } from '../collective/algorithms';
import { randomFrom } from '../collective/simulation';
import { closed, connectAsStranger, dialAs, dribble, openPlayedSender, openRanks, turn, until, type Via, ways } from './ranks';

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => void unhandled.push(reason));

const LARGE = SMALL_BYTES + 1;
const STASH = 64 << 10;
const bytesOf = (length: number, seed: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) bytes[i] = (i * 31 + (i >> 8) + seed * 101) & 255;
  return bytes;
};
const isSame = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;
function message(tag: number, bytes: Uint8Array): Buffer {
  const whole = Buffer.alloc(HEADER_BYTES + bytes.length);
  writeHeader(whole, tag, bytes.length);
  whole.set(bytes, HEADER_BYTES);
  return whole;
}
const overEach = (name: string, test: (t: Tap, via: Via) => Promise<void>): void => {
  for (const via of ways) t.test(`${name} (${via})`, (t) => test(t, via));
};
function* piecesOf(random: () => number, longest: number): Generator<number> {
  for (;;) yield 1 + Math.floor(random() * (random() < 0.5 ? 20 : longest));
}

overEach(
  'messages of any length, in pieces of any length, received before or after they came, arrive whole and in order',
  async (t, via) => {
    const lengths = [0, 1, 3, HEADER_BYTES, 100, SMALL_BYTES, LARGE, STASH - HEADER_BYTES, STASH, STASH + 1, 150_000];
    for (let seed = 1; seed <= 30; seed += 1) {
      const random = randomFrom(seed * 7919);
      const { receiver, socket, end, lost } = await openPlayedSender(via);
      const messages = Array.from({ length: 1 + Math.floor(random() * 10) }, (_, i) =>
        bytesOf(lengths[Math.floor(random() * lengths.length)]!, seed + i),
      );
      const received: Promise<void>[] = [];
      const results = messages.map(({ length }) => new Uint8Array(length));
      const post = (): void => {
        const tag = received.length;
        received.push(receiver.recv(1, tag, results[tag]!));
      };
      post();
      const wire = Buffer.concat(messages.map((bytes, tag) => message(tag, bytes)));
      const writing = dribble(await socket, wire, piecesOf(random, [5000, 20_000, 150_000][seed % 3]!));
      while (received.length < messages.length) {
        if (random() < 0.5) await Promise.race([received.at(-1)!, turn()]);
        else for (let i = 0; i < 8; i += 1) await turn();
        post();
      }
      await Promise.all([writing, ...received]);
      for (const [i, bytes] of messages.entries())
        if (!isSame(results[i]!, bytes)) t.fail(`seed ${seed}: message ${i} of ${bytes.length} bytes`);
      if (lost.length > 0) t.fail(`seed ${seed}: ${lost[0]!.error.message}`);
      end();
    }
    t.pass();
  },
);

t.test('a header split anywhere, of a small, a large and an empty message, posted before it comes or between its halves', async (t) => {
  const { receiver, socket, end } = await openPlayedSender();
  const first = receiver.recv(1, 0, new Uint8Array(1));
  const wire = await socket;
  wire.write(message(0, Uint8Array.of(1)));
  await first;
  for (const length of [0, 5, LARGE, 3 * STASH]) {
    for (const split of [1, 2, 4, 7, 11, 12, 13, HEADER_BYTES - 1, HEADER_BYTES]) {
      for (const isEarly of [true, false]) {
        const bytes = bytesOf(length, split);
        const into = new Uint8Array(length);
        const whole = message(split, bytes);
        const early = isEarly ? receiver.recv(1, split, into) : undefined;
        await dribble(wire, whole, [split]);
        await (early ?? receiver.recv(1, split, into));
        if (!isSame(into, bytes)) t.fail(`${length} bytes, split at ${split}`);
      }
    }
  }
  t.pass();
  end();
});

overEach('a large message behind a small one in one segment, its receive posted at any time', async (t, via) => {
  for (const when of ['before', 'with the small one', 'after all came'] as const) {
    const { receiver, socket, end } = await openPlayedSender(via);
    const [small, large] = [bytesOf(10, 1), bytesOf(5 * STASH, 2)];
    const [intoSmall, intoLarge] = [new Uint8Array(small.length), new Uint8Array(large.length)];
    const one = receiver.recv(1, 1, intoSmall);
    let other = when === 'before' ? receiver.recv(1, 2, intoLarge) : undefined;
    (await socket).write(Buffer.concat([message(1, small), message(2, large)]));
    if (when === 'after all came') for (let i = 0; i < 20; i += 1) await turn();
    await one;
    other ??= receiver.recv(1, 2, intoLarge);
    await other;
    t.ok(isSame(intoSmall, small) && isSame(intoLarge, large), when);
    end();
  }
});

overEach('sends made before the receiver has dialled leave in their order, and before those made later', async (t, via) => {
  const { transports, end } = await openRanks(2, { via });
  const [left, right] = transports as [TcpTransport, TcpTransport];
  const sizes = [10, LARGE, 0, 2 * STASH, 1];
  const sends = sizes.map((length, tag) => left.send(1, tag, bytesOf(length, tag)));
  const results = sizes.map((length) => new Uint8Array(length));
  const receipts = results.map((into, tag) => right.recv(0, tag, into));
  const last = new Uint8Array(2);
  const more = sends[0]!.then(() => left.send(1, 99, Uint8Array.of(8, 9)));
  await Promise.all([...receipts, more, ...sends]);
  await right.recv(0, 99, last);
  for (const [tag, into] of results.entries()) t.ok(isSame(into, bytesOf(into.length, tag)));
  t.same([...last], [8, 9]);
  t.equal(left.bytesSent, sizes.reduce((sum, length) => sum + length, 0) + 2);
  t.equal(right.bytesSent, 0);
  end();
});

t.test('a small message is copied when its send returns', async (t) => {
  const { transports, end } = await openRanks(2);
  const [left, right] = transports as [TcpTransport, TcpTransport];
  const [bytes, into] = [Uint8Array.of(1), new Uint8Array(1)];
  await Promise.all([left.send(1, 0, bytes), right.recv(0, 0, into)]);
  const sending = left.send(1, 1, bytes);
  bytes[0] = 9;
  await Promise.all([sending, right.recv(0, 1, into)]);
  t.equal(into[0], 1);
  end();
});

overEach('while nobody receives, reading stops and the sender feels it; afterwards nothing is missing', async (t, via) => {
  for (const length of [1000, SMALL_BYTES, 1 << 20]) {
    const { transports, end } = await openRanks(2, { via });
    const [left, right] = transports as [TcpTransport, TcpTransport];
    await Promise.all([left.send(1, 0, new Uint8Array(1)), right.recv(0, 0, new Uint8Array(1))]);
    const messages = Math.ceil((40 << 20) / length);
    const sources = Array.from({ length: 7 }, (_, i) => bytesOf(length, i));
    let sent = 0;
    const sends = Array.from({ length: messages }, (_, i) => left.send(1, i, sources[i % 7]!).then(() => (sent += 1)));
    // As long as the kernel takes some.
    for (let before = -1; before !== sent; ) {
      before = sent;
      for (let i = 0; i < 50; i += 1) await turn();
    }
    t.ok(sent < messages, `${sent} of ${messages} of ${length} bytes were sent`);
    const into = new Uint8Array(length);
    let wrong = 0;
    for (let i = 0; i < messages; i += 1) {
      await right.recv(0, i, into);
      if (!isSame(into, sources[i % 7]!)) wrong += 1;
    }
    await Promise.all(sends);
    t.equal(wrong, 0);
    end();
  }
});

t.test(
  'abort ends every pending and later call with its cause, at any stage of a message, and no memory is written afterwards',
  async (t) => {
    const large = bytesOf(4 * STASH, 3);
    const stages: Record<string, (receiver: TcpTransport, wire: Socket) => Promise<void>> = {
      'nothing has come': async () => {},
      'in the header': async (_, wire) => dribble(wire, message(1, large).subarray(0, 5), [5]),
      'in the bytes': async (_, wire) => dribble(wire, message(1, large).subarray(0, 2 * STASH), [STASH, STASH]),
      'with full stash, reading stopped': async (_, wire) => dribble(wire, message(7, bytesOf(8 * STASH, 1)), [STASH, STASH]),
    };
    for (const [stage, act] of Object.entries(stages)) {
      const { receiver, socket, end, lost } = await openPlayedSender();
      const first = receiver.recv(1, 0, new Uint8Array(1));
      const wire = await socket;
      wire.write(message(0, Uint8Array.of(1)));
      await first;
      const into = new Uint8Array(large.length);
      const isIdle = stage.startsWith('with');
      const pending = isIdle
        ? [receiver.send(1, 0, large)]
        : [receiver.recv(1, 1, into), receiver.recv(1, 2, new Uint8Array(1)), receiver.send(1, 0, large)];
      const settled = Promise.allSettled(pending);
      await act(receiver, wire);
      const cause = new HvdError('enough');
      receiver.abort(cause);
      receiver.abort(new HvdError('too late'));
      const snapshot = into.slice();
      for (const outcome of await settled) t.match(outcome, { status: 'rejected', reason: cause }, stage);
      await t.rejects(receiver.recv(1, 3, into), cause);
      await t.rejects(receiver.send(1, 3, into), cause);
      wire.write(large);
      await closed(wire);
      t.ok(isSame(into, snapshot), `${stage}: no byte after the abort`);
      t.same(lost, []);
      end();
    }
  },
);

overEach('a peer that goes while something is sent or awaited is named on both sides', async (t, via) => {
  const { transports, lost, end } = await openRanks(2, { via });
  const [left, right] = transports as [TcpTransport, TcpTransport];
  await Promise.all([left.send(1, 0, new Uint8Array(1)), right.recv(0, 0, new Uint8Array(1))]);
  await Promise.all([right.send(0, 0, new Uint8Array(1)), left.recv(1, 0, new Uint8Array(1))]);
  const pending = [left.send(1, 1, new Uint8Array(64 << 20)), left.recv(1, 1, new Uint8Array(4))];
  const settled = Promise.allSettled(pending);
  await turn();
  right.abort(new HvdError('rank 1 ends'));
  for (const outcome of await settled) {
    t.match(outcome, {
      status: 'rejected',
      reason: { code: 'ERR_HVD_PEER', peer: 1, host: 'host1', message: /data link (to|from) rank 1 on host host1 is gone/ },
    });
  }
  t.equal(lost.length, 1);
  t.match(lost[0], { rank: 0, peer: 1 });
  await t.rejects(left.send(1, 2, new Uint8Array(1)), { code: 'ERR_HVD_PEER', peer: 1 });
  end();
});

t.test('a send or receive on a link that has closed meanwhile does not hang', async (t) => {
  const tryOne = async (length: number, isSend: boolean): Promise<void> => {
    const { transports, end } = await openRanks(2);
    const [left, right] = transports as [TcpTransport, TcpTransport];
    await Promise.all([left.send(1, 0, new Uint8Array(1)), right.recv(0, 0, new Uint8Array(1))]);
    await Promise.all([right.send(0, 0, new Uint8Array(1)), left.recv(1, 0, new Uint8Array(1))]);
    right.abort(new HvdError('gone'));
    for (let i = 0; i < 10; i += 1) await turn();
    const call = isSend ? left.send(1, 1, new Uint8Array(length)) : left.recv(1, 1, new Uint8Array(length));
    await t.rejects(call, { code: 'ERR_HVD_PEER', peer: 1 });
    end();
  };
  await Promise.all([1, LARGE].flatMap((length) => [tryOne(length, true), tryOne(length, false)]));
});

t.test('a better cause that comes within the grace wins over the lost link', async (t) => {
  const { transports, lost, end } = await openRanks(2);
  const [left, right] = transports as [TcpTransport, TcpTransport];
  const receipt = left.recv(1, 0, new Uint8Array(2));
  const outcome = receipt.catch((error: unknown) => error);
  await Promise.all([right.send(0, 0, new Uint8Array(2)), receipt]);
  const later = left.recv(1, 1, new Uint8Array(2)).catch((error: unknown) => error);
  right.abort(new HvdError('gone'));
  for (let i = 0; i < 10; i += 1) await turn();
  const better = new HvdError('rank 1 ran out of memory');
  left.abort(better);
  t.equal(await later, better);
  await outcome;
  t.same(lost, []);
  end();
});

t.test('who does not connect within the deadline is named, and so is who cannot be connected to', async (t) => {
  const { transports, lost, listeners, end } = await openRanks(3, { transportsOf: [0], connectTimeoutMs: 60 });
  await t.rejects(transports[0]!.send(2, 41, new Uint8Array(1)), {
    code: 'ERR_HVD_PEER',
    peer: 2,
    message: new RegExp(
      `Rank 2 on host host2 did not connect to rank 0 at 127.0.0.1:${listeners[0]!.port} within 0.06 s to receive operation 41`,
    ),
  });
  t.equal(lost.length, 1);
  end();
  const other = await openRanks(2, { transportsOf: [0] });
  other.listeners[1]!.close();
  await t.rejects(other.transports[0]!.recv(1, 0, new Uint8Array(1)), {
    code: 'ERR_HVD_PEER',
    peer: 1,
    message: new RegExp(`Connecting to rank 1 on host host1 at 127.0.0.1:${other.listeners[1]!.port} \\(data\\) failed.*ECONNREFUSED`),
  });
  other.end();
});

t.test('another tag, another length and bytes that are no message are WireErrors that name both sides', async (t) => {
  const cases: Array<[Buffer, number, RegExp]> = [
    [message(6, new Uint8Array(4)), 4, /Rank 1 on host host1 sent operation 6 with 4 bytes where operation 5 with 4 bytes was due/],
    [message(5, new Uint8Array(3)), 4, /operation 5 with 3 bytes where operation 5 with 4/],
    [message(5, new Uint8Array(3)), LARGE, /operation 5 with 3 bytes where operation 5 with 16385/],
    [Buffer.alloc(200, 65), 4, /bytes that are no message/],
    [Buffer.alloc(HEADER_BYTES, 255), LARGE, /bytes that are no message/],
  ];
  await Promise.all(
    cases.map(async ([wire, length, text]) => {
      const { receiver, socket, end } = await openPlayedSender();
      const receipt = receiver.recv(1, 5, new Uint8Array(length));
      void socket.then((sender) => sender.write(wire));
      await t.rejects(receipt, { code: 'ERR_HVD_WIRE', peer: 1, message: text });
      end();
    }),
  );
});

overEach('what was sent is delivered though the sender closes at once, also to a receiver that has not dialled yet', async (t, via) => {
  for (const isLinked of [true, false]) {
    const { transports, lost, end } = await openRanks(2, { via });
    const [left, right] = transports as [TcpTransport, TcpTransport];
    if (isLinked) await Promise.all([left.send(1, 9, new Uint8Array(1)), right.recv(0, 9, new Uint8Array(1))]);
    const sizes = [3, 6 << 20, 0, 100_000, 5];
    const sends = sizes.map((length, tag) => left.send(1, tag, bytesOf(length, tag)));
    const closing = left.close(5000);
    for (const [tag, length] of sizes.entries()) {
      const into = new Uint8Array(length);
      await right.recv(0, tag, into);
      if (!isSame(into, bytesOf(length, tag))) t.fail(`message ${tag}`);
    }
    await Promise.all([closing, ...sends]);
    await t.rejects(left.send(1, 0, new Uint8Array(1)), { code: 'ERR_HVD_SHUTDOWN' });
    t.same(lost, []);
    await right.close(100);
    end();
  }
});

t.test('close does not wait longer than it may, and fails what is still pending', async (t) => {
  const { transports, end } = await openRanks(2);
  const left = transports[0]!;
  const pending = [left.send(1, 0, new Uint8Array(4)), left.recv(1, 0, new Uint8Array(4))];
  const settled = Promise.allSettled(pending);
  await left.close(50);
  for (const outcome of await settled) t.match(outcome, { status: 'rejected', reason: { code: 'ERR_HVD_SHUTDOWN' } });
  end();
});

t.test('a second data link of a rank is refused while the first lives, and after it', async (t) => {
  const { transports, listeners, end } = await openRanks(2, { transportsOf: [0] });
  const sender = transports[0]!;
  const { port } = listeners[0]!;
  const first = await dialAs(1, 0, port);
  const second = await dialAs(1, 0, port);
  await closed(second);
  const came: Buffer[] = [];
  first.on('data', (chunk) => void came.push(chunk as Buffer));
  first.resume();
  await sender.send(1, 3, Uint8Array.of(1, 2));
  await until(() => Buffer.concat(came).length === HEADER_BYTES + 2, 'the message on the first link');
  t.same(Buffer.concat(came), message(3, Uint8Array.of(1, 2)));
  first.destroy();
  await turn();
  await closed(await dialAs(1, 0, port));
  end();
});

t.test('bytes from the receiver of a link end it', async (t) => {
  const { transports, listeners, end } = await openRanks(2, { transportsOf: [0] });
  const link = await dialAs(1, 0, listeners[0]!.port);
  link.write('hello');
  await closed(link);
  await t.rejects(transports[0]!.send(1, 3, Uint8Array.of(1, 2)), {
    code: 'ERR_HVD_PEER',
    peer: 1,
    message: /sent bytes where it only receives/,
  });
  end();
});

t.test('a rank has no link with itself or with nobody', async (t) => {
  const { transports, end } = await openRanks(2, { transportsOf: [0] });
  for (const peer of [0, 2, -1]) {
    await t.rejects(transports[0]!.send(peer, 0, new Uint8Array(1)), { code: 'ERR_HVD_BUG' });
    await t.rejects(transports[0]!.recv(peer, 0, new Uint8Array(1)), { code: 'ERR_HVD_BUG' });
  }
  end();
});

// ───── plans over sockets ─────

async function runPlans(
  plans: readonly Plan[],
  transports: readonly TcpTransport[],
  operands: readonly Float32Array[],
  tag: number,
): Promise<void> {
  const members = plans.map((_, rank) => rank);
  await Promise.all(
    plans.map((plan, rank) => {
      const values = operands[rank]!;
      const scratch = new Uint8Array(256 << 10);
      const operand: Operand = {
        bytes: new Uint8Array(values.buffer),
        bytesPerElem: 4,
        reduce(elem, elems, scratchByte) {
          const received = new Float32Array(scratch.buffer, scratchByte, elems);
          for (let i = 0; i < elems; i += 1) values[elem + i]! += received[i]!;
        },
      };
      return execute(plan, { transport: transports[rank]!, members, tag }, operand, scratch);
    }),
  );
}
/** Whole numbers: their sums are exact in any order. */
const valuesOf = (rank: number, elems: number): Float32Array => Float32Array.from({ length: elems }, (_, i) => ((rank + 1) * (i + 3)) % 97);
/** Small ones, one just above the limit of small messages, and many of them with several segments. */
const shapes = [
  { elems: 0, segmentElems: 4 },
  { elems: 1, segmentElems: 4 },
  { elems: 1000, segmentElems: 48 },
  { elems: 4 * LARGE, segmentElems: LARGE },
  { elems: 100_003, segmentElems: 5000 },
];

for (const size of [2, 3, 4]) {
  overEach(`every plan over ${size} ranks and sockets gives the plain result`, async (t, via) => {
    const { transports, end, lost } = await openRanks(size, { via });
    let tag = 0;
    const check = async (name: string, plans: readonly Plan[], operands: Float32Array[], expected: Float32Array): Promise<void> => {
      await runPlans(plans, transports, operands, (tag += 1));
      for (const [rank, values] of operands.entries()) {
        if (!isSame(new Uint8Array(values.buffer), new Uint8Array(expected.buffer)))
          t.fail(`${name}, ${expected.length} elements, rank ${rank}`);
      }
    };
    for (const { elems, segmentElems } of shapes) {
      const inputs = () => transports.map((_, rank) => valuesOf(rank, elems));
      const sum = new Float32Array(elems);
      for (const part of inputs()) for (let i = 0; i < elems; i += 1) sum[i]! += part[i]!;
      for (const [name, plansOf] of Object.entries(allreduces)) await check(name, plansOf({ size, elems, segmentElems }), inputs(), sum);
      for (const [name, plansOf] of Object.entries(broadcasts)) {
        for (const root of [0, size - 1]) await check(name, plansOf({ size, elems, segmentElems, root }), inputs(), valuesOf(root, elems));
      }
      const elemsOf = transports.map((_, rank) => (rank === 0 ? elems : Math.floor(elems / (rank + 1))));
      const whole = elemsOf.reduce((total, count) => total + count, 0);
      const starts = elemsOf.map((_, rank) => elemsOf.slice(0, rank).reduce((total, count) => total + count, 0));
      const gathered = new Float32Array(whole);
      for (const [rank, count] of elemsOf.entries()) gathered.set(valuesOf(rank, count), starts[rank]);
      const operands = elemsOf.map((count, rank) => {
        const operand = new Float32Array(whole);
        operand.set(valuesOf(rank, count), starts[rank]);
        return operand;
      });
      await check('allgather', allgather({ elemsOf, segmentElems }), operands, gathered);
    }
    t.same(lost, []);
    t.pass();
    await Promise.all(transports.map((transport) => transport.close(1000)));
    end();
  });
}

t.test('strangers at every port disturb nothing: random bytes, lengths without end, and silence', async (t) => {
  const { transports, listeners, end, lost } = await openRanks(3);
  const random = randomFrom(77);
  const strangers: Socket[] = [];
  let isOver = false;
  const besiege = async (): Promise<void> => {
    while (!isOver) {
      const { port } = listeners[Math.floor(random() * 3)]!;
      const stranger = await connectAsStranger(port);
      strangers.push(stranger);
      const kind = Math.floor(random() * 4);
      if (kind === 0) stranger.write(Buffer.from(Array.from({ length: 300 }, () => Math.floor(random() * 256))));
      if (kind === 1) stranger.write(Buffer.alloc(1 << 20, 255));
      if (kind === 2) stranger.write('KHVD\u0001');
      for (let i = 0; i < 5; i += 1) await turn();
    }
  };
  const siege = besiege();
  const elems = 50_000;
  const expected = valuesOf(0, elems);
  for (const rank of [1, 2]) for (const [i, value] of valuesOf(rank, elems).entries()) expected[i]! += value;
  for (let tag = 1; tag <= 30; tag += 1) {
    const operands = transports.map((_, rank) => valuesOf(rank, elems));
    await runPlans(allreduces.ring!({ size: 3, elems, segmentElems: 5000 }), transports, operands, tag);
    for (const values of operands) if (!isSame(new Uint8Array(values.buffer), new Uint8Array(expected.buffer))) t.fail(`round ${tag}`);
  }
  isOver = true;
  await siege;
  t.ok(strangers.length > 10, `${strangers.length} strangers came`);
  t.same(lost, []);
  for (const stranger of strangers) stranger.destroy();
  end();
});

t.test('no rejection was left unhandled', async (t) => {
  await turn();
  t.same(unhandled, []);
});
