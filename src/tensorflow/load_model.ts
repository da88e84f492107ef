/** `tf.loadLayersModel` for models that train on. Main thread. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { UsageError } from '../errors';
import { checkCopies, loadTf } from './load';
import { DistributedOptimizer } from './optimizer';
import { checkedOptions, type DistributedOptimizerOptions } from './optimizer_options';
import { prepareOptimizers } from './train';

/**
 * The model, with the optimizer that was saved with it wrapped again, its slots and step count restored; a model that was saved without one comes without. No collective: every rank loads by itself,
 * or one does and `broadcastVariables` and `broadcastOptimizerState` follow.
 * @param pathOrHandler as tf.loadLayersModel takes it: a URL (`file://` with @tensorflow/tfjs-node), or a handler (`tf.io.fromMemory(…)`, an object with `load`)
 * @param options DistributedOptimizer's
 * @throws UsageError an option is wrong, or nothing can load from that path; what tf.loadLayersModel throws
 */
export async function loadModel(pathOrHandler: string | object, options: DistributedOptimizerOptions = {}): Promise<LayersModel> {
  const tfjs = loadTf();
  checkCopies();
  checkedOptions(tfjs, options, 'loadModel');
  if (typeof pathOrHandler !== 'string' && typeof (pathOrHandler as { load?: unknown } | null)?.load !== 'function')
    throw new UsageError(
      `loadModel takes a URL or an object with load(), but was given ${pathOrHandler === null ? 'null' : typeof pathOrHandler}.`,
    );
  if (typeof pathOrHandler === 'string' && tfjs.io.getLoadHandlers(pathOrHandler).length === 0)
    throw new UsageError(
      `loadModel: nothing in this process loads from '${pathOrHandler}'. Paths are URLs; file:// needs @tensorflow/tfjs-node, without it pass an object whose load() gives the model's artifacts.`,
    );
  prepareOptimizers(tfjs);
  const model = await tfjs.loadLayersModel(pathOrHandler as string);
  if (!model.optimizer) return model;
  const inside = model as unknown as { optimizer: LayersModel['optimizer']; isOptimizerOwned: boolean };
  const { isOptimizerOwned } = inside;
  inside.optimizer = DistributedOptimizer(model.optimizer, options);
  // What loading made, the model's dispose() frees.
  inside.isOptimizerOwned = isOptimizerOwned;
  return model;
}
