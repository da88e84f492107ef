/**
 * Nadam: T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop, Algorithm 2, with its schedule μ_t = β1·(1 − ½·0.96^(t/250)).
 *
 *   m̂ = μ_{t+1}·m_t / (1 − Π_{i≤t+1} μ_i) + (1 − μ_t)·g_t / (1 − Π_{i≤t} μ_i)
 *   θ_t = θ_{t−1} − α·m̂ / (√(v_t / (1 − β2^t)) + ε)
 *
 * As tf.keras has it (keras.optimizers.legacy.Nadam, schedule_decay 0.004 = 1/250; PyTorch's NAdam is the same), and unlike the paper: m_t is Adam's, with β1 in the place of μ_t, and v̂ has no
 * factor β2. (Keras 2.11 and later leave out the 250: their schedule has run its course after some 50 steps.)
 */
import { nadamWeights } from '../../parameter_server/nadam_schedule';
import { nextMoments, overRoot } from './moments';
import type { Rule } from './rule';

type NadamSettings = { learningRate: number; beta1: number; beta2: number; epsilon: number };

export const nadam: Rule<NadamSettings> = {
  className: 'Nadam',
  slots: ['m', 'v'],
  defaults: { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 },
  prepare(tfjs, settings, t) {
    const { learningRate, beta1, beta2, epsilon } = settings;
    const { ofMoment, ofGradient } = nadamWeights(beta1, t);
    return (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(tfjs, settings, gradient, m!, v!);
      const direction = tfjs.add(tfjs.mul(nextM, ofMoment), tfjs.mul(gradient, ofGradient));
      const change = overRoot(tfjs, direction, nextV, 1 - beta2 ** t, epsilon);
      return [tfjs.sub(value, tfjs.mul(change, learningRate)), nextM, nextV];
    };
  },
};
