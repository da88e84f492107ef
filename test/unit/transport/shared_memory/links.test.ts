/** Messages, loans and plans through shared memory, and what happens when it cannot be seen. */
import { readdirSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { execute, type Operand } from '../../../../src/collective/execute';
import { HvdError } from '../../../../src/errors';
import { bytesOf } from '../../../../src/memory/arena';
import { BOARD_BYTES } from '../../../../src/transport/shared_memory/board';
import { whyNoSharedMemory } from '../../../../src/transport/shared_memory/pages';
import { randomOf } from '../../../helpers/random';
import { allreduces } from '../../collective/algorithms';
import { until } from '../ranks';
import { heapFrom, openNeighbours, type Rank, SCRATCH_BYTES, windows } from './neighbours';

/** Of so many bytes of a rank's memory, filled by a seed. */
function filled({ memory }: Rank, byteOffset: number, bytes: number, seed: number): Uint8Array {
  const view = bytesOf(memory, byteOffset, bytes);
  for (let i = 0; i < bytes; i += 1) view[i] = (i * 31 + (i >> 8) + seed * 101) & 255;
  return view;
}
const isSame = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;
const openFiles = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)].filter((name) => name.includes('khorovod'));
    } catch {
      return [];
    }
  });

t.test('shared memory', { skip: whyNoSharedMemory() ?? false }, async (t) => {
  t.test(
    'messages of any length arrive whole and in order: from the heap, from elsewhere in the memory, and from other memory',
    async (t) => {
      const lengths = [0, 1, 64, 1000, 16 << 10, (16 << 10) + 1, 300_000, 1 << 20, (1 << 20) + 1, 9_000_001];
      const random = randomOf(3);
      const { ranks, lost, end } = await openNeighbours(2);
      const [sender, receiver] = ranks as [Rank, Rank];
      for (let round = 0; round < 6; round += 1) {
        const messages = Array.from({ length: 12 }, (_, i) => {
          const bytes = random.oneOf(lengths);
          const place = random.oneOf(['heap', 'elsewhere', 'other']);
          if (place === 'heap') return filled(sender, heapFrom + i * (10 << 20), bytes, i);
          if (place === 'elsewhere') return filled(sender, windows.neighbours[0]!.byteOffset + i * (10 << 20), bytes, i);
          return filled(sender, heapFrom + i * (10 << 20), bytes, i).slice();
        });
        const into = messages.map(({ length }, i) =>
          random.chance(0.5) ? new Uint8Array(length) : bytesOf(receiver.memory, heapFrom + i * (10 << 20), length),
        );
        const sending = messages.map((bytes, tag) => sender.transport.send(1, tag, bytes));
        const receiving = into.map((bytes, tag) => receiver.transport.recv(0, tag, bytes));
        await Promise.all([...sending, ...receiving]);
        for (const [i, bytes] of messages.entries())
          if (!isSame(bytes, into[i]!)) t.fail(`round ${round}: message ${i} of ${bytes.length} bytes`);
      }
      t.same(lost, []);
      end();
    },
  );

  t.test('a loan shows the sender’s array itself, which is the sender’s again when it is given back', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const bytes = filled(sender, heapFrom, 100_000, 1);
    let isSent = false;
    const sending = sender.transport.send(1, 5, bytes).then(() => {
      isSent = true;
    });
    const into = new Uint8Array(100_000);
    const loan = (await receiver.transport.recvOrBorrow(0, 5, into))!;
    t.equal(loan.byteOffset, windows.neighbours[0]!.byteOffset + BOARD_BYTES);
    t.ok(isSame(bytesOf(receiver.memory, loan.byteOffset, 100_000), bytes));
    t.ok(
      into.every((byte) => byte === 0),
      'nothing was copied',
    );
    bytes[3] = 99;
    t.equal(bytesOf(receiver.memory, loan.byteOffset, 4)[3], 99, 'it is the same memory');
    t.notOk(isSent);
    loan.release();
    await sending;
    t.ok(isSent);
    end();
  });

  t.test('a loan that was withdrawn is not believed', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const sending = sender.transport.send(1, 5, filled(sender, heapFrom, 100_000, 1));
    const loan = (await receiver.transport.recvOrBorrow(0, 5, new Uint8Array(100_000)))!;
    sender.transport.abort(new HvdError('rank 0 has had enough'));
    await t.rejects(sending, /has had enough/);
    t.throws(() => loan.release(), { code: 'ERR_HVD_PEER', message: /rank 0 on host host0 gave up in the middle of an operation/ });
    end();
  });

  t.test('what was staged arrives though its sender has closed', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const [first, second] = [filled(sender, 65536, 1000, 1), filled(sender, 131072, 500_000, 2)];
    const into = [new Uint8Array(1000), new Uint8Array(500_000)] as const;
    const receiving = receiver.transport.recv(0, 1, into[0]);
    await sender.transport.send(1, 1, first);
    await receiving;
    await sender.transport.send(1, 2, second);
    await sender.transport.close(2000);
    await receiver.transport.recv(0, 2, into[1]);
    t.ok(isSame(into[0], first) && isSame(into[1], second));
    end();
  });

  t.test('what is heard without being asked for is heard in order, though hearing it asks for more', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const order: number[] = [];
    const out = sender.transport.lane(1, () => {})!;
    receiver.transport.lane(0, ([number]) => {
      order.push(number!);
      if (number !== 1) return;
      // One more has come by the time that the link is looked at again, which asking does.
      out.send(Uint8Array.of(3));
      receiver.transport.recv(0, 5, new Uint8Array(1)).catch(() => {});
    });
    await until(() => out.isOpen, 'the lane');
    out.send(Uint8Array.of(1));
    out.send(Uint8Array.of(2));
    await until(() => order.length === 3, 'all');
    t.same(order, [1, 2, 3]);
    end();
  });

  t.test('what is heard without being asked for does not wait behind messages that nobody has asked for yet', async (t) => {
    const { ranks, lost, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const random = randomOf(5);
    const order: number[] = [];
    const out = sender.transport.lane(1, () => {})!;
    const incoming = receiver.transport.lane(0, ([number]) => void order.push(number!))!;
    await until(() => out.isOpen, 'the lane');
    for (let round = 0; round < 100; round += 1) {
      const lengths = Array.from({ length: 1 + random.below(5) }, () => random.below(100_000));
      const messages = lengths.map((bytes, i) =>
        filled(sender, (random.chance(0.5) ? heapFrom : 65536) + i * (128 << 10), bytes, round + i),
      );
      const expected = messages.map((bytes) => bytes.slice());
      const sending = messages.map((bytes, i) => {
        const sent = sender.transport.send(1, i, bytes);
        out.send(Uint8Array.of(i));
        return sent;
      });
      // Whatever bell has not rung yet.
      incoming.drain();
      t.same(order.splice(0), [...messages.keys()], `round ${round}`);
      const into = lengths.map((bytes) => new Uint8Array(bytes));
      await Promise.all([...sending, ...into.map((bytes, i) => receiver.transport.recv(0, i, bytes))]);
      if (!into.every((bytes, i) => isSame(bytes, expected[i]!))) t.fail(`round ${round}: other bytes`);
    }
    t.same(lost, []);
    end();
  });

  t.test('what is heard without being asked for wakes who sleeps, whatever lies before it', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    let heard = 0;
    const out = sender.transport.lane(1, () => {})!;
    receiver.transport.lane(0, () => void (heard += 1));
    await until(() => out.isOpen, 'the lane');
    for (let i = 0; i < 3; i += 1) {
      await sender.transport.send(1, i, new Uint8Array(100));
      // Long enough that it has gone to sleep over that.
      await new Promise((resolve) => setTimeout(resolve, 20));
      out.send(Uint8Array.of(i));
      await until(() => heard === i + 1, 'it');
    }
    t.equal(heard, 3);
    end();
  });

  t.test('any tag is one of messages that are asked for', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    const heard: Uint8Array[] = [];
    const out = sender.transport.lane(1, () => {})!;
    receiver.transport.lane(0, (bytes) => void heard.push(bytes));
    await until(() => out.isOpen, 'the lane');
    for (const tag of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const into = new Uint8Array(1);
      const receiving = receiver.transport.recv(0, tag, into);
      await sender.transport.send(1, tag, Uint8Array.of(7));
      await until(() => into[0] === 7 || heard.length > 0, 'it');
      t.same(heard, [], `${tag}`);
      if (heard.length === 0) await receiving;
      else receiving.catch(() => {});
    }
    end();
  });

  t.test(
    'what is heard without being asked for finds room, though the ring is full of messages that nobody has asked for, and more wait',
    async (t) => {
      for (const [count, bytes] of [
        [70, 1],
        [6, 1 << 20],
      ] as const) {
        const { ranks, lost, end } = await openNeighbours(2);
        const [sender, receiver] = ranks as [Rank, Rank];
        const heard: number[] = [];
        const out = sender.transport.lane(1, () => {})!;
        receiver.transport.lane(0, ([number]) => void heard.push(number!));
        await until(() => out.isOpen, 'the lane');
        const messages = Array.from({ length: count }, (_, tag) => filled(sender, 0, bytes, tag).slice());
        let sent = 0;
        const sending = messages.map((message, tag) => sender.transport.send(1, tag, message).then(() => void (sent += 1)));
        out.send(Uint8Array.of(1));
        out.send(Uint8Array.of(2));
        await until(() => heard.length === 2, 'both');
        t.same(heard, [1, 2], `${count} messages of ${bytes} bytes`);
        t.ok(sent < count, 'some messages had no room');
        const into = messages.map(({ length }) => new Uint8Array(length));
        await Promise.all([...sending, ...into.map((one, tag) => receiver.transport.recv(0, tag, one))]);
        t.ok(into.every((one, tag) => isSame(one, messages[tag]!)));
        t.same(lost, []);
        end();
      }
    },
  );

  t.test('a lane is flushed when the ring has had room for all', async (t) => {
    const { ranks, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    let heard = 0;
    const out = sender.transport.lane(1, () => {})!;
    receiver.transport.lane(0, () => void (heard += 1));
    await out.flush(5000);
    await until(() => out.isOpen, 'the lane');
    // As many as are under way at most, and nobody asks for them yet; behind them as many that are heard.
    for (let tag = 0; tag < 64; tag += 1) await sender.transport.send(1, tag, new Uint8Array(1));
    for (let i = 0; i < 64; i += 1) out.send(Uint8Array.of(1));
    await out.flush(60_000);
    await until(() => heard === 64, 'those that have room');
    out.send(Uint8Array.of(1));
    let isFlushed = false;
    const flushing = out.flush(5000).then(() => {
      isFlushed = true;
    });
    for (let i = 0; i < 20; i += 1) await new Promise(setImmediate);
    t.same([isFlushed, heard], [false, 64]);
    await receiver.transport.recv(0, 0, new Uint8Array(1));
    await flushing;
    await until(() => heard === 65, 'it');
    // Nor is anybody waited for who is gone: there is no room again.
    out.send(Uint8Array.of(2));
    const last = out.flush(60_000);
    receiver.transport.abort(new HvdError('rank 1 has had enough'));
    await last;
    t.notOk(out.isOpen);
    end();
  });

  t.test('another operation than the one that is due is an error', async (t) => {
    const { ranks, lost, end } = await openNeighbours(2);
    const [sender, receiver] = ranks as [Rank, Rank];
    void sender.transport.send(1, 1, new Uint8Array(10)).catch(() => {});
    await t.rejects(receiver.transport.recv(0, 2, new Uint8Array(20)), {
      code: 'ERR_HVD_WIRE',
      message: /sent operation 1 with 10 bytes where operation 2 with 20 bytes was due/,
    });
    t.match(lost, [/^1: lost 0/]);
    end();
  });

  t.test('a rank that cannot see its neighbour takes a socket, and the other one says why', async (t) => {
    const { ranks, lost, refused, end } = await openNeighbours(2, { blind: [1] });
    const [sender, receiver] = ranks as [Rank, Rank];
    const bytes = filled(sender, heapFrom, 3_000_000, 1);
    const into = new Uint8Array(3_000_000);
    await Promise.all([sender.transport.send(1, 1, bytes), receiver.transport.recv(0, 1, into)]);
    t.ok(isSame(bytes, into));
    const back = new Uint8Array(3_000_000);
    await Promise.all([receiver.transport.send(0, 1, into), sender.transport.recv(1, 1, back)]);
    t.ok(isSame(bytes, back), 'the other way through shared memory');
    t.match(refused, ['0 to 1: the receiver cannot map it']);
    t.same(lost, []);
    end();
  });

  for (const [name, plansOf] of Object.entries(allreduces))
    t.test(`${name} of arrays on the heap and off it`, async (t) => {
      for (const size of [2, 3, 4]) {
        const { ranks, lost, end } = await openNeighbours(size);
        for (const [elems, at] of [
          [1, heapFrom],
          [1000, heapFrom],
          [300_007, heapFrom + 64],
          [300_007, windows.links.byteOffset + windows.links.bytes - (8 << 20)],
        ] as const) {
          const plans = plansOf({ size, elems, segmentElems: 50_000, chunkElems: 100_000 });
          await Promise.all(
            ranks.map(({ transport, memory, kernels }, rank) => {
              const values = new Float32Array(memory.buffer, at, elems);
              for (let i = 0; i < elems; i += 1) values[i] = (rank + 1) * ((i % 1000) + 1);
              const operand: Operand = {
                bytes: bytesOf(memory, at, 4 * elems),
                bytesPerElem: 4,
                borrows: true,
                reduce: (elem, count, scratchByte) => kernels.reduce('float32', 'sum', at + 4 * elem, 65536 + scratchByte, count),
              };
              const route = { transport, members: [...ranks.keys()], tag: 1 };
              return execute(plans[rank]!, route, operand, bytesOf(memory, 65536, SCRATCH_BYTES));
            }),
          );
          const factor = (size * (size + 1)) / 2;
          for (const [rank, { memory }] of ranks.entries()) {
            const wrong = new Float32Array(memory.buffer, at, elems).findIndex((value, i) => value !== factor * ((i % 1000) + 1));
            t.equal(wrong, -1, `${size} ranks, ${elems} elements: rank ${rank}`);
          }
        }
        t.same(lost, []);
        end();
      }
    });

  t.test('no file is left open', async (t) => {
    t.same(openFiles(), []);
  });
});
