/**
 * Threads for our own kernels, beside those of the backend's module, which run nothing but its own code: the main thread divides a kernel's units among itself and helpers (pool_thread.ts) that have
 * instances of the same functions over the same heap. Main thread.
 *
 * Invariants: a backend without a pool computes all by itself; a helper keeps no process alive, runs no loader or option of the user's, and needs no file but this package's.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { environment } from '../../../config';
import { WorkBoard } from '../../../engine/boundary';
import { BackendError, BugError } from '../../../errors';
import type { WasmBackend } from '../wasm_kernel';
import { type DividedKernel, rangeOf } from './divided';
import { type HeapFunctions, heapFunctions } from './heap';
import { type DividedName, dividedKernels, dividedNames, type WordsOf } from './kernels';
import type { HelperData } from './pool_thread';

const START_LIMIT_MS = 30_000;
/** Of one kernel, after this thread's own part. */
const WAIT_LIMIT_MS = 120_000;

export class ThreadPool {
  private readonly board = new WorkBoard();
  private readonly helpers: Worker[];
  private late?: BackendError;

  private constructor(
    memory: WebAssembly.Memory,
    readonly threads: number,
  ) {
    this.helpers = Array.from({ length: threads - 1 }, (_, i) => {
      const workerData: HelperData = { memory, board: this.board.shared, part: i + 1, threads };
      return new Worker(path.join(__dirname, 'pool_thread.js'), {
        name: `khorovod wasm ${i + 1}`,
        workerData,
        execArgv: [],
        env: { ...environment(), NODE_OPTIONS: '' },
      });
    });
  }

  /** @throws BackendError why there is none */
  static async start(memory: WebAssembly.Memory, threads: number): Promise<ThreadPool> {
    const pool = new ThreadPool(memory, threads);
    let timer: NodeJS.Timeout | undefined;
    try {
      const ready = pool.helpers.map(
        (helper) =>
          new Promise((resolve, reject) => {
            helper.once('message', resolve);
            helper.once('error', reject);
          }),
      );
      const limit = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`the threads did not start within ${START_LIMIT_MS / 1000} s`)), START_LIMIT_MS);
      });
      await Promise.race([Promise.all(ready), limit]);
      for (const helper of pool.helpers) helper.unref();
      return pool;
    } catch (error) {
      pool.end();
      throw new BackendError(String((error as Partial<Error> | null)?.message ?? error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    for (const helper of this.helpers) void helper.terminate();
  }

  /** @throws BackendError a helper does not answer, now or in an earlier call @throws BugError one has failed */
  run(name: DividedName, functions: HeapFunctions<string>, units: number, words: Readonly<Record<string, number>>): void {
    if (this.late) throw this.late;
    const kernel = dividedKernels[name] as DividedKernel;
    this.board.post(this.helpers.length, [dividedNames.indexOf(name), units, ...kernel.words.map((word) => words[word]!)]);
    let failure: unknown;
    try {
      kernel.run(functions, words, rangeOf(units, 0, this.threads));
    } catch (error) {
      failure = error;
    }
    // Whatever happened here: afterwards the memory that they work in is another's.
    if (!this.board.awaitDone(WAIT_LIMIT_MS)) {
      this.late = new BackendError(
        `A thread of the wasm backend did not do its part of ${name} within ${WAIT_LIMIT_MS / 1000} s. Where other programs keep the processors busy, train on one thread (--threads-per-process 1).`,
      );
      throw this.late;
    }
    if (failure) throw failure;
    if (this.board.hasFailed) throw new BugError(`A thread failed at its part of ${name}. Please report it.`);
  }
}

const pools = new WeakMap<WasmBackend, ThreadPool>();
export const usePool = (backend: WasmBackend, pool: ThreadPool): void => void pools.set(backend, pool);

/** How many threads our kernels have on that backend. */
export const threadsOf = (backend: WasmBackend): number => pools.get(backend)?.threads ?? 1;

const functionsOf = Object.fromEntries(
  Object.entries(dividedKernels).map(([name, { sources }]) => [name, heapFunctions<string>(sources)]),
) as Record<DividedName, (backend: WasmBackend) => HeapFunctions<string>>;

/** Has the threads of a backend compute the kernel, or, where there are no others or it is not worth waking them, this one alone. */
export function divide<Name extends DividedName>(
  backend: WasmBackend,
  name: Name,
  units: number,
  words: WordsOf<Name>,
  isWorthWaking = units > 1,
): void {
  const functions = functionsOf[name](backend);
  const pool = pools.get(backend);
  if (pool && isWorthWaking) pool.run(name, functions, units, words);
  else (dividedKernels[name] as DividedKernel).run(functions, words, { first: 0, past: units, part: 0 });
}
