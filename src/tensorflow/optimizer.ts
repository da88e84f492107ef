/**
 * DistributedOptimizer: a drop-in tf.Optimizer whose gradients are averaged over the ranks before the wrapped optimizer applies them. Main thread.
 *
 * TensorFlow.js calls `minimize`, or `computeGradients` and `applyGradients`; only `applyGradients` is ours, everything that describes or saves the optimizer passes to the wrapped one, so
 * that saved models name it and load without this package (but with Adamax, whose state tfjs alone cannot load, and with those of hvd.train). Slots of tfjs's optimizers are kept by POSITION: gradients are passed on in the order they came, entries without gradient included.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import { currentEngine, isInitialized, rank, size } from '../job';
import { log } from '../log';
import { registerTrainingKernels } from './backends/wasm';
import { type Gradient, GradientReducer } from './gradient_reducer';
import { checkCopies, isInstalled, loadTf, type Tf } from './load';
import { LocalAggregation, type Named } from './local_aggregation';
import { applierOf, disposeOptimizer, mendAdamax } from './mends';
import { checkedOptions, type DistributedOptimizerOptions, optimizerByName } from './optimizer_options';
import { restoreBetaPowers, setLearningRate, setMomentum } from './optimizer_state';
import { registerOptimizers } from './train';
import { VariableNames } from './variable_names';
import { variableNamed } from './variables';

export type { DistributedOptimizerOptions };

/** As tfjs has it, without exporting it. */
type NamedTensor = { name: string; tensor: tf.Tensor };

/** Names are equal on all ranks when all make their optimizers in the same order. */
let made = 0;

/**
 * Wraps any tf.Optimizer, or makes one by the name that `model.compile` takes. With one rank it does exactly what the wrapped one does.
 *
 * A variable without gradient on some ranks counts as zeros there; without one on all ranks it is left alone. Ranks whose gradients come by name (`minimize` without a list of variables)
 * may have different ones in a step. What TensorFlow.js's own optimizers do wrong (mends.ts) they do right when wrapped. The result's `applyGradients` throws MismatchError when the ranks' variables differ, PeerError when a rank is gone, NotInitializedError before `init()`.
 * @throws UsageError an option, or the name, is wrong; BackendError TensorFlow.js is not installed, or twice in this process
 */
export function DistributedOptimizer<O extends tf.Optimizer>(optimizer: O, options?: DistributedOptimizerOptions): O;
export function DistributedOptimizer(optimizer: string, options?: DistributedOptimizerOptions): tf.Optimizer;
export function DistributedOptimizer(optimizer: tf.Optimizer | string, options: DistributedOptimizerOptions = {}): tf.Optimizer {
  const tfjs = loadTf();
  checkCopies();
  registerOptimizers(tfjs);
  mendAdamax(tfjs);
  const settings = checkedOptions(options);
  const inner = typeof optimizer === 'string' ? optimizerByName(tfjs, optimizer) : optimizer;
  if (typeof (inner as Partial<tf.Optimizer> | null)?.applyGradients !== 'function')
    throw new UsageError(
      `DistributedOptimizer takes a tf.Optimizer (tf.train.adam(…)) or the name of one, but was given ${inner === null ? 'null' : typeof inner}.`,
    );
  if (wrappers.has(inner)) throw new UsageError('DistributedOptimizer was given an optimizer that it has wrapped already. Wrap it once.');
  made += 1;
  const wrapper = new (wrapperClass(tfjs))(inner, settings, settings.name || `DistributedOptimizer.${made}`);
  wrappers.add(wrapper);
  return wrapper;
}

type Wrapper = new (inner: tf.Optimizer, settings: Required<DistributedOptimizerOptions>, name: string) => tf.Optimizer;
const classes = new WeakMap<Tf, Wrapper>();
const wrappers = new WeakSet<object>();

function wrapperClass(tfjs: Tf): Wrapper {
  const existing = classes.get(tfjs);
  if (existing) return existing;

  class Distributed extends tfjs.Optimizer {
    private readonly reducer: GradientReducer;
    private readonly names: VariableNames;
    private readonly aggregation?: LocalAggregation;
    private readonly passesPerStep: number;
    private readonly apply: (gradients: tf.NamedTensorMap | NamedTensor[]) => void;

    constructor(
      readonly inner: tf.Optimizer,
      settings: Required<DistributedOptimizerOptions>,
      name: string,
    ) {
      super();
      const { op, compression, gradientPredivideFactor: factor, backwardPassesPerStep, averageAggregatedGradients } = settings;
      this.reducer = new GradientReducer(name, { op, compression, prescaleFactor: 1 / factor, postscaleFactor: factor });
      this.names = new VariableNames(name);
      this.apply = applierOf(tfjs, inner);
      this.passesPerStep = backwardPassesPerStep;
      this.restore();
      if (backwardPassesPerStep > 1) this.aggregation = new LocalAggregation(tfjs, backwardPassesPerStep, averageAggregatedGradients);
    }

    override computeGradients(f: () => tf.Scalar, variables?: tf.Variable[]) {
      prepareBackend(tfjs);
      return super.computeGradients(f, variables);
    }

    /** `minimize` gives a list when it was given one, else gradients by name, only those there are. */
    override applyGradients(gradients: tf.NamedTensorMap | NamedTensor[]): void {
      prepareBackend(tfjs);
      const isList = Array.isArray(gradients);
      const entries: Named[] = isList
        ? gradients.map(({ name, tensor }) => ({ name, tensor: tensor ?? null }))
        : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor: tensor ?? null }));
      if (!this.aggregation) {
        this.applyStep(entries, isList);
        return;
      }
      if (!this.aggregation.add(entries)) {
        // As Horovod: every pass counts as an iteration, though nothing is applied.
        this.incrementIterations();
        return;
      }
      const step = this.aggregation.take();
      try {
        this.applyStep(step, isList);
      } finally {
        for (const { tensor } of step) tensor?.dispose();
      }
    }

    private applyStep(entries: readonly Named[], isList: boolean): void {
      if (size() === 1) this.hand(entries, isList);
      else this.reduceAndHand(entries, isList);
      currentEngine('DistributedOptimizer').timeline?.step();
    }

    private reduceAndHand(entries: readonly Named[], isList: boolean): void {
      const reduced = isList ? this.reduceList(entries) : this.reduceNamed(entries);
      try {
        this.hand(reduced, isList);
      } finally {
        for (const { tensor } of reduced) tensor?.dispose();
      }
    }

    /** Positions count, so entries without gradient stay; tfjs's optimizers skip them. */
    private hand(entries: readonly Named[], isList: boolean): void {
      this.apply(
        (isList ? entries : Object.fromEntries(entries.map(({ name, tensor }) => [name, tensor]))) as NamedTensor[] | tf.NamedTensorMap,
      );
    }

    /** By position: on a rank that loaded a checkpoint the names differ. */
    private reduceList(entries: readonly Named[]): Named[] {
      const { tensors } = this.reducer.reduce(
        entries.map((entry) => gradientOf(tfjs, entry)),
        'list',
      );
      return entries.map(({ name }, i) => ({ name, tensor: tensors[i]! }));
    }

    private reduceNamed(entries: readonly Named[]): Named[] {
      const own = new Map(entries.map((entry) => [entry.name, gradientOf(tfjs, entry).tensor]));
      const gradients = Object.fromEntries([...own].filter(([, tensor]) => tensor)) as tf.NamedTensorMap;
      if (!this.names.isAgreed) this.names.agree(tfjs, gradients);
      const reduce = (from: number, hasNews: boolean): { named: Named[]; isNews: boolean } => {
        const list = this.names.list.slice(from);
        const { tensors, isNews } = this.reducer.reduce(
          list.map(({ name, shape }): Gradient => ({ tensor: own.get(name) ?? null, shape })),
          'names',
          hasNews,
        );
        return { named: list.map(({ name }, i) => ({ name, tensor: tensors[i]! })), isNews };
      };
      const count = this.names.list.length;
      const first = reduce(
        0,
        Object.keys(gradients).some((name) => !this.names.has(name)),
      );
      if (!first.isNews) return first.named;
      try {
        this.names.agree(tfjs, gradients);
        return [...first.named, ...reduce(count, false).named];
      } catch (error) {
        for (const { tensor } of first.named) tensor?.dispose();
        throw error;
      }
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
    override async setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
      await this.inner.setWeights(weights);
      this.restore();
    }
    /** With local aggregation iterations are passes: how often was applied is not known. */
    private restore(): void {
      if (this.passesPerStep === 1 && this.inner.iterations > 0) restoreBetaPowers(tfjs, this.inner);
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
      setLearningRate(this.inner, rate);
    }
    /** Undefined: the wrapped optimizer has none. */
    get momentum(): number | undefined {
      return (this.inner as unknown as { momentum?: number }).momentum;
    }
    set momentum(momentum: number) {
      this.setMomentum(momentum);
    }
    setMomentum(momentum: number): void {
      setMomentum(this.inner, momentum);
    }
    /** The wrapped optimizer's slots, what was added up, and the shared memory. */
    override dispose(): void {
      this.reducer.dispose();
      this.aggregation?.dispose();
      disposeOptimizer(this.inner);
    }
  }
  classes.set(tfjs, Distributed);
  return Distributed;
}

/** A gradient has its variable's shape; without one the variable is asked. */
function gradientOf(tfjs: Tf, { name, tensor }: Named): Gradient {
  const known = tensor ?? variableNamed(tfjs, name);
  if (!known) throw new UsageError(`DistributedOptimizer: there is no variable '${name}', and it has no gradient. Was it disposed of?`);
  if (tensor && tensor.dtype !== 'float32')
    throw new UsageError(`DistributedOptimizer: the gradient of '${name}' is ${tensor.dtype}, but gradients are float32. Cast it first.`);
  return { tensor, shape: known.shape };
}

let hasWarned = false;
/** The training kernels, however the backend was chosen; a warning, once, where a slow one was. */
function prepareBackend(tfjs: Tf): void {
  const backend = tfjs.getBackend();
  if (backend === 'wasm') registerTrainingKernels(tfjs);
  if (backend !== 'cpu' || hasWarned) return;
  hasWarned = true;
  if (isInitialized() && rank() !== 0 && size() > 1) return;
  if (!isInstalled('@tensorflow/tfjs-backend-wasm')) return;
  log(
    'WARNING',
    "training runs on TensorFlow.js's slow 'cpu' backend although the wasm backend is installed: call `await hvd.selectBackend()` before the model is made.",
  );
}
