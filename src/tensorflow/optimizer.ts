/**
 * DistributedOptimizer: a drop-in tf.Optimizer whose gradients are averaged over the ranks before the wrapped optimizer applies them. Main thread.
 *
 * TensorFlow.js calls `minimize`, or `computeGradients` and `applyGradients`; only `applyGradients` is ours, everything that describes or saves the optimizer passes to the wrapped one, so
 * that saved models name it and load without this package. Slots of tfjs's optimizers are kept by POSITION: gradients are passed on in the order they came, entries without gradient included.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import { isInitialized, rank, size } from '../job';
import { log } from '../log';
import { registerTrainingKernels } from './backends/wasm';
import { GradientReducer } from './gradient_reducer';
import { loadTf, type Tf } from './load';

export interface DistributedOptimizerOptions {
  name?: string;
  /** Default: average. */
  op?: 'average' | 'sum';
  /** Gradients are added up locally this many times between reductions; the other calls apply nothing but count. >= 1. Default 1. */
  backwardPassesPerStep?: number;
  /** Default false. */
  averageAggregatedGradients?: boolean;
  /** Default 1; another value needs op average. */
  gradientPredivideFactor?: number;
}

type Named = { name: string; tensor: tf.Tensor };
type Gradients = tf.NamedTensorMap | Named[];

const known = ['name', 'op', 'backwardPassesPerStep', 'averageAggregatedGradients', 'gradientPredivideFactor'];

function checked(options: DistributedOptimizerOptions): Required<DistributedOptimizerOptions> {
  for (const name of Object.keys(options)) {
    if (!known.includes(name))
      throw new UsageError(`DistributedOptimizer has no option '${name}' in this version. It has ${known.join(', ')}.`);
  }
  const { name = '', op = 'average', backwardPassesPerStep = 1, averageAggregatedGradients = false, gradientPredivideFactor = 1 } = options;
  if (op !== 'average' && op !== 'sum') throw new UsageError(`DistributedOptimizer: op is 'average' or 'sum', but was '${String(op)}'.`);
  if (!Number.isInteger(backwardPassesPerStep) || backwardPassesPerStep < 1) {
    throw new UsageError(`DistributedOptimizer: backwardPassesPerStep is a whole number >= 1, but was ${String(backwardPassesPerStep)}.`);
  }
  if (!Number.isFinite(gradientPredivideFactor) || gradientPredivideFactor <= 0) {
    throw new UsageError(`DistributedOptimizer: gradientPredivideFactor is a number > 0, but was ${String(gradientPredivideFactor)}.`);
  }
  if (gradientPredivideFactor !== 1 && op !== 'average')
    throw new UsageError("DistributedOptimizer: gradientPredivideFactor needs the op 'average'.");
  return { name, op, backwardPassesPerStep, averageAggregatedGradients, gradientPredivideFactor };
}

/** Names are equal on all ranks when all make their optimizers in the same order. */
let made = 0;

/**
 * Wraps any tf.Optimizer, or makes one by the name that `model.compile` takes.
 * @throws UsageError an option, or the name, is wrong
 */
export function DistributedOptimizer<O extends tf.Optimizer>(optimizer: O, options?: DistributedOptimizerOptions): O;
export function DistributedOptimizer(optimizer: string, options?: DistributedOptimizerOptions): tf.Optimizer;
export function DistributedOptimizer(optimizer: tf.Optimizer | string, options: DistributedOptimizerOptions = {}): tf.Optimizer {
  const tfjs = loadTf();
  const settings = checked(options);
  made += 1;
  return new (wrapperClass(tfjs))(
    typeof optimizer === 'string' ? byName(tfjs, optimizer) : optimizer,
    settings,
    settings.name || `DistributedOptimizer.${made}`,
  );
}

const factories: Record<string, (tfjs: Tf) => tf.Optimizer> = {
  sgd: (tfjs) => tfjs.train.sgd(0.01),
  adam: (tfjs) => tfjs.train.adam(0.001, 0.9, 0.999, tfjs.backend().epsilon()),
  adamax: (tfjs) => tfjs.train.adamax(0.002, 0.9, 0.999, tfjs.backend().epsilon(), 0),
  adagrad: (tfjs) => tfjs.train.adagrad(0.01),
  adadelta: (tfjs) => tfjs.train.adadelta(1, 0.95, tfjs.backend().epsilon()),
  rmsprop: (tfjs) => tfjs.train.rmsprop(0.001, 0.9, 0, tfjs.backend().epsilon()),
};

/** As tfjs-layers' own table of names, with its learning rates. */
function byName(tfjs: Tf, name: string): tf.Optimizer {
  const factory = factories[name.toLowerCase()];
  if (!factory)
    throw new UsageError(
      `DistributedOptimizer: no optimizer is named '${name}'. Names are ${Object.keys(factories).join(', ')}; others are passed as objects.`,
    );
  return factory(tfjs);
}

type Wrapper = new (inner: tf.Optimizer, settings: Required<DistributedOptimizerOptions>, name: string) => tf.Optimizer;
const classes = new WeakMap<Tf, Wrapper>();

function wrapperClass(tfjs: Tf): Wrapper {
  const existing = classes.get(tfjs);
  if (existing) return existing;

  class Distributed extends tfjs.Optimizer {
    private readonly reducer: GradientReducer;
    private passes = 0;
    private sums: Array<tf.Tensor | null> = [];

    constructor(
      readonly inner: tf.Optimizer,
      private readonly settings: Required<DistributedOptimizerOptions>,
      name: string,
    ) {
      super();
      const { op, gradientPredivideFactor: factor } = settings;
      this.reducer = new GradientReducer(name, { op, prescaleFactor: 1 / factor, postscaleFactor: factor });
    }

    override applyGradients(gradients: Gradients): void {
      warnOfSlowBackend(tfjs);
      const entries: Array<{ name: string; tensor: tf.Tensor | null }> = Array.isArray(gradients)
        ? gradients
        : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor }));
      const local = this.aggregate(entries.map(({ tensor }) => tensor));
      if (!local) {
        this.incrementIterations();
        return;
      }
      const reduced = this.reducer.reduce(
        local.gradients,
        entries.map((entry) => shapeOf(tfjs, entry)),
      );
      for (const tensor of local.owned) tensor.dispose();
      // Positions count, so entries without gradient stay; tfjs's optimizers skip them.
      const named = entries.map(({ name }, i) => ({ name, tensor: reduced[i] as tf.Tensor }));
      this.inner.applyGradients(Array.isArray(gradients) ? named : Object.fromEntries(named.map(({ name, tensor }) => [name, tensor])));
      tfjs.dispose(reduced.filter((tensor) => tensor !== null));
    }

    /** Adds to the local sums; every `backwardPassesPerStep`-th time gives them out. */
    private aggregate(gradients: Array<tf.Tensor | null>): { gradients: Array<tf.Tensor | null>; owned: tf.Tensor[] } | undefined {
      const { backwardPassesPerStep: passes, averageAggregatedGradients } = this.settings;
      if (passes === 1) return { gradients, owned: [] };
      this.sums = gradients.map((gradient, i) => {
        const sum = this.sums[i] ?? null;
        if (!gradient) return sum;
        const next = tfjs.tidy(() => tfjs.keep(sum ? tfjs.add(sum, gradient) : tfjs.clone(gradient)));
        sum?.dispose();
        return next;
      });
      this.passes += 1;
      if (this.passes < passes) return undefined;
      this.passes = 0;
      const sums = this.sums;
      this.sums = [];
      const owned = sums.filter((sum) => sum !== null);
      if (!averageAggregatedGradients) return { gradients: sums, owned };
      const averages = sums.map((sum) => sum && tfjs.tidy(() => tfjs.keep(tfjs.div(sum, passes))));
      return { gradients: averages, owned: [...owned, ...averages.filter((average) => average !== null)] };
    }

    override getClassName(): string {
      return this.inner.getClassName();
    }
    getConfig() {
      return this.inner.getConfig();
    }
    override getWeights() {
      return this.inner.getWeights();
    }
    override setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]) {
      return this.inner.setWeights(weights);
    }
    override saveIterations() {
      return this.inner.saveIterations();
    }
    override extractIterations(weights: Parameters<tf.Optimizer['setWeights']>[0]) {
      return (this.inner as unknown as { extractIterations(weights: unknown): ReturnType<tf.Optimizer['getWeights']> }).extractIterations(
        weights,
      );
    }
    protected override incrementIterations() {
      (this.inner as unknown as { incrementIterations(): void }).incrementIterations();
    }
    override get iterations() {
      return this.inner.iterations;
    }
    get learningRate(): number {
      return (this.inner as unknown as { learningRate: number }).learningRate;
    }
    set learningRate(rate: number) {
      this.setLearningRate(rate);
    }
    setLearningRate(rate: number): void {
      const inner = this.inner as unknown as { learningRate: number; setLearningRate?(rate: number): void };
      // SGD and momentum bake the rate into a tensor; the others read the property in every step.
      if (inner.setLearningRate) inner.setLearningRate(rate);
      else inner.learningRate = rate;
    }
    override dispose(): void {
      this.reducer.dispose();
      for (const sum of this.sums) sum?.dispose();
      this.sums = [];
      this.inner.dispose();
    }
  }
  classes.set(tfjs, Distributed);
  return Distributed;
}

/** A gradient has its variable's shape; without one the variable is asked. */
function shapeOf(tfjs: Tf, { name, tensor }: { name: string; tensor: tf.Tensor | null }): number[] {
  const variable = tensor ?? (tfjs.engine() as unknown as { registeredVariables: Record<string, tf.Variable> }).registeredVariables[name];
  if (!variable) throw new UsageError(`DistributedOptimizer: there is no variable '${name}', and it has no gradient. Was it disposed?`);
  if (variable.dtype !== 'float32')
    throw new UsageError(`DistributedOptimizer: the variable '${name}' is ${variable.dtype}; gradients are float32.`);
  return variable.shape;
}

let hasWarned = false;
function warnOfSlowBackend(tfjs: Tf): void {
  const backend = tfjs.getBackend();
  if (backend === 'wasm') registerTrainingKernels(tfjs);
  if (backend !== 'cpu' || hasWarned) return;
  hasWarned = true;
  if (isInitialized() && rank() !== 0 && size() > 1) return;
  try {
    require.resolve('@tensorflow/tfjs-backend-wasm');
  } catch {
    return;
  }
  log(
    'WARNING',
    "training runs on TensorFlow.js's slow 'cpu' backend although the wasm backend is installed: call `await hvd.selectBackend()` before the model is made.",
  );
}
