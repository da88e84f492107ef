/**
 * Callbacks that change the learning rate from batch to batch: warm-up and schedule. Main thread. They communicate nothing: every rank computes the same rates from the same arguments.
 *
 * Both work with `fit` and `fitDataset`, with plain and wrapped optimizers, and put the rate into `logs.lr` at the end of an epoch.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Callback, LayersModel } from '@tensorflow/tfjs-layers';
import { UsageError } from '../../errors';
import { rank, size } from '../../job';
import { loadTf } from '../load';
import { checkedArgs, checkedNumber } from './arguments';
import { changeRate, correctMomentum, isRateInVelocity, rateOf, restoreMomentum } from './rate_setter';
import { type FitParams, type Schedule, scheduledRate, stepsIn, warmupRate } from './rates';

interface RateArgs {
  /** The rate of the whole job: for one rank's rate that is scaled with the job, rate · hvd.size(). > 0. */
  initialLr: number;
  /** Batches in an epoch. Default: as `fit` and `fitDataset` say; needed where the data set's size is not known. */
  stepsPerEpoch?: number;
  /**
   * For the batch in which the rate changes, the momentum is multiplied by new rate / old rate. Default: where the optimizer's velocity holds the rate, which is where it is right (RMSProp, LARS,
   * but not tf.train.momentum). True: on every optimizer that has a momentum, as Horovod does.
   */
  momentumCorrection?: boolean;
}
export interface LearningRateWarmupArgs extends RateArgs {
  /** > 0, whole or not. Default 5. */
  warmupEpochs?: number;
  /** Rank 0 prints a line on stdout when it is over. Default false. */
  verbose?: boolean;
}
export interface LearningRateScheduleArgs extends RateArgs {
  /** The rate is initialLr · multiplier(epoch); a number m stands for m ^ (epoch − startEpoch). */
  multiplier: number | ((epoch: number) => number);
  /** Default 0. */
  startEpoch?: number;
  /** Exclusive: the last rate stays. Default: none. */
  endEpoch?: number;
  /** True (default): the rate changes at the beginning of an epoch, and `multiplier` is given whole numbers; false: at every batch, k / stepsPerEpoch on the way. */
  staircase?: boolean;
}

interface Attached {
  readonly model: LayersModel;
  readonly params: FitParams;
}

interface Plan {
  readonly what: string;
  readonly momentumCorrection?: boolean;
  /** Undefined: rates are not computed from it. */
  readonly needsSteps: boolean;
  readonly stepsPerEpoch?: number;
  /** The rate for this batch; undefined: leave it. */
  rateAt(epoch: number, batch: number, stepsPerEpoch: number): number | undefined;
  /** The rate to end the epoch with; undefined: leave it. */
  rateAfter?(epoch: number): number | undefined;
}

function callbackFor(plan: Plan): Callback {
  const { what } = plan;
  class LearningRate extends loadTf().Callback {
    private epoch = 0;
    private stepsPerEpoch = Number.NaN;
    /** For the momentum of the next batch. */
    private factor = 1;

    private get optimizer(): tf.Optimizer {
      return (this as unknown as Attached).model.optimizer;
    }
    override async onTrainBegin(): Promise<void> {
      this.factor = 1;
      // Of a `fit` that failed within a batch.
      restoreMomentum(this.optimizer);
      rateOf(this.optimizer, what);
      const steps = plan.stepsPerEpoch ?? stepsIn((this as unknown as Attached).params);
      if (plan.needsSteps && steps === undefined)
        throw new UsageError(
          `${what}: how many batches an epoch has is not known, since the data set does not tell its size. ` +
            'Give stepsPerEpoch here, or batchesPerEpoch to fitDataset.',
        );
      this.stepsPerEpoch = steps ?? Number.NaN;
    }
    override async onEpochBegin(epoch: number): Promise<void> {
      this.epoch = epoch;
    }
    override async onBatchBegin(batch: number): Promise<void> {
      const rate = plan.rateAt(this.epoch, batch, this.stepsPerEpoch);
      if (rate !== undefined) this.change(rate);
      if (plan.momentumCorrection ?? isRateInVelocity(this.optimizer)) correctMomentum(this.optimizer, this.factor);
      this.factor = 1;
    }
    override async onBatchEnd(): Promise<void> {
      restoreMomentum(this.optimizer);
    }
    override async onEpochEnd(epoch: number, logs?: Record<string, unknown>): Promise<void> {
      const rate = plan.rateAfter?.(epoch);
      if (rate !== undefined) this.change(rate);
      if (logs) logs.lr = rateOf(this.optimizer, what);
    }
    private change(rate: number): void {
      if (!Number.isFinite(rate) || rate < 0)
        throw new UsageError(`${what}: the learning rate of epoch ${this.epoch} came to ${rate}. A multiplier gives a number >= 0.`);
      this.factor *= changeRate(this.optimizer, rate, what);
    }
  }
  return new LearningRate() as Callback;
}

const rateArgs = ['initialLr', 'stepsPerEpoch', 'momentumCorrection'];

function checkedRateArgs(what: string, args: RateArgs, others: readonly string[]): void {
  checkedArgs(what, args, [...rateArgs, ...others]);
  checkedNumber(what, 'initialLr', args.initialLr, (value) => value > 0, 'a number > 0');
  const { stepsPerEpoch, momentumCorrection } = args;
  if (stepsPerEpoch !== undefined)
    checkedNumber(what, 'stepsPerEpoch', stepsPerEpoch, (value) => Number.isInteger(value) && value > 0, 'a whole number > 0');
  if (momentumCorrection !== undefined && typeof momentumCorrection !== 'boolean')
    throw new UsageError(`${what}: momentumCorrection is true or false, but was ${String(momentumCorrection)}.`);
}

/**
 * From initialLr / size to initialLr over `warmupEpochs` epochs, a little more with every batch (Goyal et al. 2017; Horovod's formula): at epoch e, batch k
 * initialLr / size · ((e + k / stepsPerEpoch) · (size − 1) / warmupEpochs + 1). When they are over the rate is initialLr, and other callbacks may change it.
 * @throws UsageError an argument is wrong; when training begins: stepsPerEpoch is needed (see there)
 */
export function learningRateWarmup(args: LearningRateWarmupArgs): Callback {
  const what = 'learningRateWarmup';
  checkedRateArgs(what, args, ['warmupEpochs', 'verbose']);
  const { initialLr, warmupEpochs = 5, verbose = false } = args;
  checkedNumber(what, 'warmupEpochs', warmupEpochs, (value) => value > 0, 'a number > 0');
  const rateAt = (epoch: number): number => warmupRate({ initialLr, warmupEpochs }, size(), epoch);
  const last = Math.ceil(warmupEpochs) - 1;
  return callbackFor({
    what,
    ...args,
    needsSteps: true,
    rateAt: (epoch, batch, steps) => (epoch < warmupEpochs ? rateAt(epoch + batch / steps) : undefined),
    rateAfter(epoch) {
      if (epoch !== last) return undefined;
      if (verbose && rank() === 0) process.stdout.write(`Epoch ${epoch + 1}: finished gradual learning rate warmup to ${initialLr}.\n`);
      return initialLr;
    },
  });
}

/**
 * initialLr · multiplier(epoch) for the epochs from `startEpoch` until `endEpoch` (exclusive); after them the last rate stays.
 * @throws UsageError an argument is wrong; when training begins: stepsPerEpoch is needed (without `staircase`; see there); in training: `multiplier` gave no number >= 0
 */
export function learningRateSchedule(args: LearningRateScheduleArgs): Callback {
  const what = 'learningRateSchedule';
  checkedRateArgs(what, args, ['multiplier', 'startEpoch', 'endEpoch', 'staircase']);
  const { initialLr, multiplier, startEpoch = 0, endEpoch = Number.POSITIVE_INFINITY, staircase = true } = args;
  if (typeof multiplier !== 'function')
    checkedNumber(what, 'multiplier', multiplier, (value) => value >= 0, 'a number >= 0, or a function of the epoch');
  checkedNumber(what, 'startEpoch', startEpoch, (value) => value >= 0, 'a number >= 0');
  if (endEpoch !== Number.POSITIVE_INFINITY)
    checkedNumber(what, 'endEpoch', endEpoch, (value) => value > startEpoch, `a number > startEpoch (${startEpoch})`);
  if (typeof staircase !== 'boolean') throw new UsageError(`${what}: staircase is true or false, but was ${String(staircase)}.`);
  const schedule: Schedule = { initialLr, multiplier, startEpoch, endEpoch, staircase };
  return callbackFor({
    what,
    ...args,
    needsSteps: !staircase,
    rateAt: (epoch, batch, steps) => scheduledRate(schedule, epoch, batch, steps),
  });
}
