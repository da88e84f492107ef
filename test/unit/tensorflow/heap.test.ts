/** Our functions over a backend's heap: a plain one and the threaded module's shared one, grown or not; what is said where there is none, or no more of it. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import type { WasmBackend } from '../../../src/tensorflow/backends/wasm/kernel';
import { addressOf, withScratch } from '../../../src/tensorflow/backends/wasm/simd/heap';
import { transposeMatrices } from '../../../src/tensorflow/backends/wasm/transpose';

// The stock module: its memory is its own.
process.env.TSRUN_THREADS_PER_PROCESS = '1';

const PAGE_BYTES = 65_536;

/** A backend of a memory alone, as the threaded module has it. */
const backendOver = (memory: WebAssembly.Memory | undefined, malloc = (_bytes: number): number => 0): WasmBackend =>
  ({
    wasm: { wasmMemory: memory, _malloc: malloc, _free() {} },
    dataIdMap: { get: () => ({ memoryOffset: 0 }) },
  }) as unknown as WasmBackend;

t.test('a shared memory, before and after it grows', async (t) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 4, shared: true });
  const backend = backendOver(memory);
  for (const base of [0, PAGE_BYTES]) {
    if (base > 0) memory.grow(1);
    new Float32Array(memory.buffer, base, 6).set([1, 2, 3, 4, 5, 6]);
    transposeMatrices(backend, base + 64, base, { count: 1, rows: 2, columns: 3 });
    t.same([...new Float32Array(memory.buffer, base + 64, 6)], [1, 4, 2, 5, 3, 6]);
  }
});

t.test("the stock backend's heap, before and after it grows", async (t) => {
  await hvd.selectBackend('wasm');
  const backend = tf.backend() as unknown as WasmBackend;
  const bytes = backend.wasm.asm!.memory!.buffer.byteLength;
  const check = (): void => {
    const [x, output] = [tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]), tf.zeros([3, 2])];
    transposeMatrices(backend, addressOf(backend, output as never), addressOf(backend, x as never), { count: 1, rows: 2, columns: 3 });
    t.same([...output.dataSync()], [1, 4, 2, 5, 3, 6]);
    tf.dispose([x, output]);
  };
  check();
  withScratch(backend, [bytes, 1], ([first, second]) => {
    t.ok(backend.wasm.asm!.memory!.buffer.byteLength > bytes, 'the heap has grown');
    t.ok(second! >= first! + bytes, 'one piece behind the other');
    check();
  });
});

t.test('scratch memory is given back when a kernel throws', async (t) => {
  const freed: number[] = [];
  const backend = backendOver(undefined, () => 128);
  backend.wasm._free = (address) => void freed.push(address);
  t.throws(
    () =>
      withScratch(backend, [8], () => {
        throw new RangeError('as a kernel would');
      }),
    { message: 'as a kernel would' },
  );
  t.same(freed, [128]);
});

t.test('no memory to reach, and none left: what to do', async (t) => {
  t.throws(() => transposeMatrices(backendOver(undefined), 0, 0, { count: 1, rows: 1, columns: 1 }), {
    code: 'ERR_HVD_BACKEND',
    message: /npm install @tensorflow\/tfjs-backend-wasm@/,
  });
  t.throws(() => withScratch(backendOver(undefined), [5_000_000_000], () => {}), { code: 'ERR_HVD_BACKEND', message: /smaller batch/ });
});
