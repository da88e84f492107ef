/** An allreduce in one pass over arrays that all ranks see, beside the ring it stands for. */
import t from 'tap';
import { execute } from '../../../../src/collective/execute';
import { OnePass, type SharedOperand, shareOf } from '../../../../src/collective/one_pass';
import { ringAllreduce } from '../../../../src/collective/ring';
import { HvdError } from '../../../../src/errors';
import { bytesOf } from '../../../../src/memory/arena';
import { inProcessTransports } from '../../../../src/transport/in_process';
import { whyNoSharedMemory } from '../../../../src/transport/shared_memory/pages';
import { randomOf } from '../../../helpers/random';
import { heapFrom, openNeighbours, type Rank, SCRATCH_BYTES, windows } from './neighbours';

const SCRATCH_AT = 65536;
const CHUNK_ELEMS = 40_000;

const operandOf = ({ memory, kernels }: Rank, at: number, elems: number, factor?: number): SharedOperand => ({
  bytes: bytesOf(memory, at, 4 * elems),
  bytesPerElem: 4,
  borrows: true,
  reduce: (elem, count, scratchByte) => kernels.reduce('float32', 'sum', at + 4 * elem, SCRATCH_AT + scratchByte, count),
  combine: (byteOffsets, count) => kernels.combine('float32', 'sum', byteOffsets, count, factor),
  ...(factor && { finish: (elem: number, count: number) => kernels.scale('float32', at + 4 * elem, count, factor) }),
});

/** One of each rank, from call to call. @param onEnd told the rank and when the others are through */
const onePassesOf = (
  ranks: readonly unknown[],
  id = 0,
  onEnd: (rank: number, through: Promise<unknown>) => void = (_, through) => void through.catch(() => {}),
): OnePass[] => {
  const members = [...ranks.keys()];
  return members.map((rank) => new OnePass(id, members, rank, (through) => onEnd(rank, through)));
};

const call = (ranks: readonly Rank[], onePasses: readonly OnePass[], operands: readonly SharedOperand[], tag = 1): Promise<boolean[]> =>
  Promise.all(
    ranks.map(({ transport }, rank) => onePasses[rank]!.run({ transport, heaps: transport.heaps!, tag }, operands[rank]!, CHUNK_ELEMS)),
  );

/** Numbers whose sum depends on the order. */
function fill({ memory }: Rank, at: number, elems: number, seed: number): Float32Array {
  const random = randomOf(seed);
  const values = new Float32Array(memory.buffer, at, elems);
  for (let i = 0; i < elems; i += 1) values[i] = (random.below(2e6) - 1e6) * 10 ** (random.below(9) - 4);
  return values;
}

t.test('the shares are all elements, each once', async (t) => {
  for (const size of [2, 3, 8])
    for (const elems of [0, 1, 5, 1000, 100_003]) {
      const counts = new Uint8Array(elems);
      for (let position = 0; position < size; position += 1)
        for (const { from, until } of shareOf(position, size, elems, 999)) for (let i = from; i < until; i += 1) counts[i]! += 1;
      t.ok(
        counts.every((count) => count === 1),
        `${size} ranks, ${elems} elements`,
      );
    }
});

t.test('over shared memory', { skip: whyNoSharedMemory() ?? false }, async (t) => {
  for (const size of [2, 3, 4])
    t.test(`${size} ranks end with the bits of the ring`, async (t) => {
      const { ranks, lost, end } = await openNeighbours(size);
      const onePasses = onePassesOf(ranks);
      t.same(
        await call(
          ranks,
          onePasses,
          ranks.map((rank) => operandOf(rank, heapFrom, 10)),
        ),
        Array(size).fill(false),
        'the first call brings the links about',
      );
      for (const [elems, factor] of [
        [20_000, undefined],
        [300_007, 1 / size],
        [1_000_003, undefined],
      ] as const) {
        // Each has its array elsewhere.
        const at = (rank: number): number => heapFrom + rank * 4096 + 64;
        const inputs = ranks.map((rank, i) => fill(rank, at(i), elems, i + elems).slice());
        const done = await call(
          ranks,
          onePasses,
          ranks.map((rank, i) => operandOf(rank, at(i), elems, factor)),
        );
        t.same(done, Array(size).fill(true));
        const plain = inProcessTransports(size);
        await Promise.all(
          ranks.map((rank, i) => {
            const elsewhere = heapFrom + (64 << 20);
            new Float32Array(rank.memory.buffer, elsewhere, elems).set(inputs[i]!);
            const plan = ringAllreduce({ rank: i, size, elems, chunkElems: CHUNK_ELEMS, segmentElems: 10_000 });
            const route = { transport: plain[i]!, members: [...ranks.keys()], tag: 1 };
            return execute(
              plan,
              route,
              { ...operandOf(rank, elsewhere, elems, factor), borrows: false },
              bytesOf(rank.memory, SCRATCH_AT, SCRATCH_BYTES),
            );
          }),
        );
        for (const [i, { memory }] of ranks.entries()) {
          const [one, ring] = [at(i), heapFrom + (64 << 20)].map((from) => bytesOf(memory, from, 4 * elems)) as [Uint8Array, Uint8Array];
          t.equal(Buffer.compare(one, ring), 0, `${elems} elements, rank ${i}`);
        }
      }
      t.same(lost, []);
      end();
    });

  t.test('what others have not come to is summed by who has time, each element once', async (t) => {
    const { ranks, end } = await openNeighbours(3);
    const onePasses = onePassesOf(ranks);
    const elems = 900_000;
    const summed = ranks.map(() => 0);
    const operands = ranks.map((rank, i): SharedOperand => {
      const operand = operandOf(rank, heapFrom, elems);
      const combine: SharedOperand['combine'] = (byteOffsets, count) => {
        summed[i]! += count;
        operand.combine(byteOffsets, count);
      };
      return { ...operand, combine };
    });
    await call(ranks, onePasses, operands);
    for (const { memory } of ranks) new Float32Array(memory.buffer, heapFrom, elems).fill(1);
    t.same(await call(ranks, onePasses, operands), [true, true, true]);
    for (const { memory } of ranks)
      t.ok(
        new Float32Array(memory.buffer, heapFrom, elems).every((value) => value === 3),
        'each share was summed',
      );
    t.equal(
      summed.reduce((sum, count) => sum + count, 0),
      elems,
      'once',
    );
    t.ok(Math.max(...summed) > elems / 3, `of these ranks, which share a thread, one does more than its share (${summed.join()})`);
    end();
  });

  t.test(
    'where operands lie may have been told before: then a rank that comes late holds up nobody, and counts in no later call',
    async (t) => {
      const { ranks, lost, end } = await openNeighbours(3);
      let isHeard = false;
      const all = onePassesOf(ranks, 0, (rank, through) => {
        if (rank === 0) isHeard = false;
        void through.then(
          () => {
            isHeard ||= rank === 0;
          },
          () => {},
        );
      });
      // Its first member is the same: they count on the same board.
      const two = onePassesOf(ranks.slice(0, 2), 1);
      const elems = 200_000;
      const arrays = ranks.map(({ memory }) => new Float32Array(memory.buffer, heapFrom, elems));
      const operands = ranks.map((rank) => operandOf(rank, heapFrom, elems));
      const places = ranks.map(({ transport }, rank) => transport.heaps!.placeOf(operands[rank]!.bytes)! + 1);
      const run = (onePass: OnePass, rank: number, tag: number): Promise<boolean> => {
        const { transport } = ranks[rank]!;
        const isOfAll = all.includes(onePass);
        return onePass.run(
          { transport, heaps: transport.heaps!, tag },
          operands[rank]!,
          CHUNK_ELEMS,
          isOfAll ? places : places.slice(0, 2),
        );
      };
      const runBoth = (onePasses: readonly OnePass[], tag: number) => Promise.all([run(onePasses[0]!, 0, tag), run(onePasses[1]!, 1, tag)]);
      // Whether all see all is found out once.
      for (const sees of [false, true]) t.same(await Promise.all(all.map((onePass, rank) => run(onePass, rank, 1))), [sees, sees, sees]);
      t.same(await runBoth(two, 2), [true, true]);
      for (const [rank, array] of arrays.entries()) array.fill(rank + 1);
      t.same(await runBoth(all, 3), [true, true], 'the last rank has not begun');
      t.ok(
        arrays.every((array) => array.every((value) => value === 6)),
        'its array has the sum, too',
      );
      t.same(await runBoth(two, 4), [true, true], 'a call without it, on the same board');
      t.same(await runBoth(all, 5), [true, true], 'the next call with it counts on the other sheet');
      t.equal(isHeard, false);
      const next = runBoth(all, 6);
      await new Promise((resolve) => setTimeout(resolve, 50));
      t.same(
        arrays.map(([first]) => first),
        [30, 30, 30],
        'the one after waits for it',
      );
      for (const tag of [3, 5, 6]) t.equal(await run(all[2]!, 2, tag), true);
      t.same(await next, [true, true]);
      t.ok(
        arrays.every((array) => array.every((value) => value === 90)),
        'each call once',
      );
      while (!isHeard) await new Promise(setImmediate);
      t.same(await Promise.all(all.map((onePass, rank) => run(onePass, rank, 7))), [true, true, true]);
      t.ok(arrays.every((array) => array.every((value) => value === 270)));
      t.same(lost, []);
      end();
    },
  );

  t.test('an array that is not on the heap, on one rank alone: nobody touches anything, and the next call goes on', async (t) => {
    const { ranks, end } = await openNeighbours(3);
    const onePasses = onePassesOf(ranks);
    const offHeap = windows.links.byteOffset + windows.links.bytes - (8 << 20);
    await call(
      ranks,
      onePasses,
      ranks.map((rank) => operandOf(rank, heapFrom, 10)),
    );
    const inputs = ranks.map((rank, i) => fill(rank, i === 1 ? offHeap : heapFrom, 50_000, i).slice());
    t.same(
      await call(
        ranks,
        onePasses,
        ranks.map((rank, i) => operandOf(rank, i === 1 ? offHeap : heapFrom, 50_000)),
      ),
      [false, false, false],
    );
    for (const [i, { memory }] of ranks.entries())
      t.same(new Float32Array(memory.buffer, i === 1 ? offHeap : heapFrom, 50_000), inputs[i], `rank ${i}`);
    t.same(
      await call(
        ranks,
        onePasses,
        ranks.map((rank) => operandOf(rank, heapFrom, 50_000)),
      ),
      [true, true, true],
    );
    end();
  });

  t.test('a rank that sees nothing of another: after two calls nobody asks again', async (t) => {
    const { ranks, end } = await openNeighbours(2, { blind: [1] });
    const onePasses = onePassesOf(ranks);
    const operands = ranks.map((rank) => operandOf(rank, heapFrom, 10));
    t.same(await call(ranks, onePasses, operands), [false, false]);
    t.same(await call(ranks, onePasses, operands), [false, false]);
    const sentBefore = ranks.map(({ transport }) => transport.bytesSent);
    t.same(await call(ranks, onePasses, operands), [false, false]);
    t.same(
      ranks.map(({ transport }) => transport.bytesSent),
      sentBefore,
    );
    end();
  });

  t.test('who has given up has its array for itself, and the others learn of it', async (t) => {
    const { ranks, lost, end } = await openNeighbours(2);
    const onePasses = onePassesOf(ranks);
    const operands = ranks.map((rank) => operandOf(rank, heapFrom, 2_000_000));
    await call(ranks, onePasses, operands);
    const running = ranks.map(({ transport }, rank) =>
      onePasses[rank]!.run({ transport, heaps: transport.heaps!, tag: 2 }, operands[rank]!, CHUNK_ELEMS),
    );
    const ends = Promise.allSettled(running);
    // Both are inside by turns now: one visit, then other work of this thread.
    while (ranks[1]!.transport.heaps!.inside([0], () => {}) === undefined && ranks[0]!.transport.bytesSent < 16)
      await new Promise(setImmediate);
    ranks[0]!.transport.abort(new HvdError('rank 0 has had enough'));
    const own = new Float32Array(ranks[0]!.memory.buffer, heapFrom, 2_000_000).fill(7);
    const [first, second] = await ends;
    t.match(first, { status: 'rejected', reason: /has had enough/ });
    t.match(second, { status: 'rejected', reason: { code: 'ERR_HVD_PEER', peer: 0 } });
    t.ok(
      own.every((value) => value === 7),
      'nobody has written there since',
    );
    t.match(lost, [/^1: lost 0: .*(gave up in the middle|is gone|is of no use)/]);
    end();
  });
});
