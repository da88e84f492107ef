/**
 * Sets an optimizer's learning rate and, for the batch in which it changes, its momentum. Main thread.
 *
 * Momentum correction (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 3): a velocity that holds the rate (v ← m·v + rate·g, w ← w − v) is multiplied by new rate / old rate when the
 * rate changes, which is done by a momentum of m · new / old for one batch. Invariant: `restoreMomentum` gives back what was there before the first correction, however many callbacks corrected.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../../errors';
import { setLearningRate, setMomentum } from '../optimizer_state';

interface Settable {
  learningRate?: unknown;
  momentum?: unknown;
}
const uncorrected = new WeakMap<tf.Optimizer, number>();

/** @throws UsageError the optimizer has none */
export function rateOf(optimizer: tf.Optimizer, what: string): number {
  const { learningRate } = optimizer as tf.Optimizer & Settable;
  if (typeof learningRate !== 'number')
    throw new UsageError(`${what}: ${optimizer.getClassName()} has no learning rate. Use an optimizer that has one.`);
  return learningRate;
}

/** How the momentum must be multiplied at the next batch: new rate / old rate; 1 where there is no old one. */
export function changeRate(optimizer: tf.Optimizer, rate: number, what: string): number {
  const old = rateOf(optimizer, what);
  setLearningRate(optimizer, rate);
  return old > 0 ? rate / old : 1;
}

/**
 * Whether its velocity holds the rate. That of tf.train.momentum does not (u ← m·u + g, w ← w − rate·u; the paper's equation 9, which needs no correction): it is right as it is. RMSProp's and
 * LARS' do, and other optimizers are taken to be like those of Keras, which do.
 */
export const isRateInVelocity = (optimizer: tf.Optimizer): boolean => optimizer.getClassName() !== 'Momentum';

/** Without effect on an optimizer that has no momentum. */
export function correctMomentum(optimizer: tf.Optimizer, factor: number): void {
  const { momentum } = optimizer as tf.Optimizer & Settable;
  if (factor === 1 || typeof momentum !== 'number' || momentum === 0) return;
  if (!uncorrected.has(optimizer)) uncorrected.set(optimizer, momentum);
  setMomentum(optimizer, momentum * factor);
}

export function restoreMomentum(optimizer: tf.Optimizer): void {
  const momentum = uncorrected.get(optimizer);
  if (momentum === undefined) return;
  uncorrected.delete(optimizer);
  setMomentum(optimizer, momentum);
}
