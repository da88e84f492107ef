/**
 * LARS: Y. You, I. Gitman, B. Ginsburg, "Large Batch Training of Convolutional Networks", 2017, equation (6) and Algorithm 1. A layer is a variable.
 *
 *   λ = η·‖w‖ / (‖g‖ + β·‖w‖)                                  (6)
 *   v_{t+1} = m·v_t + γ·λ·(g + β·w_t),   w_{t+1} = w_t − v_{t+1}   (Algorithm 1)
 *
 * γ is the learning rate, m the momentum, β the weight decay, η the trust coefficient; Algorithm 1's polynomial decay of γ is the caller's. λ is 1 where ‖w‖ or ‖g‖ is zero, as in the authors'
 * and TensorFlow's implementations.
 */
import { norm, orOne } from './norms';
import type { Rule } from './rule';

type LarsSettings = { learningRate: number; momentum: number; weightDecay: number; trustCoefficient: number };

export const lars: Rule<LarsSettings> = {
  className: 'LARS',
  slots: ['momentum'],
  defaults: { learningRate: undefined, momentum: 0.9, weightDecay: 0.0001, trustCoefficient: 0.001 },
  prepare(tfjs, { learningRate, momentum, weightDecay, trustCoefficient }) {
    return (value, gradient, velocity) => {
      const [ofValue, ofGradient] = [norm(tfjs, value), norm(tfjs, gradient)];
      const ratio = tfjs.div(tfjs.mul(ofValue, trustCoefficient), tfjs.add(ofGradient, tfjs.mul(ofValue, weightDecay)));
      const rate = tfjs.mul(orOne(tfjs, ratio, ofValue, ofGradient), learningRate);
      const step = tfjs.mul(tfjs.add(gradient, tfjs.mul(value, weightDecay)), rate);
      const next = tfjs.add(tfjs.mul(velocity!, momentum), step);
      return [tfjs.sub(value, next), next];
    };
  },
};
