/**
 * What an optimizer carries from step to step, between ranks: iterations, slots, learning rate. Main thread.
 *
 * Slots are overwritten where they are: `setWeights` would make new variables beside the old ones, does not exist for every optimizer, and computes Adam's powers of beta anew, which gives
 * other bits than a rank has that came there by multiplying.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { MismatchError, UsageError } from '../errors';
import { rank } from '../job';
import { allgatherObject } from '../objects';
import { broadcastVariables } from './variables';

interface Inside {
  learningRate?: number;
  momentum?: number;
  setLearningRate?(rate: number): void;
  extractIterations(weights: Array<{ name: string; tensor: tf.Tensor }>): Promise<unknown>;
}
const isVariable = (value: unknown): value is tf.Variable =>
  typeof value === 'object' && value !== null && 'dataId' in value && typeof (value as { assign?: unknown }).assign === 'function';

/** In the order in which the optimizer's class makes them, which is the same on all ranks. */
async function stateOf(optimizer: tf.Optimizer): Promise<tf.Variable[]> {
  const found: tf.Variable[] = [];
  const add = (value: unknown): void => {
    if (isVariable(value) && !found.includes(value)) found.push(value);
  };
  for (const field of Object.values(optimizer)) {
    add(field);
    if (Array.isArray(field)) for (const slot of field) add((slot as { variable?: unknown } | null)?.variable);
  }
  // Optimizers of others may keep their slots otherwise, or have no getWeights.
  const weights = await optimizer.getWeights().catch(() => []);
  for (const { name, tensor } of weights) {
    add(tensor);
    if (name === 'iter') tensor.dispose();
  }
  return found;
}

/**
 * Makes the state of `rootRank` that of every rank. All ranks have taken a step (or none), so that they have the same slots.
 * @throws MismatchError they have not: names the two ranks
 */
export async function copyOptimizerState(
  tfjs: typeof import('@tensorflow/tfjs'),
  optimizer: tf.Optimizer,
  rootRank: number,
): Promise<void> {
  const inner = ((optimizer as { inner?: tf.Optimizer }).inner ?? optimizer) as tf.Optimizer & Inside;
  const state = await stateOf(inner);
  const own = { shapes: state.map(({ shape }) => shape.join()), iterations: inner.iterations, learningRate: inner.learningRate ?? null };
  const all = allgatherObject(own);
  const other = all.findIndex(({ shapes }) => JSON.stringify(shapes) !== JSON.stringify(all[rootRank]!.shapes));
  if (other >= 0)
    throw new MismatchError(
      `The optimizer's state cannot be copied from rank ${rootRank}: it has ${all[rootRank]!.shapes.length} variables there and ` +
        `${all[other]!.shapes.length} (or of other shapes) on rank ${other}. Use the same optimizer on every rank, and let each take its first step before.`,
      { peer: other },
    );
  broadcastVariables(state, rootRank);
  if (rank() === rootRank) return;
  const { iterations, learningRate } = all[rootRank]!;
  const count = tfjs.scalar(iterations, 'int32');
  await inner.extractIterations([{ name: 'iter', tensor: count }]);
  count.dispose();
  if (learningRate !== null && learningRate !== own.learningRate) setLearningRate(inner, learningRate);
}

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
