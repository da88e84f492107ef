/**
 * Batches made ahead by data workers, in a ring of reused shared memory. Main thread.
 *
 * Batch k is made by worker k mod workers, in slot k mod slots. As many batches as there are slots are always asked for: that of batch k + slots when batch k is given back. So workers go on while the main
 * thread computes, and wait when it is slow. Order and content of batches do not depend on the number of workers.
 *
 * Invariants: nothing starts before the memory was found to be enough; a worker keeps no process alive; the first failure fails every later call; every wait has a deadline.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { ownThread } from '../../config';
import { BugError, type HvdError, UsageError } from '../../errors';
import { DataError } from './data_error';
import { type FillTask, type FromWorker, slotOf, type WorkerSettings } from './data_worker';
import { type Fit, fitFor } from './image';
import { checkMemory, planMemory } from './memory';
import type { OnSkip, Source } from './source';

export interface PipelineOptions {
  source: Source;
  batchSize: number;
  /** Height and width of the network's input. */
  size: number;
  /** 1 to 20. */
  workers: number;
  /** By default images are cropped where they are larger than the network's input, and resized where they are smaller. */
  fit?: Fit;
  /** Processes of this host that have such a pipeline: they share its memory. */
  processes?: number;
  /** Told once of each corrupt image that was skipped. */
  onSkip?: OnSkip;
}
export interface Batch {
  /** From 0 on. */
  readonly number: number;
  /** [batch, size, size, 3], −1 … 1. A view of a slot: copy what is needed after `release`. */
  readonly images: Float32Array;
  /** [batch] */
  readonly labels: Int32Array;
  /** Gives the slot back; images and labels then belong to a later batch. Once. */
  release(): void;
}
export interface Progress {
  /** Batches that workers have filled. */
  filled: number;
  /** Batches that were handed out. */
  taken: number;
  /** Time that `next` has waited, in ms: what data costs beside computation. */
  waitedMs: number;
  /** Corrupt images met so far, each counted once. */
  skipped: number;
}
interface Waiting {
  batch: number;
  resolve: () => void;
  reject: (error: HvdError) => void;
}

const NEXT_LIMIT_MS = 120_000;

export class Pipeline {
  private readonly workers: readonly Worker[];
  private readonly filled = new Set<number>();
  private readonly skipped = new Set<string>();
  private readonly onSkip?: OnSkip;
  private readonly settings: WorkerSettings;
  private readonly slots: number;
  private failure?: HvdError;
  private waiting?: Waiting;
  private filledCount = 0;
  private taken = 0;
  private waitedMs = 0;

  /** @throws UsageError more workers than memory allows, or a number that cannot be */
  constructor({ source, batchSize, size, workers, fit = fitFor(size), processes = 1, onSkip }: PipelineOptions) {
    if (fit !== fitFor(size) && fit === 'crop') throw new UsageError(`Images of 256×256 pixels cannot be cropped to ${size}×${size}.`);
    const memory = planMemory({ workers, batchSize, size });
    checkMemory(memory, workers, process.availableMemory(), processes);
    this.slots = memory.slots;
    this.onSkip = onSkip;
    this.settings = {
      source,
      shape: { batchSize, size, fit },
      images: new SharedArrayBuffer(memory.slots * batchSize * size * size * 3 * 4),
      labels: new SharedArrayBuffer(memory.slots * batchSize * 4),
    };
    this.workers = Array.from({ length: workers }, (_, i) => this.start(i));
    for (let batch = 0; batch < this.slots; batch += 1) this.ask(batch);
  }

  /**
   * The next batch, in order. One at a time; the batches that are out (not released) must be fewer than the slots.
   * @throws DataError the data is bad, does not come in time, or the pipeline is closed
   */
  async next(timeoutMs = NEXT_LIMIT_MS): Promise<Batch> {
    if (this.waiting) throw new UsageError('next() was called before the last call had ended.');
    const batch = this.taken;
    const startedMs = performance.now();
    if (!this.filled.has(batch)) await this.wait(batch, timeoutMs);
    if (this.failure) throw this.failure;
    this.waitedMs += performance.now() - startedMs;
    this.filled.delete(batch);
    this.taken += 1;
    let isOut = true;
    const release = (): void => {
      if (!isOut) throw new BugError(`Batch ${batch} was released twice.`);
      isOut = false;
      if (!this.failure) this.ask(batch + this.slots);
    };
    return { number: batch, ...slotOf(this.settings, batch % this.slots), release };
  }

  progress(): Progress {
    return { filled: this.filledCount, taken: this.taken, waitedMs: this.waitedMs, skipped: this.skipped.size };
  }

  /** Ends the workers; later calls of `next`, and one that waits, throw DataError. */
  async close(): Promise<void> {
    this.fail(new DataError('The data pipeline is closed.'));
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private start(i: number): Worker {
    const worker = new Worker(path.join(__dirname, 'data_worker.js'), { ...ownThread(`khorovod data ${i}`), workerData: this.settings });
    worker.on('message', (message: FromWorker) => this.take(message));
    worker.on('error', (error) => this.fail(new DataError(`A data worker has ended: ${error.message}.`, { cause: error })));
    worker.on('exit', (code) => this.fail(new DataError(`A data worker has ended with exit code ${code}.`)));
    worker.unref();
    return worker;
  }

  private ask(batch: number): void {
    this.workers[batch % this.workers.length]!.postMessage({ batch, slot: batch % this.slots } satisfies FillTask);
  }

  private take(message: FromWorker): void {
    if (message.kind === 'failed') {
      this.fail(message.isData ? new DataError(message.message) : new BugError(message.message));
    } else if (message.kind === 'skipped') {
      // Several workers may meet it.
      if (this.skipped.has(message.file)) return;
      this.skipped.add(message.file);
      this.onSkip?.(message.file, message.reason);
    } else {
      this.filledCount += 1;
      this.filled.add(message.batch);
      if (this.waiting?.batch === message.batch) this.waiting.resolve();
    }
  }

  private fail(error: HvdError): void {
    this.failure ??= error;
    this.waiting?.reject(this.failure);
  }

  /** The timer keeps the process alive while it waits: workers do not. */
  private async wait(batch: number, timeoutMs: number): Promise<void> {
    if (this.failure) throw this.failure;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.waiting = { batch, resolve, reject };
        const late = `Batch ${batch} did not come within ${timeoutMs / 1000} s: the data workers are too slow, or batches are not given back.`;
        timer = setTimeout(() => reject(new DataError(late)), timeoutMs);
      });
    } finally {
      clearTimeout(timer);
      this.waiting = undefined;
    }
  }
}
