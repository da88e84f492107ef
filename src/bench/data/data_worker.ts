/** A data worker: fills the batches it is told to, one after the other, into shared memory. Runs on a thread of its own; never loads TensorFlow.js. Only the process or `terminate` ends it. */
import { parentPort, workerData } from 'node:worker_threads';
import { recordOf } from '../../errors';
import { DataError } from './data_error';
import { BatchFiller, type BatchShape, type Source } from './source';

export interface WorkerSettings {
  source: Source;
  shape: BatchShape;
  /** [slots, batch, size, size, 3] floats. */
  images: SharedArrayBuffer;
  /** [slots, batch] integers. */
  labels: SharedArrayBuffer;
}
export interface FillTask {
  batch: number;
  slot: number;
}
export type FromWorker =
  | { kind: 'filled'; batch: number }
  /** `isData`: because of the data. */
  | { kind: 'failed'; message: string; isData: boolean }
  | { kind: 'skipped'; file: string; reason: string };

export function slotOf({ shape, images, labels }: WorkerSettings, slot: number): { images: Float32Array; labels: Int32Array } {
  const elems = shape.batchSize * shape.size * shape.size * 3;
  return {
    images: new Float32Array(images, slot * elems * 4, elems),
    labels: new Int32Array(labels, slot * shape.batchSize * 4, shape.batchSize),
  };
}

function tell(message: FromWorker): void {
  parentPort!.postMessage(message);
}

function serve(settings: WorkerSettings): void {
  let filler: BatchFiller | undefined;
  let turn: Promise<void> = Promise.resolve();
  const fill = async ({ batch, slot }: FillTask): Promise<void> => {
    const { images, labels } = slotOf(settings, slot);
    try {
      filler ??= new BatchFiller(settings.source, settings.shape, (file, reason) => tell({ kind: 'skipped', file, reason }));
      await filler.fill(batch, images, labels);
      tell({ kind: 'filled', batch });
    } catch (error) {
      const isData = error instanceof DataError;
      tell({ kind: 'failed', isData, message: isData ? error.message : recordOf(error).message });
    }
  };
  parentPort!.on('message', (task: FillTask) => {
    turn = turn.then(() => fill(task));
  });
}

if (parentPort) serve(workerData as WorkerSettings);
