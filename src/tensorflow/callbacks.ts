/**
 * Callbacks for `model.fit` and `fitDataset`. Main thread. They are subclasses of tfjs's `Callback`, made when first asked for: its `CustomCallback` of another copy would hang `fit`.
 */
import type { Callback, LayersModel } from '@tensorflow/tfjs-layers';
import { MismatchError, UsageError } from '../errors';
import { size } from '../job';
import { allgatherObject } from '../objects';
import { broadcastOptimizerState } from './broadcast_state';
import { bestModelCheckpoint } from './callbacks/best_model';
import { learningRateSchedule, learningRateWarmup } from './callbacks/learning_rate';
import { averaged, type Logs, metricNames, metricOf } from './callbacks/metrics';
import { loadTf } from './load';
import { broadcastVariables } from './variables';

/**
 * Once, at the end of the first batch: the model's weights, then the optimizer's state (slots, iterations, learning rate), of `rootRank` on every rank. After it all replicas are equal,
 * whatever they started from.
 */
function broadcastGlobalVariables(rootRank = 0): Callback {
  if (!Number.isInteger(rootRank) || rootRank < 0)
    throw new UsageError(`broadcastGlobalVariables: rootRank is a rank, but was ${String(rootRank)}.`);
  const tfjs = loadTf();
  class BroadcastGlobalVariables extends tfjs.Callback {
    private isDone = false;
    override async onBatchEnd(): Promise<void> {
      if (this.isDone) return;
      this.isDone = true;
      // The slots exist only from the first step on: that is why it waits for the end of one.
      const model = (this as unknown as { model: LayersModel }).model;
      broadcastVariables(model, rootRank);
      await broadcastOptimizerState(model.optimizer, rootRank);
    }
  }
  return new BroadcastGlobalVariables() as Callback;
}

/**
 * End of epoch: every numeric entry of `logs` (validation's too) becomes its average over the ranks, in place, in name order. Stand before callbacks that use metrics.
 * @throws MismatchError (fails `fit`) the ranks have different metrics
 */
function metricAverage(): Callback {
  class MetricAverage extends loadTf().Callback {
    override async onEpochEnd(epoch: number, logs?: Logs): Promise<void> {
      if (!logs || size() === 1) return;
      const names = metricNames(logs);
      const values = names.map((name) => metricOf(logs, name));
      const all = allgatherObject({ names, values: Float64Array.from(values) });
      const other = all.findIndex((one) => one.names.join() !== all[0]!.names.join());
      if (other >= 0)
        throw new MismatchError(
          `metricAverage, epoch ${epoch}: rank 0 has the metrics ${all[0]!.names.join(', ')}, rank ${other} has ${all[other]!.names.join(', ')}. ` +
            'Compile and validate alike on every rank.',
          { peer: other },
        );
      for (const [i, name] of names.entries()) {
        const value = logs[name]!;
        if (typeof value !== 'number') value.dispose();
        logs[name] = all.reduce((sum, one) => sum + one.values[i]!, 0) / all.length;
      }
      averaged.add(logs);
    }
  }
  return new MetricAverage() as Callback;
}

export const callbacks = { broadcastGlobalVariables, metricAverage, learningRateWarmup, learningRateSchedule, bestModelCheckpoint };
