/**
 * Our own WebAssembly functions over the heap of the wasm backend: they take byte addresses of tensors and of scratch memory, which stay valid while the heap grows. Main thread, and the helpers of the thread pool.
 *
 * Emscripten gives the heap away as an export of its module, or, with threads, as the shared memory that it was made over. A backend that is made anew has a heap, and so instances, of its own.
 */
import { BackendError } from '../../../../errors';
import { emitModule, type FunctionSource } from '../../../../memory/emitter';
import type { TensorInfo, WasmBackend } from '../kernel';

/** Parameters are 32-bit integers: addresses in bytes, numbers of elements. Nothing is returned. */
export type HeapFunction = (...words: number[]) => void;
export type HeapFunctions<Name extends string> = Readonly<Record<Name, HeapFunction>>;

function memoryOf({ wasm }: WasmBackend): WebAssembly.Memory {
  const memory = wasm.wasmMemory ?? wasm.asm?.memory;
  if (memory) return memory;
  throw new BackendError(
    'The heap of the wasm backend cannot be reached: this version of @tensorflow/tfjs-backend-wasm does not give its memory away. Install one that is known to: npm install @tensorflow/tfjs-backend-wasm@4.22.0',
  );
}

/** Of any thread: functions over that memory. */
export function instantiate<Name extends string>(memory: WebAssembly.Memory, sources: readonly FunctionSource[]): HeapFunctions<Name> {
  const isShared = !(memory.buffer instanceof ArrayBuffer);
  const module = new WebAssembly.Module(emitModule(sources, isShared));
  return new WebAssembly.Instance(module, { env: { memory } }).exports as HeapFunctions<Name>;
}

/** Functions over a backend's heap: compiled when first asked for, once a backend. */
export function heapFunctions<Name extends string>(
  sources: () => readonly FunctionSource[],
): (backend: WasmBackend) => HeapFunctions<Name> {
  const instances = new WeakMap<WasmBackend, HeapFunctions<Name>>();
  return (backend) => {
    const made = instances.get(backend);
    if (made) return made;
    const functions = instantiate<Name>(memoryOf(backend), sources());
    instances.set(backend, functions);
    return functions;
  };
}

/** Where a tensor's elements begin, in bytes. */
export const addressOf = (backend: WasmBackend, { dataId }: TensorInfo): number => backend.dataIdMap.get(dataId).memoryOffset;
/** Of several. */
export const addressesOf = <Infos extends readonly TensorInfo[]>(backend: WasmBackend, ...infos: Infos): { [i in keyof Infos]: number } =>
  infos.map((info) => addressOf(backend, info)) as { [i in keyof Infos]: number };

/**
 * Memory for the time of one kernel, one piece for each number of bytes; `act` gets the addresses.
 * @throws BackendError there is not so much
 */
export function withScratch<T>({ wasm }: WasmBackend, bytes: readonly number[], act: (addresses: number[]) => T): T {
  const total = bytes.reduce((sum, piece) => sum + aligned(piece), 0);
  // Beyond 2 GiB the address comes out negative.
  const address = wasm._malloc(total) >>> 0;
  if (address === 0)
    throw new BackendError(
      `The wasm backend has no ${total} bytes left for a gradient: its memory ends at 4 GiB. Train with a smaller batch, or on another backend.`,
    );
  try {
    let next = address;
    const addresses = bytes.map((piece) => {
      const at = next;
      next += aligned(piece);
      return at;
    });
    return act(addresses);
  } finally {
    wasm._free(address);
  }
}

/** Pieces begin at cache lines of their own, as far as malloc's block does. */
const aligned = (bytes: number): number => Math.ceil(bytes / 64) * 64;
