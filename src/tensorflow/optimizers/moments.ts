/** Adam's moving averages (Kingma & Ba 2015, Algorithm 1), which Nadam, AdamW and LAMB share. */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../load';

export interface Betas {
  beta1: number;
  beta2: number;
  [name: string]: number;
}

/** m_t = β1·m + (1 − β1)·g and v_t = β2·v + (1 − β2)·g². */
export function nextMoments(tfjs: Tf, { beta1, beta2 }: Betas, gradient: tf.Tensor, m: tf.Tensor, v: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const next = (moment: tf.Tensor, value: tf.Tensor, beta: number) => tfjs.add(tfjs.mul(moment, beta), tfjs.mul(value, 1 - beta));
  return [next(m, gradient, beta1), next(v, tfjs.square(gradient), beta2)];
}

/** numerator / (√(v / correction) + ε). The correction, 1 − β2^t, is a float64: in float32 it has lost half its digits in the first steps. */
export function overRoot(tfjs: Tf, numerator: tf.Tensor, v: tf.Tensor, correction: number, epsilon: number): tf.Tensor {
  return tfjs.div(numerator, tfjs.add(tfjs.sqrt(tfjs.div(v, correction)), epsilon));
}
