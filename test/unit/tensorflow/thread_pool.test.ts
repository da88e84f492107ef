/** The threads of our own kernels: the same bits as without, over a heap that grows, and how they end. */
import t, { type Test } from 'tap';
import { WorkBoard } from '../../../src/engine/boundary';
import type { WasmBackend } from '../../../src/tensorflow/backends/wasm/kernel';
import { rangeOf } from '../../../src/tensorflow/backends/wasm/simd/divided';
import { filterScratch, filterUnits } from '../../../src/tensorflow/backends/wasm/simd/filter_gradient';
import { isReluDivided, reluUnits } from '../../../src/tensorflow/backends/wasm/simd/relu_gradient';
import { divide, ThreadPool, threadsOf, usePool } from '../../../src/tensorflow/backends/wasm/simd/thread_pool';
import { isProductDivided, productUnits } from '../../../src/tensorflow/backends/wasm/simd/transposed_product';

const PAGE_BYTES = 65_536;
const FLOAT_BYTES = 4;

/** A backend of a memory alone, as the threaded module has it; with a pool for more than one thread. */
async function backendOf(t: Test, threads: number, pages: number): Promise<{ backend: WasmBackend; memory: WebAssembly.Memory }> {
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 1024, shared: true });
  const backend = { wasm: { wasmMemory: memory } } as unknown as WasmBackend;
  if (threads > 1) {
    const pool = await ThreadPool.start(memory, threads);
    t.teardown(() => pool.end());
    usePool(backend, pool);
  }
  return { backend, memory };
}

/** Lays numbers one behind the other, from `base` on, each tensor at a cache line; the addresses. */
function put(memory: WebAssembly.Memory, base: number, sizes: readonly number[]): number[] {
  let next = base;
  return sizes.map((elems, seed) => {
    const at = next;
    next += Math.ceil((elems * FLOAT_BYTES) / 64) * 64;
    if (next > memory.buffer.byteLength) throw new Error(`${next} bytes are needed`);
    const target = new Float32Array(memory.buffer, at, elems);
    for (let i = 0; i < elems; i += 1) target[i] = Math.sin((i + 1) * 12.9898 + seed * 78.233);
    return at;
  });
}

type Run = (backend: WasmBackend, memory: WebAssembly.Memory, base: number) => Float32Array;
const read = (memory: WebAssembly.Memory, at: number, elems: number): Float32Array => new Float32Array(memory.buffer, at, elems).slice();

const geometry = {
  ...{ batchSize: 3, inHeight: 9, inWidth: 8, inChannels: 5, outHeight: 5, outWidth: 4, outChannels: 27 },
  ...{ filterHeight: 3, filterWidth: 2, strideHeight: 2, strideWidth: 2, top: 1, left: 0 },
};
const runs: Record<string, Run> = {
  filterGradient: (backend, memory, base) => {
    const bytes = filterScratch(geometry);
    const elems = 3 * 2 * 5 * 27;
    const floats = [3 * 9 * 8 * 5, 3 * 5 * 4 * 27, elems];
    const scratch = [bytes.sums, threadsOf(backend) * bytes.xTile, bytes.dyTiles].map((size) => size / FLOAT_BYTES);
    const [x, dy, output, sums, xTiles, dyTiles] = put(memory, base, [...floats, ...scratch]) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    divide(backend, 'filterGradient', filterUnits(geometry), { ...geometry, x, dy, output, sums, xTiles, dyTiles });
    return read(memory, output, elems);
  },
  maxPoolGradient: (backend, memory, base) => {
    const [batch, channels] = [5, 7];
    const elems = batch * 6 * 7 * channels;
    const [dx, x, dy] = put(memory, base, [elems, elems, batch * 3 * 4 * channels]) as [number, number, number];
    const words = { dx, x, dy, inHeight: 6, inWidth: 7, outHeight: 3, outWidth: 4, channels, windowHeight: 3, windowWidth: 3 };
    divide(backend, 'maxPoolGradient', batch, { ...words, strideHeight: 2, strideWidth: 2, top: 0, left: 1 });
    return read(memory, dx, elems);
  },
  reluGradient: (backend, memory, base) => {
    const elems = 200_003;
    const [dx, dy, x] = put(memory, base, [elems, elems, elems]) as [number, number, number];
    divide(backend, 'reluGradient', reluUnits(elems), { dx, dy, x, elems });
    return read(memory, dx, elems);
  },
  transposedProduct: (backend, memory, base) => {
    const [rows, depth, columns] = [33, 129, 259];
    const [c, a, b] = put(memory, base, [rows * columns, rows * depth, columns * depth]) as [number, number, number];
    divide(backend, 'transposedProduct', productUnits(columns), { c, a, b, rows, depth, columns });
    return read(memory, c, rows * columns);
  },
};

t.test('the same bits on one, two, three and eight threads, before and after the heap grows', async (t) => {
  const alone = await backendOf(t, 1, 64);
  const expected = Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, run(alone.backend, alone.memory, 64)]));
  for (const threads of [2, 3, 8]) {
    const { backend, memory } = await backendOf(t, threads, 64);
    for (const pages of [0, 64, 256]) {
      const base = pages === 0 ? 64 : memory.buffer.byteLength;
      if (pages > 0) memory.grow(pages);
      for (const [name, run] of Object.entries(runs)) {
        const found = run(backend, memory, base);
        t.ok(Buffer.from(found.buffer).equals(Buffer.from(expected[name]!.buffer)), `${name}, ${threads} threads, ${pages} pages more`);
      }
    }
  }
});

t.test('ranges follow one another, as even as whole units can be', async (t) => {
  t.same(
    [0, 1, 2].map((part) => rangeOf(8, part, 3)),
    [
      { first: 0, past: 2, part: 0 },
      { first: 2, past: 5, part: 1 },
      { first: 5, past: 8, part: 2 },
    ],
  );
  const few = Array.from({ length: 8 }, (_, part) => rangeOf(3, part, 8));
  t.equal(few.filter(({ first, past }) => past > first).length, 3);
  for (const [i, { first }] of few.entries()) t.equal(first, few[i - 1]?.past ?? 0);
});

t.test('too little work is not divided', async (t) => {
  t.same([isReluDivided((1 << 17) - 1), isReluDivided(1 << 17)], [false, true]);
  t.same([isProductDivided(1, 1 << 10, 1 << 9), isProductDivided(2, 1 << 10, 1 << 9)], [false, true]);
});

t.test('what fails on a helper, and what on the main thread, is told there', async (t) => {
  const elems = 1 << 17;
  const fail = (backend: WasmBackend, base: number): void =>
    divide(backend, 'reluGradient', reluUnits(elems), { dx: base, dy: base, x: base, elems });
  const half = (elems * FLOAT_BYTES) / 2;
  // The second half lies beyond the memory's end; then all of it.
  const helpers = await backendOf(t, 2, half / PAGE_BYTES);
  t.throws(() => fail(helpers.backend, 0), { code: 'ERR_HVD_BUG', message: /reluGradient/ });
  const own = await backendOf(t, 2, half / PAGE_BYTES);
  t.throws(() => fail(own.backend, half), { name: 'RuntimeError' });
});

t.test('a pool that cannot start says why', async (t) => {
  const memory = new WebAssembly.Memory({ initial: 1 } as never);
  await t.rejects(
    ThreadPool.start(memory, 3),
    { code: 'ERR_HVD_BACKEND', message: /could not be cloned/ },
    'a memory that cannot be shared',
  );
});

t.test('a round that nobody works at: the wait ends', async (t) => {
  const board = new WorkBoard();
  board.post(1, [7]);
  t.equal(board.awaitDone(1), false);
  const helper = new WorkBoard(board.shared);
  t.equal(helper.awaitRound(0), 1);
  t.equal(helper.word(0), 7);
  helper.finish(true);
  t.equal(board.awaitDone(1), true);
  t.ok(board.hasFailed);
});

t.test('more words than the board has are refused', async (t) => {
  t.throws(() => new WorkBoard().post(1, new Array<number>(65).fill(0)), { code: 'ERR_HVD_BUG' });
});
