/**
 * Nadam: T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop, Algorithm 2, with its schedule μ_t = β1·(1 − ½·0.96^(t/250)).
 *
 *   m̂ = μ_{t+1}·m_t / (1 − Π_{i≤t+1} μ_i) + (1 − μ_t)·g_t / (1 − Π_{i≤t} μ_i)
 *   θ_t = θ_{t−1} − α·m̂ / (√(v_t / (1 − β2^t)) + ε)
 *
 * As tf.keras has it (keras.optimizers.legacy.Nadam, schedule_decay 0.004 = 1/250; PyTorch's NAdam is the same), and unlike the paper: m_t is Adam's, with β1 in the place of μ_t, and v̂ has no
 * factor β2. (Keras 2.11 and later leave out the 250: their schedule has run its course after some 50 steps.)
 */
import { nextMoments, overRoot } from './moments';
import type { Rule } from './rule';

const SCHEDULE = 1 / 250;

type NadamSettings = { learningRate: number; beta1: number; beta2: number; epsilon: number };

const momentumAt = (beta1: number, t: number): number => beta1 * (1 - 0.5 * 0.96 ** (t * SCHEDULE));
/** Multiplied from the first step on, always in this order: the bits do not depend on where training was resumed. */
function productUntil(beta1: number, t: number): number {
  let product = 1;
  for (let i = 1; i <= t; i += 1) {
    product *= momentumAt(beta1, i);
    // Of no weight beside 1 any more, and below it in every later step: no need to go on.
    if (product < Number.EPSILON / 4) return 0;
  }
  return product;
}

export const nadam: Rule<NadamSettings> = {
  className: 'Nadam',
  slots: ['m', 'v'],
  defaults: { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
  prepare(tfjs, settings, t) {
    const { learningRate, beta1, beta2, epsilon } = settings;
    const [momentum, next] = [momentumAt(beta1, t), momentumAt(beta1, t + 1)];
    const product = productUntil(beta1, t);
    const ofMoment = next / (1 - product * next);
    const ofGradient = (1 - momentum) / (1 - product);
    return (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(tfjs, settings, gradient, m!, v!);
      const direction = tfjs.add(tfjs.mul(nextM, ofMoment), tfjs.mul(gradient, ofGradient));
      const change = overRoot(tfjs, direction, nextV, 1 - beta2 ** t, epsilon);
      return [tfjs.sub(value, tfjs.mul(change, learningRate)), nextM, nextV];
    };
  },
};
