/**
 * LAMB: Y. You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", ICLR 2020, Algorithm 2, with bias correction and φ(z) = z. A layer is a variable.
 *
 *   r_t = m̂_t / (√v̂_t + ε),   x_{t+1} = x_t − η·(‖x_t‖ / ‖r_t + λ·x_t‖)·(r_t + λ·x_t)
 *
 * η is the learning rate, λ the weight decay. The quotient of norms is 1 where one is zero, as in Keras and in the authors' implementation.
 */
import { nextMoments, overRoot } from './moments';
import { norm, orOne } from './norms';
import type { Rule } from './rule';

type LambSettings = { learningRate: number; beta1: number; beta2: number; epsilon: number; weightDecay: number };

export const lamb: Rule<LambSettings> = {
  className: 'Lamb',
  slots: ['m', 'v'],
  defaults: { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-6, weightDecay: 0.01 },
  prepare(tfjs, settings, t) {
    const { learningRate, beta1, beta2, epsilon, weightDecay } = settings;
    return (value, gradient, m, v) => {
      const [nextM, nextV] = nextMoments(tfjs, settings, gradient, m!, v!);
      const adam = overRoot(tfjs, tfjs.div(nextM, 1 - beta1 ** t), nextV, 1 - beta2 ** t, epsilon);
      const direction = tfjs.add(adam, tfjs.mul(value, weightDecay));
      const [ofValue, ofDirection] = [norm(tfjs, value), norm(tfjs, direction)];
      const ratio = orOne(tfjs, tfjs.div(ofValue, ofDirection), ofValue, ofDirection);
      return [tfjs.sub(value, tfjs.mul(direction, tfjs.mul(ratio, learningRate))), nextM, nextV];
    };
  },
};
