/**
 * `tf.variableGrads` with reduced gradients (Horovod's DistributedGradientTape). Main thread.
 *
 * Calls with the same options meet under one name, whatever their lists, so that ranks whose lists differ are told so instead of waiting for each other; and repeated calls take the cached
 * way. Nothing is kept of a call.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { hasFeedback } from '../compression';
import { UsageError } from '../errors';
import { whenLeaving } from '../job';
import { registeredSet } from '../process_set';
import { sayingWhatLacksMemory } from './backends/memory';
import { prepareBackend } from './backends/prepare';
import { GradientExchange } from './gradient_exchange';
import { checkCopies, loadTf, type Tf } from './load';
import { checkedOptions, type DistributedOptimizerOptions, type ExchangeSettings } from './optimizer_options';
import { releasing } from './tape';

const WHAT = 'variableGrads';
/** By options; the one that was used last stands last. */
const exchanges = new Map<string, GradientExchange>();
/** Whoever gives other options in every call must not fill the shared memory. */
const MOST_EXCHANGES = 16;
whenLeaving(() => exchanges.clear());

function exchangeFor(tfjs: Tf, settings: ExchangeSettings): GradientExchange {
  const { name, op, compression, gradientPredivideFactor, groups, processSet } = settings;
  const key = JSON.stringify([name, op, compression.name, gradientPredivideFactor, groups, processSet.ranks]);
  let exchange = exchanges.get(key);
  if (!exchange) {
    exchange = new GradientExchange(tfjs, settings);
  }
  exchanges.delete(key);
  exchanges.set(key, exchange);
  if (exchanges.size > MOST_EXCHANGES) {
    const [oldest, unused] = [...exchanges][0]!;
    unused.dispose();
    exchanges.delete(oldest);
  }
  return exchange;
}

/** What {@link variableGrads} gives. */
export interface ValueAndGradients {
  /** Of the function: this rank's own. */
  value: tf.Scalar;
  /** Reduced, by the variables' names. */
  grads: Record<string, tf.Tensor>;
}

/**
 * The value of `f` (this rank's own) and its gradients, averaged over the ranks. A variable without gradient on some ranks counts as zeros there; one without gradient on all has none, as in
 * TensorFlow.js. With one rank, and outside the process set, it is `tf.variableGrads`. Ranks call it in the same order, with the same options.
 * @param varList the same variables, in the same order, on every rank; names may differ. Without it gradients meet by name. Different lists in turn are fastest with a `name` for each
 * @param options those of DistributedOptimizer, but for the passes of a step, which need an optimizer
 * @throws UsageError an option is wrong, or it is called inside another gradient; MismatchError the ranks have different variables; NotInitializedError; ProcessSetError; PeerError a rank is gone
 */
export function variableGrads(f: () => tf.Scalar, varList?: tf.Variable[], options: DistributedOptimizerOptions = {}): ValueAndGradients {
  const tfjs = loadTf();
  checkCopies();
  const settings = checkedOptions(tfjs, options, WHAT);
  if (settings.backwardPassesPerStep > 1 || settings.averageAggregatedGradients)
    throw new UsageError(`${WHAT} keeps nothing from one call to the next: backwardPassesPerStep is for DistributedOptimizer.`);
  if (hasFeedback(settings.compression) && !settings.name)
    throw new UsageError(
      `${WHAT}: ${settings.compression.name} keeps what it could not send for the next call of the same name. Give the calls for one loss a name.`,
    );
  const { gradientDepth } = (tfjs.engine() as unknown as { state: { gradientDepth: number } }).state;
  if (gradientDepth > 0)
    throw new UsageError(
      `${WHAT} was called inside another gradient, which would take the reduced gradients for constants. ` +
        'Call tf.variableGrads or tf.grads inside, and hvd.variableGrads (or DistributedOptimizer) outside.',
    );
  // Before an exchange is counted: a call that fails here has no number.
  registeredSet(WHAT, settings.processSet);
  const exchange = exchangeFor(tfjs, settings);
  const { ranks } = exchange;
  prepareBackend(tfjs);
  if (ranks < 2) return sayingWhatLacksMemory(tfjs, () => tfjs.variableGrads(releasing(tfjs, f), varList)) as ValueAndGradients;
  const variables = varList?.filter(({ trainable }) => trainable);
  const { value, reduced } = sayingWhatLacksMemory(tfjs, () => exchange.differentiate(f, variables, settings.overlap));
  const grads: Record<string, tf.Tensor> = {};
  for (const { name, tensor } of reduced) if (tensor) grads[name] = tensor;
  // As TensorFlow.js has it.
  for (const { name, trainable } of varList ?? []) if (!trainable) grads[name] = null as unknown as tf.Tensor;
  return { value, grads };
}
