/**
 * Threads for our own kernels, beside those of the backend's module, which run nothing but its own code: the main thread divides a kernel's units among itself and helpers (pool_thread.ts) that have
 * instances of the same functions over the same heap. Main thread.
 *
 * Invariants: a backend without a pool computes all by itself; a helper keeps no process alive, runs no loader or option of the user's, and needs no file but this package's.
 */
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { ownThread } from '../../../../config';
import { WorkBoard } from '../../../../engine/boundary';
import { BackendError, BugError } from '../../../../errors';
import type { WasmBackend } from '../kernel';
import { type DividedKernel, rangeOf } from './divided';
import { type HeapFunctions, heapFunctions } from './heap';
import { type DividedName, dividedKernels, dividedNames, type WordsOf } from './kernels';
import type { HelperData } from './pool_thread';

const START_LIMIT_MS = 30_000;
/** Of one kernel, after this thread's own part. */
const WAIT_LIMIT_MS = 120_000;

export class ThreadPool {
  private broken?: BackendError;

  private constructor(
    private readonly board: WorkBoard,
    private readonly helpers: readonly Worker[],
    readonly threads: number,
  ) {
    for (const helper of helpers) {
      helper.unref();
      helper.on('error', ({ message }) => {
        this.broken ??= new BackendError(`A thread of the wasm backend has ended: ${message}. Start the program again.`);
      });
    }
  }

  /** @throws BackendError why there is none; then no thread is left */
  static async start(memory: WebAssembly.Memory, threads: number): Promise<ThreadPool> {
    const board = new WorkBoard();
    const helpers: Worker[] = [];
    let timer: NodeJS.Timeout | undefined;
    try {
      for (let part = 1; part < threads; part += 1) helpers.push(startHelper({ memory, board: board.shared, part, threads }));
      const limit = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`the threads did not start within ${START_LIMIT_MS / 1000} s`)), START_LIMIT_MS);
      });
      // Rejects with what a helper throws.
      await Promise.race([Promise.all(helpers.map((helper) => once(helper, 'message'))), limit]);
      return new ThreadPool(board, helpers, threads);
    } catch (error) {
      for (const helper of helpers) void helper.terminate();
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
    if (this.broken) throw this.broken;
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
      this.broken = new BackendError(
        `A thread of the wasm backend did not do its part of ${name} within ${WAIT_LIMIT_MS / 1000} s. Where other programs keep the processors busy, train on one thread (--threads-per-process 1).`,
      );
      throw this.broken;
    }
    if (failure) throw failure;
    if (this.board.hasFailed) throw new BugError(`A thread failed at its part of ${name}. Please report it.`);
  }
}

function startHelper(workerData: HelperData): Worker {
  return new Worker(path.join(__dirname, 'pool_thread.js'), {
    ...ownThread(`khorovod wasm ${workerData.part}`),
    workerData,
  });
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
