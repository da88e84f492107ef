/**
 * What an optimizer of TensorFlow.js carries besides its slots, and where setting it takes more than an assignment. Main thread.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';

interface Inside {
  learningRate?: number;
  momentum?: number;
  setLearningRate?(rate: number): void;
}
export const isVariable = (value: unknown): value is tf.Variable =>
  typeof value === 'object' && value !== null && 'dataId' in value && typeof (value as { assign?: unknown }).assign === 'function';

/** SGD and momentum bake the rate into a tensor; the others read the property in every step. */
export function setLearningRate(optimizer: tf.Optimizer, rate: number): void {
  const inside = optimizer as tf.Optimizer & Inside;
  if (inside.setLearningRate) inside.setLearningRate(rate);
  else inside.learningRate = rate;
}

/** @throws UsageError the optimizer has none */
export function setMomentum(optimizer: tf.Optimizer, momentum: number): void {
  const inside = optimizer as tf.Optimizer & Inside;
  if (typeof inside.momentum !== 'number') throw new UsageError(`setMomentum: ${optimizer.getClassName()} has no momentum.`);
  inside.momentum = momentum;
}

/**
 * Adam keeps powers of its betas, multiplied once a step in float32, but does not save them; loaded, they are computed by `pow`, which gives other bits from the third step on. Multiplied
 * as often as the optimizer has stepped, they are what they were, and training resumes to the bit.
 */
export function restoreBetaPowers(tfjs: typeof import('@tensorflow/tfjs'), optimizer: tf.Optimizer): void {
  const { beta1, beta2, accBeta1, accBeta2 } = optimizer as unknown as Record<string, unknown>;
  if (optimizer.getClassName() !== 'Adam' || !isVariable(accBeta1) || !isVariable(accBeta2)) return;
  for (const [beta, power] of [[beta1, accBeta1] as const, [beta2, accBeta2] as const]) {
    const factor = Math.fround(beta as number);
    let product = factor;
    for (let step = 0; step < optimizer.iterations; step += 1) product = Math.fround(product * factor);
    tfjs.tidy(() => power.assign(tfjs.scalar(product)));
  }
}
