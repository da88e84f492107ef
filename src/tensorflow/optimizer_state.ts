/**
 * What an optimizer of TensorFlow.js carries besides its slots, and where setting it takes more than an assignment. Main thread.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import type { Tf } from './load';

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

/** Adam's betas, each with the variable that holds its power; of another optimizer: none. */
function betasOf(optimizer: tf.Optimizer): Array<readonly [beta: number, power: tf.Variable]> {
  const { beta1, beta2, accBeta1, accBeta2 } = optimizer as unknown as Record<string, unknown>;
  if (optimizer.getClassName() !== 'Adam' || !isVariable(accBeta1) || !isVariable(accBeta2)) return [];
  return [
    [beta1 as number, accBeta1],
    [beta2 as number, accBeta2],
  ];
}

/** As a step multiplies it. */
function powerAfter(beta: number, steps: number): number {
  const factor = Math.fround(beta);
  let product = factor;
  for (let step = 0; step < steps; step += 1) product = Math.fround(product * factor);
  return product;
}

/**
 * Adam keeps powers of its betas, multiplied once a step in float32, but does not save them; loaded, they are computed by `pow` from the iterations, which gives other bits sooner or later,
 * and other powers where iterations are passes. Multiplied as often as the optimizer has stepped, they are what they were, and training resumes to the bit.
 */
export function restoreBetaPowers(tfjs: Tf, optimizer: tf.Optimizer, steps: number): void {
  for (const [beta, power] of betasOf(optimizer)) tfjs.tidy(() => power.assign(tfjs.scalar(powerAfter(beta, steps))));
}

interface Adamax {
  readonly beta1: number;
  readonly accBeta1: tf.Variable;
  readonly iteration: tf.Variable;
}

/** How often an optimizer of TensorFlow.js has stepped, as what it computes depends on: Adamax counts by itself. */
export function stepsOf(optimizer: tf.Optimizer): number {
  if (optimizer.getClassName() !== 'Adamax') return optimizer.iterations;
  return (optimizer as unknown as Adamax).iteration.dataSync()[0]!;
}

/** As if it had stepped so often, but for the slots. */
export function setSteps(tfjs: Tf, optimizer: tf.Optimizer, steps: number): void {
  setIterations(optimizer, steps);
  restoreBetaPowers(tfjs, optimizer, steps);
  if (optimizer.getClassName() !== 'Adamax') return;
  const { beta1, accBeta1, iteration } = optimizer as unknown as Adamax;
  tfjs.tidy(() => {
    iteration.assign(tfjs.scalar(steps));
    accBeta1.assign(tfjs.scalar(powerAfter(beta1, steps)));
  });
}

/** What its own `extractIterations` does, which waits for a tensor. */
export function setIterations(optimizer: tf.Optimizer, iterations: number): void {
  (optimizer as unknown as { iterations_: number }).iterations_ = iterations;
}

/** Whether Adam's powers come from as many steps as it has iterations, not from loading. Of few steps (up to 17 with the default betas) it cannot always be told, since `pow` gives the same bits: false. */
export function hasMultipliedBetaPowers(tfjs: Tf, optimizer: tf.Optimizer): boolean {
  const { iterations } = optimizer;
  const betas = betasOf(optimizer);
  const areAll = (of: (beta: number) => number): boolean => betas.every(([beta, power]) => power.dataSync()[0] === of(beta));
  const loaded = (beta: number): number => tfjs.tidy(() => tfjs.pow(beta, iterations + 1).dataSync()[0]!);
  return iterations > 0 && areAll((beta) => powerAfter(beta, iterations)) && !areAll(loaded);
}

/** The tensor, of the same shape, becomes the variable's value and is no longer the caller's. */
export function giveTo(variable: tf.Variable, tensor: tf.Tensor): void {
  // Assigned to itself it would be freed.
  if (tensor === variable) return;
  variable.assign(tensor);
  tensor.dispose();
}
