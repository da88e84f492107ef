/**
 * Callbacks for `model.fit` and `fitDataset`. Main thread. They are subclasses of tfjs's `Callback`, made when first asked for: its `CustomCallback` of another copy would hang `fit`.
 */
import type { Callback, LayersModel } from '@tensorflow/tfjs-layers';
import { allreduce, broadcast } from '../hvd';
import { rank, size } from '../job';
import { loadTf } from './load';
import { broadcastVariables } from './variables';

type Logs = Record<string, number | { dataSync?: () => ArrayLike<number> }>;

/** Once, at the end of the first batch: the model's weights, then the optimizer's state (iterations and slots) of `rootRank` on every rank. */
function broadcastGlobalVariables(rootRank = 0): Callback {
  class BroadcastGlobalVariables extends loadTf().Callback {
    private isDone = false;
    override async onBatchEnd(): Promise<void> {
      if (this.isDone || size() === 1) return;
      this.isDone = true;
      const model = (this as unknown as { model: LayersModel }).model;
      broadcastVariables(model, rootRank);
      const weights = await model.optimizer.getWeights();
      const received = weights.map(({ name, tensor }) => ({ name, tensor: broadcast(tensor, rootRank) }));
      await model.optimizer.setWeights(received);
      // tfjs's setWeights keeps slots as variables of their own; the iteration count is a number by now.
      if (rank() === rootRank) return;
    }
  }
  return new BroadcastGlobalVariables() as Callback;
}

/** End of epoch: every numeric entry of `logs` becomes its average over the ranks, in place, in name order. */
function metricAverage(): Callback {
  class MetricAverage extends loadTf().Callback {
    override async onEpochEnd(_epoch: number, logs?: Logs): Promise<void> {
      if (!logs || size() === 1) return;
      const names = Object.keys(logs)
        .filter((name) => typeof logs[name] === 'number')
        .sort();
      if (names.length === 0) return;
      const averages = allreduce(Float64Array.from(names, (name) => logs[name] as number));
      for (const [i, name] of names.entries()) logs[name] = averages[i]!;
    }
  }
  return new MetricAverage() as Callback;
}

export const callbacks = { broadcastGlobalVariables, metricAverage };
