/**
 * The learning rate at a batch, as Horovod's callbacks have it. Pure.
 *
 * Epochs and batches count from 0, as TensorFlow.js gives them. An epoch may have a fraction: at batch k of n it is k / n on its way.
 */

export interface Warmup {
  readonly initialLr: number;
  readonly warmupEpochs: number;
}
/**
 * Gradual warm-up (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2), Horovod's formula: lr/n · (epoch · (n − 1) / warmupEpochs + 1), from lr/n at 0 to lr at `warmupEpochs`
 * and after.
 * @param size n, the number of ranks
 */
export function warmupRate({ initialLr, warmupEpochs }: Warmup, size: number, epoch: number): number {
  // Not computed: size times a size-th is not always the whole.
  if (epoch >= warmupEpochs) return initialLr;
  return initialLr * ((1 / size) * ((epoch * (size - 1)) / warmupEpochs + 1));
}

export interface Schedule {
  readonly initialLr: number;
  /** A number m stands for m ^ (epoch − startEpoch). */
  readonly multiplier: number | ((epoch: number) => number);
  readonly startEpoch: number;
  /** Exclusive. */
  readonly endEpoch: number;
  /** The rate changes at the first batch of an epoch alone. */
  readonly staircase: boolean;
}
/** Undefined: the rate that there is stays. `stepsPerEpoch` does not count in a staircase. */
export function scheduledRate(schedule: Schedule, epoch: number, batch: number, stepsPerEpoch: number): number | undefined {
  const { initialLr, multiplier, startEpoch, endEpoch, staircase } = schedule;
  if (epoch < startEpoch || epoch >= endEpoch) return undefined;
  if (staircase && batch > 0) return undefined;
  const at = staircase ? epoch : epoch + batch / stepsPerEpoch;
  return initialLr * (typeof multiplier === 'number' ? multiplier ** (at - startEpoch) : multiplier(at));
}

/** What `fit` and `fitDataset` tell their callbacks. */
export interface FitParams {
  readonly steps?: number | null;
  readonly samples?: number | null;
  readonly batchSize?: number | null;
}
/** Batches in an epoch, the last one perhaps smaller; undefined: `fitDataset` has a data set of unknown or endless size. */
export function stepsIn({ steps, samples, batchSize }: FitParams): number | undefined {
  if (typeof steps === 'number' && Number.isFinite(steps) && steps > 0) return steps;
  return samples && batchSize ? Math.ceil(samples / batchSize) : undefined;
}
