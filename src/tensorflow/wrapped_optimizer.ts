/** A tf.Optimizer around another: everything that describes or saves an optimizer passes to the wrapped one, so that saved models name it and load without this package. Main thread. */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import type { Tf } from './load';
import { applierOf, disposeOptimizer } from './mends';
import { setLearningRate, setMomentum } from './optimizer_state';

/** As tfjs has it, without exporting it. */
export type NamedTensor = { name: string; tensor: tf.Tensor };
export type Gradients = tf.NamedTensorMap | NamedTensor[];

/** Every optimizer that wraps one. */
const wrappers = new WeakSet<object>();

/** @param takes what may be given instead of an optimizer, for the message @throws UsageError it is no optimizer, or wraps one already */
export function checkWrappable(what: string, optimizer: unknown, takes = ''): void {
  if (typeof (optimizer as Partial<tf.Optimizer> | null)?.applyGradients !== 'function')
    throw new UsageError(
      `${what} takes a tf.Optimizer (tf.train.adam(…))${takes}, but was given ${optimizer === null ? 'null' : typeof optimizer}.`,
    );
  if (wrappers.has(optimizer as object)) throw new UsageError(`${what} was given an optimizer that is wrapped already. Wrap it once.`);
}

export interface WrappedOptimizer extends tf.Optimizer {
  readonly inner: tf.Optimizer;
  learningRate: number;
  /** Undefined: the wrapped optimizer has none. */
  momentum: number | undefined;
}
type Base = abstract new (
  inner: tf.Optimizer,
) => WrappedOptimizer & {
  readonly applyPlainly: (gradients: Gradients) => void;
  incrementIterations(): void;
  getConfig(): ReturnType<tf.Optimizer['getConfig']>;
};

const classes = new WeakMap<Tf, Base>();

/** The base class, of the user's copy of TensorFlow.js. */
export function wrappedOptimizerClass(tfjs: Tf): Base {
  const existing = classes.get(tfjs);
  if (existing) return existing;

  abstract class Wrapped extends tfjs.Optimizer {
    /** What TensorFlow.js's own optimizers do wrong (mends.ts) they do right when wrapped. */
    readonly applyPlainly: (gradients: Gradients) => void;

    constructor(readonly inner: tf.Optimizer) {
      super();
      this.applyPlainly = applierOf(tfjs, inner);
      wrappers.add(this);
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
    override setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
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
    override incrementIterations() {
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
    get momentum(): number | undefined {
      return (this.inner as unknown as { momentum?: number }).momentum;
    }
    set momentum(momentum: number) {
      this.setMomentum(momentum);
    }
    setMomentum(momentum: number): void {
      setMomentum(this.inner, momentum);
    }
    override dispose(): void {
      disposeOptimizer(this.inner);
    }
  }
  classes.set(tfjs, Wrapped);
  return Wrapped;
}
