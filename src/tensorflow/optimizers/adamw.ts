/**
 * AdamW: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2 (line 12).
 *
 *   θ_t = θ_{t−1} − α·(m̂_t / (√v̂_t + ε) + w·θ_{t−1})
 *
 * As Keras and PyTorch have it, the decay is multiplied by the learning rate: the paper's λ is α·w, and α stands for its η_t·α, schedule included. Every variable that has a gradient decays.
 */
import { nextMoments, overRoot } from './moments';
import type { Rule } from './rule';

type AdamWSettings = { learningRate: number; beta1: number; beta2: number; epsilon: number; weightDecay: number };

export const adamw: Rule<AdamWSettings> = {
  className: 'AdamW',
  slots: ['m', 'v'],
  defaults: { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0.004 },
  prepare(tfjs, settings, t) {
    const { learningRate, beta1, beta2, epsilon, weightDecay } = settings;
    return (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(tfjs, settings, gradient, m!, v!);
      const change = overRoot(tfjs, tfjs.div(nextM, 1 - beta1 ** t), nextV, 1 - beta2 ** t, epsilon);
      const decayed = tfjs.add(change, tfjs.mul(value, weightDecay));
      return [tfjs.sub(value, tfjs.mul(decayed, learningRate)), nextM, nextV];
    };
  },
};
