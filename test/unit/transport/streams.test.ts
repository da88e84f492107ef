/** Data links of several TCP streams: what goes where, the same bits by every plan, and their ends. */
import fc from 'fast-check';
import t from 'tap';
import { execute, type Operand } from '../../../src/collective/execute';
import { HvdError } from '../../../src/errors';
import { LEAST_PART_BYTES, partsOf } from '../../../src/transport/streams';
import type { TcpTransport } from '../../../src/transport/tcp';
import { DialerHandshake, ListenerHandshake, MOST_STREAMS } from '../../../src/wire/handshake';
import { allreduces } from '../collective/algorithms';
import { randomFrom } from '../collective/simulation';
import { closed, dialAs, identityOf, openRanks, until } from './ranks';

t.test('parts are the message, in order, long enough, and at most one a stream', async (t) => {
  fc.assert(
    fc.property(fc.nat(2_000_000), fc.integer({ min: 1, max: MOST_STREAMS }), (length, streams) => {
      const whole = new Uint8Array(new ArrayBuffer(length + 64), 64, length);
      const parts = partsOf(whole, streams);
      let at = whole.byteOffset;
      for (const part of parts) {
        if (part.buffer !== whole.buffer || part.byteOffset !== at) return false;
        at += part.length;
      }
      // Rounding to cache lines takes a few bytes of the last.
      const isLong = parts.length === 1 || parts.every((part) => part.length >= LEAST_PART_BYTES - 64 * parts.length);
      return at === whole.byteOffset + length && parts.length >= 1 && parts.length <= streams && isLong;
    }),
  );
  t.equal(partsOf(new Uint8Array(0), 4).length, 1);
  t.equal(partsOf(new Uint8Array(2 * LEAST_PART_BYTES - 1), 4).length, 1);
  t.equal(partsOf(new Uint8Array(2 * LEAST_PART_BYTES), 4).length, 2);
  t.equal(partsOf(new Uint8Array(512 << 10), 3).length, 3);
});

t.test('a hello names its stream, on channels that may have several only', async (t) => {
  const hear = (channel: 'data' | 'control' | 'shm', stream: number): ListenerHandshake => {
    const listener = new ListenerHandshake(identityOf(1), 4);
    listener.reply(new DialerHandshake(identityOf(0), 1, channel, stream).begin());
    return listener;
  };
  t.match(hear('data', 3), { channel: 'data', stream: 3, from: 0 });
  for (const [channel, stream] of [
    ['data', MOST_STREAMS],
    ['control', 1],
    ['shm', 1],
  ] as const)
    t.throws(() => hear(channel, stream), { code: 'ERR_HVD_WIRE', message: new RegExp(`stream ${stream}`) }, channel);
});

function filled(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) bytes[i] = (i * 31 + (i >> 8) + seed * 101) & 255;
  return bytes;
}

t.test('messages of any length arrive whole, whenever their receives are posted', async (t) => {
  const lengths = [0, 1, 1000, LEAST_PART_BYTES, 2 * LEAST_PART_BYTES, 300_001, 1 << 20, 3_000_003];
  for (const streams of [2, 3]) {
    const random = randomFrom(streams);
    const { transports, lost, end } = await openRanks(2, { streams });
    const [left, right] = transports as [TcpTransport, TcpTransport];
    for (let round = 0; round < 5; round += 1) {
      const messages = Array.from({ length: 12 }, (_, i) => filled(lengths[Math.floor(random() * lengths.length)]!, i));
      const sending = messages.map((bytes, tag) => left.send(1, tag, bytes));
      const results = messages.map(({ length }) => new Uint8Array(length));
      const receiving: Promise<void>[] = [];
      for (const [tag, into] of results.entries()) {
        receiving.push(right.recv(0, tag, into));
        if (random() < 0.3) await receiving.at(-1);
      }
      await Promise.all([...sending, ...receiving]);
      for (const [i, bytes] of messages.entries())
        if (Buffer.compare(bytes, results[i]!) !== 0) t.fail(`${streams} streams, round ${round}: message ${i} of ${bytes.length} bytes`);
    }
    t.same(lost, []);
    end();
  }
});

/** Every rank's result of that plan, over so many streams. Sums of these depend on their order. */
async function resultsOf(streams: number, size: number, elems: number, plansOf: (typeof allreduces)[string]): Promise<Float32Array[]> {
  const { transports, lost, end } = await openRanks(size, { streams });
  const random = randomFrom(size);
  const operands = transports.map(() => Float32Array.from({ length: elems }, () => random() - 0.5));
  const plans = plansOf({ size, elems, segmentElems: 131_072, chunkElems: 262_144 });
  await Promise.all(
    plans.map((plan, rank) => {
      const values = operands[rank]!;
      const scratch = new Uint8Array(8 << 20);
      const operand: Operand = {
        bytes: new Uint8Array(values.buffer),
        bytesPerElem: 4,
        reduce(elem, count, scratchByte) {
          const received = new Float32Array(scratch.buffer, scratchByte, count);
          for (let i = 0; i < count; i += 1) values[elem + i]! += received[i]!;
        },
      };
      return execute(plan, { transport: transports[rank]!, members: transports.map((_, one) => one), tag: 1 }, operand, scratch);
    }),
  );
  await Promise.all(transports.map((transport) => transport.close(2000)));
  if (lost.length > 0) throw lost[0]!.error;
  end();
  return operands;
}

for (const [name, plansOf] of Object.entries(allreduces))
  t.test(`${name} over 2 and 3 streams gives the bits of one`, async (t) => {
    for (const size of [2, 3]) {
      for (const elems of [1000, 700_001]) {
        const expected = await resultsOf(1, size, elems, plansOf);
        for (const streams of [2, 3]) {
          const found = await resultsOf(streams, size, elems, plansOf);
          for (const [rank, values] of found.entries())
            t.ok(
              Buffer.compare(new Uint8Array(values.buffer), new Uint8Array(expected[rank]!.buffer)) === 0,
              `${streams} streams, ${elems} elements, rank ${rank} of ${size}`,
            );
        }
      }
    }
  });

t.test('a large message really takes all streams, a small one the first', async (t) => {
  const { transports, listeners, end } = await openRanks(2, { transportsOf: [0], streams: 3 });
  const came = [0, 0, 0];
  const sockets = await Promise.all(
    [0, 1, 2].map(async (stream) => {
      const socket = await dialAs(1, 0, listeners[0]!.port, 'data', {}, stream);
      socket.on('data', (chunk) => {
        came[stream]! += chunk.length;
      });
      socket.resume();
      return socket;
    }),
  );
  await closed(await dialAs(1, 0, listeners[0]!.port, 'data', {}, 2));
  await closed(await dialAs(1, 0, listeners[0]!.port, 'data', {}, 3));
  await transports[0]!.send(1, 0, new Uint8Array(1000));
  await until(() => came[0]! === 1064, 'the small one');
  t.same(came, [1064, 0, 0]);
  await transports[0]!.send(1, 1, new Uint8Array(300_032));
  await until(() => came.reduce((sum, bytes) => sum + bytes) === 1064 + 300_032 + 3 * 64, 'the large one');
  t.same(came, [1064 + 100_032 + 64, 100_032 + 64, 99_968 + 64]);
  for (const socket of sockets) socket.destroy();
  end();
});

t.test('a peer that goes in the middle is named on all pending calls; abort ends them with its cause', async (t) => {
  for (const isAbort of [false, true]) {
    const { transports, lost, end } = await openRanks(2, { streams: 3 });
    const [left, right] = transports as [TcpTransport, TcpTransport];
    await Promise.all([left.send(1, 0, new Uint8Array(1 << 20)), right.recv(0, 0, new Uint8Array(1 << 20))]);
    await Promise.all([right.send(0, 0, new Uint8Array(1)), left.recv(1, 0, new Uint8Array(1))]);
    const settled = Promise.allSettled([left.send(1, 1, new Uint8Array(64 << 20)), left.recv(1, 1, new Uint8Array(1 << 20))]);
    const cause = new HvdError('enough');
    if (isAbort) left.abort(cause);
    else right.abort(cause);
    for (const outcome of await settled)
      t.match(outcome, { status: 'rejected', reason: isAbort ? cause : { code: 'ERR_HVD_PEER', peer: 1, host: 'host1' } });
    t.equal(lost.length, isAbort ? 0 : 1);
    end();
  }
});
