/**
 * Saves the best model of a training. Main thread. It communicates nothing, so that no rank waits for another: rank 0 decides by itself and writes, the others only check that there is the metric.
 * While rank 0 writes, the others wait in the next gradient's reduction; its communication thread goes on answering them.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Callback, LayersModel } from '@tensorflow/tfjs-layers';
import { UsageError } from '../../errors';
import { rank, size } from '../../job';
import { log } from '../../log';
import { loadTf } from '../load';
import { checkedArgs } from './arguments';
import { averaged, type Logs, metricNames, metricOf } from './metrics';

export interface BestModelCheckpointArgs {
  /** Where to, as `model.save` takes it. */
  url: string | tf.io.IOHandler;
  /** Default 'val_loss'. */
  monitor?: string;
  /** Whether less ('min', default) or more ('max') is better. */
  mode?: 'min' | 'max';
}

/** NaN is never better. */
export const isBetter = (value: number, best: number | undefined, mode: 'min' | 'max'): boolean =>
  !Number.isNaN(value) && (best === undefined || (mode === 'min' ? value < best : value > best));

/**
 * At the end of an epoch whose metric is the best so far, rank 0 saves the model with its optimizer. Stand behind `metricAverage`, so that the metric is that of all ranks.
 * @throws UsageError an argument is wrong; when training begins: nothing saves to that url; at the end of an epoch, on every rank: there is no such metric (lists those there are)
 */
export function bestModelCheckpoint(args: BestModelCheckpointArgs): Callback {
  const what = 'bestModelCheckpoint';
  checkedArgs(what, args, ['url', 'monitor', 'mode']);
  const { url, monitor = 'val_loss', mode = 'min' } = args;
  if (typeof url === 'string' ? url === '' : typeof (url as { save?: unknown } | null)?.save !== 'function')
    throw new UsageError(`${what}: url says where model.save writes to ('file://…', or an IOHandler with save), but was ${String(url)}.`);
  if (typeof monitor !== 'string') throw new UsageError(`${what}: monitor is the name of a metric, but was ${String(monitor)}.`);
  if (mode !== 'min' && mode !== 'max') throw new UsageError(`${what}: mode is 'min' or 'max', but was ${String(mode)}.`);
  const tfjs = loadTf();

  class BestModelCheckpoint extends tfjs.Callback {
    private best?: number;
    private hasWarned = false;

    override async onTrainBegin(): Promise<void> {
      if (typeof url === 'string' && tfjs.io.getSaveHandlers(url).length === 0)
        throw new UsageError(
          `${what}: TensorFlow.js has nothing here that saves to '${url}'. 'file://…' comes with @tensorflow/tfjs-node; ` +
            'else register one (tf.io.registerSaveRouter), or give an IOHandler.',
        );
    }
    override async onEpochEnd(_epoch: number, logs: Logs = {}): Promise<void> {
      const names = metricNames(logs);
      if (!names.includes(monitor))
        throw new UsageError(
          `${what}: there is no metric '${monitor}'; there are ${names.join(', ')}. Give one of them as monitor` +
            `${monitor.startsWith('val_') ? ', or validationData to fit' : ''}.`,
        );
      if (rank() !== 0) return;
      if (size() > 1 && !averaged.has(logs) && !this.hasWarned) {
        this.hasWarned = true;
        log('WARNING', `${what} judges by rank 0's own '${monitor}': put hvd.callbacks.metricAverage() before it, on every rank.`);
      }
      const value = metricOf(logs, monitor);
      if (!isBetter(value, this.best, mode)) return;
      await (this as unknown as { model: LayersModel }).model.save(url, { includeOptimizer: true });
      this.best = value;
    }
  }
  return new BestModelCheckpoint() as Callback;
}
