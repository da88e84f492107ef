/**
 * What optimizers of TensorFlow.js (4.22) do wrong, done right for those that DistributedOptimizer wraps. Main thread. The wrapped object and its class stay as they are, with one exception:
 *
 * - RMSProp with `centered` subtracts epsilon under its root: NaN for small gradients. It is applied here.
 * - Momentum computes with a tensor made in its constructor: `setMomentum` changes nothing. And `dispose` leaves the learning rate's tensor.
 * - Adamax has no getWeights and setWeights: `save({ includeOptimizer: true })` fails. They are put into its class, since `tf.loadLayersModel` makes an Adamax of its own; before, they threw.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from './load';
import { variableNamed } from './variables';

type NamedTensor = { name: string; tensor: tf.Tensor };
type Gradients = tf.NamedTensorMap | NamedTensor[];
interface Slot {
  originalName: string;
  variable: tf.Variable;
}

interface Momentum {
  momentum: number;
  m: tf.Scalar;
  c: tf.Scalar;
}
interface RmsProp {
  learningRate: number;
  decay: number;
  momentum: number;
  epsilon: number;
  centered: boolean;
  accumulatedMeanSquares: Slot[];
  accumulatedMoments: Slot[];
  accumulatedMeanGrads: Slot[];
  incrementIterations(): void;
}
interface Adamax {
  iteration: tf.Variable;
  accBeta1: tf.Variable;
  accumulatedFirstMoment: Slot[];
  accumulatedWeightedInfNorm: Slot[];
  saveIterations(): Promise<NamedTensor>;
  extractIterations(weights: NamedTensor[]): Promise<NamedTensor[]>;
}

/** How gradients are applied to an optimizer: by itself, but for what is mended here. */
export function applierOf(tfjs: Tf, optimizer: tf.Optimizer): (gradients: Gradients) => void {
  // Subclasses that say so are instances of every optimizer for tfjs: only the name tells.
  const name = optimizer.getClassName();
  if (name === 'RMSProp' && (optimizer as unknown as RmsProp).centered)
    return (gradients) => applyCentered(tfjs, optimizer as unknown as RmsProp, gradients);
  if (name !== 'Momentum') return (gradients) => optimizer.applyGradients(gradients);
  const inside = optimizer as unknown as Momentum;
  let used: number | undefined;
  return (gradients) => {
    if (used !== inside.momentum) useMomentum(tfjs, optimizer);
    used = inside.momentum;
    optimizer.applyGradients(gradients);
  };
}

/** Momentum (the optimizer) computes with the tensor that was made of its momentum: makes it anew. */
export function useMomentum(tfjs: Tf, optimizer: tf.Optimizer): void {
  const inside = optimizer as unknown as Momentum;
  inside.m.dispose();
  inside.m = tfjs.keep(tfjs.scalar(inside.momentum));
}

/**
 * Centered RMSProp (A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013, equations 38 to 41, with epsilon under the root as TensorFlow and Keras have it), in the slots of
 * tfjs's own. The variance is a difference that rounding can make negative, by more than epsilon where gradients are large: it is cut off at zero.
 */
function applyCentered(tfjs: Tf, optimizer: RmsProp, gradients: Gradients): void {
  const { learningRate, decay, momentum, epsilon } = optimizer;
  const entries = Array.isArray(gradients) ? gradients : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor }));
  for (const [i, { name, tensor: gradient }] of entries.entries()) {
    const value = variableNamed(tfjs, name)!;
    const slot = (slots: Slot[], kind: string): tf.Variable =>
      (slots[i] ??= { originalName: `${name}/${kind}`, variable: tfjs.tidy(() => tfjs.zerosLike(value).variable(false)) }).variable;
    const meanSquare = slot(optimizer.accumulatedMeanSquares, 'rms');
    const moment = slot(optimizer.accumulatedMoments, 'momentum');
    const mean = slot(optimizer.accumulatedMeanGrads, 'mg');
    if (!gradient) continue;
    tfjs.tidy(() => {
      const average = (old: tf.Tensor, next: tf.Tensor) => tfjs.add(tfjs.mul(old, decay), tfjs.mul(next, 1 - decay));
      meanSquare.assign(average(meanSquare, tfjs.square(gradient)));
      mean.assign(average(mean, gradient));
      const variance = tfjs.maximum(tfjs.sub(meanSquare, tfjs.square(mean)), 0);
      const change = tfjs.div(tfjs.mul(gradient, learningRate), tfjs.sqrt(tfjs.add(variance, epsilon)));
      moment.assign(tfjs.add(tfjs.mul(moment, momentum), change));
      value.assign(tfjs.sub(value, moment));
    });
  }
  optimizer.incrementIterations();
}

/** All that an optimizer holds. */
export function disposeOptimizer(optimizer: tf.Optimizer): void {
  optimizer.dispose();
  if (optimizer.getClassName() === 'Momentum') (optimizer as unknown as Momentum).c.dispose();
}

const mended = new WeakSet<Tf>();
/** Its power of β1 and its count are saved as they are: multiplied anew they could have other bits. */
export function mendAdamax(tfjs: Tf): void {
  if (mended.has(tfjs)) return;
  mended.add(tfjs);
  const { prototype } = tfjs.AdamaxOptimizer as unknown as { prototype: Pick<tf.Optimizer, 'getWeights' | 'setWeights'> & Adamax };

  prototype.getWeights = async function (this: Adamax) {
    const slots = [...this.accumulatedFirstMoment, ...this.accumulatedWeightedInfNorm];
    return [
      await this.saveIterations(),
      { name: 'iteration', tensor: this.iteration },
      { name: 'accBeta1', tensor: this.accBeta1 },
      ...slots.map(({ originalName, variable }) => ({ name: originalName, tensor: variable })),
    ];
  };

  prototype.setWeights = async function (this: Adamax, weights) {
    const [iteration, power, ...slots] = await this.extractIterations(weights);
    // Clones: it may be given its own variables, and assigning one to itself frees it.
    tfjs.tidy(() => {
      this.iteration.assign(tfjs.clone(iteration!.tensor));
      this.accBeta1.assign(tfjs.clone(power!.tensor));
    });
    const previous = [...this.accumulatedFirstMoment, ...this.accumulatedWeightedInfNorm];
    const made = slots.map(({ name, tensor }): Slot => ({ originalName: name, variable: tensor.variable(false) }));
    this.accumulatedFirstMoment = made.slice(0, made.length / 2);
    this.accumulatedWeightedInfNorm = made.slice(made.length / 2);
    for (const { variable } of previous) variable.dispose();
  };
}
