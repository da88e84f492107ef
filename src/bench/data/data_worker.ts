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
/** `message`: it could not be filled; `isData`: because of the data. */
export type Filled = { batch: number } | { batch: number; message: string; isData: boolean };

export function slotOf({ shape, images, labels }: WorkerSettings, slot: number): { images: Float32Array; labels: Int32Array } {
  const elems = shape.batchSize * shape.size * shape.size * 3;
  return {
    images: new Float32Array(images, slot * elems * 4, elems),
    labels: new Int32Array(labels, slot * shape.batchSize * 4, shape.batchSize),
  };
}

function serve(settings: WorkerSettings): void {
  const filler = new BatchFiller(settings.source, settings.shape);
  let turn: Promise<void> = Promise.resolve();
  const fill = async ({ batch, slot }: FillTask): Promise<void> => {
    const { images, labels } = slotOf(settings, slot);
    try {
      await filler.fill(batch, images, labels);
      parentPort!.postMessage({ batch } satisfies Filled);
    } catch (error) {
      const isData = error instanceof DataError;
      parentPort!.postMessage({ batch, isData, message: isData ? error.message : recordOf(error).message } satisfies Filled);
    }
  };
  parentPort!.on('message', (task: FillTask) => {
    turn = turn.then(() => fill(task));
  });
}

if (parentPort) serve(workerData as WorkerSettings);
