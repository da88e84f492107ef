import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { dtypes } from '../../../src/dtype';
import { BugError, HvdError } from '../../../src/errors';
import { Arena, bytesOf, createMemory, pageBytes } from '../../../src/memory/arena';

t.test('random allocations never overlap, and all memory comes back', async (t) => {
  const step = fc.oneof(
    fc.record({ allocate: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 200_000 })) }),
    fc.record({ release: fc.nat() }),
  );
  const property = fc.property(fc.integer({ min: 0, max: 5000 }), fc.array(step, { maxLength: 120 }), (reservedBytes, steps) => {
    const memory = createMemory(1024);
    const arena = new Arena(memory, reservedBytes);
    const live: Array<{ at: number; bytes: number; mark: number }> = [];
    for (const [index, each] of steps.entries()) {
      if ('allocate' in each) {
        const at = arena.allocate(each.allocate);
        const size = Math.max(each.allocate, 1);
        if (at % 64 !== 0 || at < reservedBytes || at + size > memory.buffer.byteLength) return false;
        if (live.some((other) => at < other.at + Math.max(other.bytes, 1) && other.at < at + size)) return false;
        if (arena.sizeOf(at) !== each.allocate) return false;
        arena.bytes(at, each.allocate).fill(index);
        live.push({ at, bytes: each.allocate, mark: index & 0xff });
      } else if (live.length > 0) {
        const [{ at, bytes, mark }] = live.splice(each.release % live.length, 1);
        if (!arena.bytes(at, bytes).every((value) => value === mark)) return false;
        arena.release(at);
        if (arena.sizeOf(at) !== undefined) return false;
      }
    }
    for (const { at } of live) arena.release(at);
    // With everything free and joined, one block as long as the whole arena fits without growth.
    const length = memory.buffer.byteLength;
    const from = Math.ceil(reservedBytes / 64) * 64;
    return arena.usedBytes === 0 && arena.allocate(length - from) === from && memory.buffer.byteLength === length;
  });
  t.doesNotThrow(() => fc.assert(property, { seed: 20, numRuns: 60 }));
});

t.test('a released block is used again, and the smallest hole that fits is taken', async (t) => {
  const arena = new Arena(createMemory(1024), 0);
  const [large, , small] = [1000, 64, 500, 64].map((bytes) => arena.allocate(bytes));
  arena.release(large);
  arena.release(small);
  t.equal(arena.allocate(400), small);
  t.equal(arena.allocate(1000), large);
});

t.test('neighbours that are both free become one block', async (t) => {
  const arena = new Arena(createMemory(1024), 0);
  const [first, second, third] = [64, 64, 64, 64].map((bytes) => arena.allocate(bytes));
  arena.release(first);
  arena.release(third);
  arena.release(second);
  t.equal(arena.allocate(192), first);
});

t.test('blocks of no bytes have addresses of their own', async (t) => {
  const arena = new Arena(createMemory(1024), 128);
  const blocks = Array.from({ length: 5 }, () => arena.allocate(0));
  t.equal(new Set(blocks).size, 5);
  t.ok(blocks.every((at) => at >= 128 && arena.sizeOf(at) === 0 && arena.bytes(at, 0).length === 0));
  t.equal(arena.usedBytes, 5 * 64);
});

t.test('the reserved part is there from the start and never given out', async (t) => {
  const memory = createMemory(1024);
  const arena = new Arena(memory, 3 * pageBytes + 1);
  t.ok(memory.buffer.byteLength >= 3 * pageBytes + 1);
  t.equal(arena.allocate(10), 3 * pageBytes + 64);
  t.equal(arena.bytes(0, 3 * pageBytes).length, 3 * pageBytes);
});

t.test('growth keeps old views valid, and they alias the new ones', async (t) => {
  const memory = createMemory(2048);
  const arena = new Arena(memory, 0);
  const at = arena.allocate(64);
  const before = arena.view('int32', at, 16);
  const length = memory.buffer.byteLength;
  const large = arena.allocate(40 * 1024 * 1024);
  t.ok(memory.buffer.byteLength > length, 'it grew');
  const after = arena.view('int32', at, 16);
  before[3] = 42;
  t.equal(after[3], 42);
  after[4] = 43;
  t.equal(before[4], 43);
  const end = arena.bytes(large, 40 * 1024 * 1024);
  end[end.length - 1] = 7;
  t.equal(arena.bytes(large + end.length - 1, 1)[0], 7);
});

t.test('a memory without room for a whole step still grows by what is needed, then says that it is full', async (t) => {
  const arena = new Arena(createMemory(20), 0);
  const first = arena.allocate(15 * pageBytes);
  const second = arena.allocate(5 * pageBytes);
  t.equal(second, first + 15 * pageBytes);
  t.throws(() => arena.allocate(1), { code: 'ERR_HVD', message: /tried to find 64 bytes .* 1310720 bytes long with 1310720 in use/ });
  t.throws(() => arena.allocate(2 ** 50), HvdError);
  arena.release(first);
  t.equal(arena.allocate(1), first, 'what is released can be allocated again');
  t.throws(() => new Arena(createMemory(20), 21 * pageBytes), HvdError);
});

t.test('views have the type of their dtype', async (t) => {
  const arena = new Arena(createMemory(1024), 0);
  const at = arena.allocate(800);
  for (const dtype of dtypes) t.equal(arena.view(dtype, at, 10).length, 10, dtype);
  t.type(arena.view('uint64', at, 1), BigUint64Array);
  t.type(arena.view('bool', at, 1), Uint8Array);
});

t.test('what cannot be right is a BugError', async (t) => {
  const memory = createMemory(1024);
  const arena = new Arena(memory, 64);
  const at = arena.allocate(100);
  t.throws(() => arena.release(at + 64), BugError);
  arena.release(at);
  t.throws(() => arena.release(at), BugError);
  t.throws(() => arena.allocate(-1), BugError);
  t.throws(() => arena.allocate(1.5), BugError);
  t.throws(() => arena.bytes(memory.buffer.byteLength, 1), BugError);
  t.throws(() => bytesOf(memory, 0, memory.buffer.byteLength + 1), BugError);
  t.throws(() => arena.view('float64', memory.buffer.byteLength - 8, 2), BugError);
});

t.test('the default memory can grow to 4 GiB', async (t) => {
  const memory = createMemory();
  t.equal(memory.grow(65535), 1);
  t.equal(memory.buffer.byteLength, 2 ** 32);
});

t.test('another thread reaches what was allocated by growth after it started, without being told', async (t) => {
  const memory = createMemory(4096);
  const arena = new Arena(memory, 256);
  const file = require.resolve('./growth_worker');
  const loader = file.endsWith('.ts') ? "require('tsx/cjs');" : ''; // uncompiled, threads do not inherit tsx
  const worker = new Worker(`${loader} require(${JSON.stringify(file)})`, { eval: true, workerData: { memory } });
  t.teardown(() => worker.terminate());
  await once(worker, 'message');
  const target = arena.allocate(100 * 1024 * 1024);
  const source = arena.allocate(1000);
  arena.bytes(target, 1000).fill(40);
  arena.bytes(source, 1000).fill(2);
  const mailbox = arena.view('int32', 0, 3);
  mailbox[1] = target;
  mailbox[2] = source;
  const answer = once(worker, 'message');
  Atomics.store(mailbox as Int32Array, 0, 1);
  const [sums] = await answer;
  t.equal(sums.length, 2000);
  t.ok(sums.every((value: number) => value === 42));
});
