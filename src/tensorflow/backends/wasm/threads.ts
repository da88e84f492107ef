/**
 * The threaded module of @tensorflow/tfjs-backend-wasm in Node, where the package itself offers it to browsers only. Main thread; the module's threads are Workers.
 *
 * The module divides a kernel among the calling thread and Workers that run nothing but its code. What it takes for granted is given to it while it starts, and nothing of that stays behind:
 * - A global `Worker`: of the eight that it makes at once those that are needed become Workers, the others are never started. Their program, which the package holds as a text, needs no file.
 * - The number of processors, half of which it would use: an import of the module, not `os`.
 *
 * Invariants: a Worker keeps no process alive once it is loaded; no loader or option of the user's runs in it. A start that fails leaves no Worker, and the backend `wasm` as it was.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { ownThread } from '../../../config';
import { BackendError } from '../../../errors';
import { requireForUser, resolveForUser, type Tf } from '../../load';
import type { WasmBackend } from './kernel';
import { ThreadPool, usePool } from './simd/thread_pool';

/** More are not used by the module's own code. */
export const MOST_THREADS = 8;
const START_LIMIT_MS = 30_000;
const MODULE = '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd';

/** What of the package is used. */
export interface WasmPackage {
  readonly BackendWasm: new (module: object) => WasmBackend;
  /** How many the next backend is started with. */
  setThreadsCount(threads: number): void;
  /** Of the backend that was started last. */
  getThreadsCount(): number;
}

/** Emscripten's object: given to the factory as its settings, filled by it. */
interface Module {
  cwrap(name: string, returns: 'number' | null, takes: readonly 'number'[]): unknown;
  /** What the package's backend calls. */
  tfjs?: object;
  readonly PThread: { unusedWorkers: unknown[]; terminateAllThreads(): void };
  readonly wasmMemory: WebAssembly.Memory;
}
type Imports = Record<string, Record<string, unknown>>;
type Receive = (instance: WebAssembly.Instance, module: WebAssembly.Module) => void;
type Factory = (settings: object) => Promise<Module>;

interface Files {
  readonly factory: Factory;
  /** Its text, for the threads. */
  readonly factoryFile: string;
  readonly program: string;
  readonly binary: Uint8Array<ArrayBuffer>;
}

/** @throws BackendError the installed package has no such files */
function findFiles(): Files {
  const factoryFile = resolveForUser(`${MODULE}.js`);
  const factory = requireForUser(`${MODULE}.js`) as Factory | undefined;
  const { wasmWorkerContents: program } = (requireForUser(`${MODULE}.worker.js`) ?? {}) as { wasmWorkerContents?: string };
  if (!factoryFile || typeof factory !== 'function' || typeof program !== 'string')
    throw new BackendError('this version of @tensorflow/tfjs-backend-wasm has no threaded module');
  const binary = new Uint8Array(readFileSync(path.join(path.dirname(factoryFile), `${path.basename(MODULE)}.wasm`)));
  // The package's text has line ends where its strings mean the escapes.
  return { factory, factoryFile, program: program.replace(/\n/g, '\\n'), binary };
}

interface Started {
  readonly module: Module;
  /** Ends with the module. */
  readonly pool: ThreadPool;
}

/** The module and the threads of our own kernels, each as many. @throws BackendError why it cannot be */
async function start(threads: number): Promise<Started> {
  const module = await startModule(threads);
  try {
    const pool = await ThreadPool.start(module.wasmMemory, threads);
    const dispose = module.cwrap('dispose', null, []) as () => void;
    // What the package's backend calls, as the package makes it for its own modules.
    module.tfjs = {
      init: module.cwrap('init', null, []),
      initWithThreadsCount: module.cwrap('init_with_threads_count', null, ['number']),
      getThreadsCount: module.cwrap('get_threads_count', 'number', []),
      registerTensor: module.cwrap('register_tensor', null, ['number', 'number', 'number']),
      disposeData: module.cwrap('dispose_data', null, ['number']),
      dispose: () => {
        pool.end();
        dispose();
      },
    };
    return { module, pool };
  } catch (error) {
    module.PThread.terminateAllThreads();
    throw error;
  }
}

/** Starts the module, with Workers for `threads - 1`. @throws BackendError why it cannot be */
async function startModule(threads: number): Promise<Module> {
  const { factory, factoryFile, program, binary } = findFiles();
  const workers: Worker[] = [];
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Module>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`the threads did not start within ${START_LIMIT_MS / 1000} s`)), START_LIMIT_MS);
      let isStarting = true;

      class Thread extends Worker {
        constructor() {
          super(program, { eval: true, ...ownThread(`tfjs wasm ${workers.length + 1}`) });
        }
        /** The module holds the process while a thread works for it, which is for ever. */
        override ref(): void {}
        /** The module's listener ends the process. */
        override on(event: string, listener: (...values: never[]) => void): this {
          const heard = event === 'error' ? (error: unknown) => (isStarting ? reject(error) : listener(error as never)) : listener;
          return super.on(event, heard as (value: unknown) => void);
        }
      }
      // Only what is called with `new` may return another object.
      function ThreadWhereNeeded(): object {
        if (workers.length === threads - 1) return {};
        workers.push(new Thread());
        return workers.at(-1)!;
      }

      const settings = {
        mainScriptUrlOrBlob: factoryFile,
        instantiateWasm(imports: Imports, receive: Receive): object {
          (settings as unknown as Module).PThread.unusedWorkers.length = threads - 1;
          const env = { ...imports.env, emscripten_num_logical_cores: () => 2 * threads };
          // The module would print what is thrown here, and try again by itself.
          try {
            const compiled = new WebAssembly.Module(binary);
            receive(new WebAssembly.Instance(compiled, { ...imports, env } as never), compiled);
          } catch (error) {
            reject(error);
          }
          return {};
        },
      };
      withGlobalWorker(ThreadWhereNeeded, () => factory(settings)).then((started) => {
        isStarting = false;
        resolve(started);
      }, reject);
    });
  } catch (error) {
    for (const worker of workers) void worker.terminate();
    throw new BackendError(String((error as Partial<Error> | null)?.message ?? error), { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** The module sets the global `Worker` to Node's and calls it at once; here its setting is ignored, and the global is afterwards as it was. */
function withGlobalWorker<R>(make: () => object, act: () => R): R {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'Worker');
  Object.defineProperty(globalThis, 'Worker', { configurable: true, get: () => make, set() {} });
  try {
    return act();
  } finally {
    if (before) Object.defineProperty(globalThis, 'Worker', before);
    else Reflect.deleteProperty(globalThis, 'Worker');
  }
}

/** The engine's tables of backends. */
interface Registry {
  readonly registry: { readonly wasm?: WasmBackend };
  readonly registryFactory: { readonly wasm?: { readonly priority: number } };
}

/**
 * Makes the backend `wasm` one of so many threads (at most {@link MOST_THREADS}), which is started when it is next set. One that runs already with tensors in it, or with as many, stays.
 * @throws BackendError why it cannot be; then it is as before
 */
export async function registerThreads(tfjs: Tf, wasm: WasmPackage, wanted: number): Promise<void> {
  const threads = Math.min(wanted, MOST_THREADS);
  const { registry, registryFactory } = tfjs.engine() as unknown as Registry;
  const running = registry.wasm;
  if (running && wasm.getThreadsCount() === threads) return;
  if (running && running.numDataIds() > 0) throw new BackendError('tensors were made on it before selectBackend was called');
  let ready: Started | undefined = await start(threads);
  // Again after `tf.engine().reset()`, which ends the backend and its module.
  const make = async (): Promise<never> => {
    const { module, pool } = ready ?? (await start(threads));
    ready = undefined;
    wasm.setThreadsCount(threads);
    const backend = new wasm.BackendWasm(module);
    usePool(backend, pool);
    return backend as never;
  };
  const { priority } = registryFactory.wasm!;
  tfjs.removeBackend('wasm');
  tfjs.registerBackend('wasm', make, priority);
}
