/** Whether the data workers that are asked for fit into the memory there is. Pure. */
import { UsageError } from '../../errors';

export const MOST_WORKERS = 20;
/** Of a worker with nothing to do: V8's heap, stacks and code, and its own image buffers. Measured: 11 MB a worker beside the main thread; a decoder holds a picture or two more. */
const WORKER_BYTES = 32 * 2 ** 20;
/** Batches beside those that workers fill: the one that is trained on, and one that waits. */
const SPARE_SLOTS = 2;

export interface DataMemory {
  slots: number;
  /** Of one batch: images and labels. */
  slotBytes: number;
  /** Of all slots and workers of one process. */
  bytes: number;
}

/** @throws UsageError workers or batch are no integers from 1 on, or more workers than MOST_WORKERS */
export function planMemory({ workers, batchSize, size }: { workers: number; batchSize: number; size: number }): DataMemory {
  if (!Number.isInteger(workers) || workers < 1 || workers > MOST_WORKERS)
    throw new UsageError(`A process has 1 to ${MOST_WORKERS} data workers, not ${workers}.`);
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new UsageError(`A batch has 1 image or more, not ${batchSize}.`);
  const slots = workers + SPARE_SLOTS;
  const slotBytes = batchSize * (size * size * 3 + 1) * 4;
  return { slots, slotBytes, bytes: slots * slotBytes + workers * WORKER_BYTES };
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB`;

/**
 * @param availableBytes what the host (or the container) has left @param processes that share it, all of which ask for as much
 * @throws UsageError it is not enough
 */
export function checkMemory(plan: DataMemory, workers: number, availableBytes: number, processes: number): void {
  const needed = plan.bytes * processes;
  if (needed <= availableBytes) return;
  throw new UsageError(
    `${workers} data workers need ${mebibytes(plan.bytes)} a process (${plan.slots} batches of ${mebibytes(plan.slotBytes)}, ${mebibytes(WORKER_BYTES)} a worker), ${mebibytes(needed)} for ${processes} on this host, ` +
      `but ${mebibytes(availableBytes)} are free. Take fewer data workers or a smaller batch.`,
  );
}
