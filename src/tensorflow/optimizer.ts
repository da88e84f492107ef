/**
 * DistributedOptimizer: a drop-in tf.Optimizer whose gradients are averaged over the ranks before the wrapped optimizer applies them. Main thread.
 *
 * TensorFlow.js calls `minimize`, or `computeGradients` and `applyGradients`; `minimize` and `applyGradients` are ours, everything that describes or saves the optimizer passes to the wrapped one, so
 * that saved models name it and load without this package (but with Adamax, whose state tfjs alone cannot load, and with those of hvd.train). Slots of tfjs's optimizers are kept by POSITION: gradients are passed on in the order they came, entries without gradient included.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { hasFeedback } from '../compression';
import { readConfig } from '../config';
import { nowUs } from '../engine/clock';
import { UsageError } from '../errors';
import { currentEngine, isInitialized } from '../job';
import { isLogged, log } from '../log';
import { modeOfStrategy } from '../parameter_server/consistency';
import { sayingWhatLacksMemory } from './backends/memory';
import { prepareBackend } from './backends/prepare';
import { GradientExchange } from './gradient_exchange';
import { checkCopies, loadTf, type Tf } from './load';
import { LocalAggregation, type Named } from './local_aggregation';
import {
  checkedOptions,
  checkedPartialOptions,
  type DistributedOptimizerOptions,
  type ExchangeSettings,
  optimizerByName,
  type PartialDistributedOptimizerOptions,
} from './optimizer_options';
import { hasMultipliedBetaPowers, restoreBetaPowers } from './optimizer_state';
import { findsSlotsByName } from './optimizers/rule';
import { serve } from './parameter_server_optimizer';
import { stepLine, stepTimes } from './step_times';
import { releasing } from './tape';
import { prepareOptimizers } from './train';
import { checkWrappable, type Gradients, type NamedTensor, wrappedOptimizerClass } from './wrapped_optimizer';

export type { DistributedOptimizerOptions, PartialDistributedOptimizerOptions };

/**
 * Wraps any tf.Optimizer, or makes one by the name that `model.compile` takes. With one rank it does exactly what the wrapped one does.
 *
 * A variable without gradient on some ranks counts as zeros there; without one on all ranks it is left alone. Ranks whose gradients come by name (`minimize` without a list of variables)
 * may have different ones in a step. On a rank outside the process set it is the plain optimizer: nothing is reduced there, nor added up. What TensorFlow.js's own optimizers do wrong (mends.ts) they do right when wrapped. The result's `applyGradients` throws MismatchError when the ranks' variables differ, PeerError when a rank is gone, NotInitializedError before `init()`.
 * @throws UsageError an option, or the name, is wrong; BackendError TensorFlow.js is not installed, or twice in this process
 */
export function DistributedOptimizer<O extends tf.Optimizer>(optimizer: O, options?: DistributedOptimizerOptions): O;
export function DistributedOptimizer(optimizer: string, options?: DistributedOptimizerOptions): tf.Optimizer;
export function DistributedOptimizer(optimizer: tf.Optimizer | string, options: DistributedOptimizerOptions = {}): tf.Optimizer {
  return wrap('DistributedOptimizer', optimizer, (tfjs) => checkedOptions(tfjs, options));
}

/**
 * DistributedOptimizer but for `localLayers`: their gradients are not reduced, and are divided by the number of ranks unless `scaleLocalGradients` is false. For weights that are a rank's own.
 * Ranks need not have the same local layers; all other variables are the same on every rank.
 * @throws UsageError an option is wrong; BackendError TensorFlow.js is not installed, or twice in this process
 */
export function PartialDistributedOptimizer<O extends tf.Optimizer>(optimizer: O, options: PartialDistributedOptimizerOptions): O {
  return wrap('PartialDistributedOptimizer', optimizer, (tfjs) => checkedPartialOptions(tfjs, options ?? {})) as O;
}

function wrap(what: string, optimizer: tf.Optimizer | string, settingsOf: (tfjs: Tf) => ExchangeSettings): tf.Optimizer {
  const tfjs = loadTf();
  checkCopies();
  prepareOptimizers(tfjs);
  const settings = settingsOf(tfjs);
  const inner = typeof optimizer === 'string' ? optimizerByName(tfjs, optimizer) : optimizer;
  checkWrappable(what, inner, ' or the name of one');
  const mode = modeOfStrategy(readConfig().strategy);
  if (mode && what === 'DistributedOptimizer') return serve(inner, { ...servable(settings), mode });
  return new (wrapperClass(tfjs))(inner, settings);
}

/** @throws UsageError what servers do not do */
function servable(settings: ExchangeSettings): ExchangeSettings {
  const { what, op, compression, groups, backwardPassesPerStep, gradientPredivideFactor } = settings;
  const refused = Object.entries({
    [`op '${op}'`]: op !== 'average',
    [`compression ${compression.name}`]: hasFeedback(compression),
    groups: groups !== undefined,
    [`backwardPassesPerStep ${backwardPassesPerStep}`]: backwardPassesPerStep > 1,
    [`gradientPredivideFactor ${gradientPredivideFactor}`]: gradientPredivideFactor !== 1,
  }).flatMap(([option, isRefused]) => (isRefused ? [option] : []));
  if (refused.length > 0)
    throw new UsageError(
      `${what}: parameter servers (TSRUN_STRATEGY, --strategy) do not know ${refused.join(', ')}. Leave it out, or use --strategy ring.`,
    );
  return settings;
}

type Wrapper = new (inner: tf.Optimizer, settings: ExchangeSettings) => tf.Optimizer;
const classes = new WeakMap<Tf, Wrapper>();

function wrapperClass(tfjs: Tf): Wrapper {
  const existing = classes.get(tfjs);
  if (existing) return existing;

  class Distributed extends wrappedOptimizerClass(tfjs) {
    private readonly exchange: GradientExchange;
    private readonly aggregation?: LocalAggregation;
    /** Outside the process set every pass is applied. */
    private readonly passesPerStep: number;
    private steps = 0;

    constructor(inner: tf.Optimizer, settings: ExchangeSettings) {
      super(inner);
      const { backwardPassesPerStep, averageAggregatedGradients } = settings;
      this.exchange = new GradientExchange(tfjs, settings);
      this.passesPerStep = isInitialized() && !settings.processSet.included() ? 1 : backwardPassesPerStep;
      if (!hasMultipliedBetaPowers(tfjs, inner)) this.restore();
      if (backwardPassesPerStep > 1) this.aggregation = new LocalAggregation(tfjs, backwardPassesPerStep, averageAggregatedGradients);
    }

    override computeGradients(f: () => tf.Scalar, variables?: tf.Variable[]) {
      prepareBackend(tfjs);
      return sayingWhatLacksMemory(tfjs, () => super.computeGradients(releasing(tfjs, f), variables));
    }

    /** Nobody can look at the gradients in between, so they may leave while others are still being computed. */
    override minimize(f: () => tf.Scalar, returnCost = false, variables?: tf.Variable[]): tf.Scalar | null {
      if (this.aggregation || this.exchange.ranks < 2) return super.minimize(f, returnCost, variables);
      prepareBackend(tfjs);
      const { value, reduced, ...times } = sayingWhatLacksMemory(tfjs, () => this.exchange.differentiate(f, variables));
      this.handReduced(reduced, variables !== undefined);
      this.steps += 1;
      if (isLogged('DEBUG')) log('DEBUG', stepLine(this.steps, stepTimes({ ...times, appliedUs: nowUs() })));
      if (returnCost) return value;
      value.dispose();
      return null;
    }

    /** `minimize` gives a list when it was given one, else gradients by name, only those there are. */
    override applyGradients(gradients: Gradients): void {
      prepareBackend(tfjs);
      const isList = Array.isArray(gradients);
      const entries: Named[] = isList
        ? gradients.map(({ name, tensor }) => ({ name, tensor: tensor ?? null }))
        : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor: tensor ?? null }));
      const { ranks } = this.exchange;
      if (!this.aggregation || ranks === 0) {
        this.applyStep(entries, isList, ranks);
        return;
      }
      if (!this.aggregation.add(entries)) {
        // As Horovod: every pass counts as an iteration, though nothing is applied.
        this.incrementIterations();
        return;
      }
      const step = this.aggregation.take();
      try {
        this.applyStep(step, isList, ranks);
      } finally {
        for (const { tensor } of step) tensor?.dispose();
      }
    }

    private applyStep(entries: readonly Named[], isList: boolean, ranks: number): void {
      if (ranks >= 2) this.handReduced(this.exchange.reduce(entries, isList), isList);
      else {
        this.hand(entries, isList);
        currentEngine('DistributedOptimizer').timeline?.step();
      }
    }

    /** Takes the tensors. */
    private handReduced(reduced: readonly Named[], isList: boolean): void {
      try {
        this.hand(reduced, isList || !findsSlotsByName(this.inner));
      } finally {
        for (const { tensor } of reduced) tensor?.dispose();
      }
      currentEngine('DistributedOptimizer').timeline?.step();
    }

    /** Positions count, so entries without gradient stay; tfjs's optimizers skip them. Not in an object: its keys have an order of their own where they look like numbers ('12', an unnamed variable). */
    private hand(entries: readonly Named[], isList: boolean): void {
      const gradients = (isList ? entries : Object.fromEntries(entries.map(({ name, tensor }) => [name, tensor]))) as
        | NamedTensor[]
        | tf.NamedTensorMap;
      sayingWhatLacksMemory(tfjs, () => this.applyPlainly(gradients));
    }

    override async setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
      await super.setWeights(weights);
      this.restore();
    }
    /** Of what was loaded iterations are passes, all steps whole. */
    private restore(): void {
      const { iterations } = this.inner;
      if (iterations > 0) restoreBetaPowers(tfjs, this.inner, Math.floor(iterations / this.passesPerStep));
    }
    /** The wrapped optimizer's slots, what was added up, and the shared memory. */
    override dispose(): void {
      this.exchange.dispose();
      this.aggregation?.dispose();
      super.dispose();
    }
  }
  classes.set(tfjs, Distributed);
  return Distributed;
}
