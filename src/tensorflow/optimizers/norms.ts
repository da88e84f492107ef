/** Norms of whole layers, for the rules that scale a step by them (LARS, LAMB). They stay on the backend: no value is read. */
import type * as tf from '@tensorflow/tfjs-core';
import type { Tf } from '../load';

/**
 * The Euclidean norm, a scalar. Axis by axis from the last on: the wasm backend adds up in one float32, which stands still at 2^24 equal terms, and a dense layer of VGG16 has six times as
 * many.
 */
export function norm(tfjs: Tf, x: tf.Tensor): tf.Tensor {
  let sum: tf.Tensor = tfjs.square(x);
  while (sum.rank > 0) sum = tfjs.sum(sum, sum.rank - 1);
  return tfjs.sqrt(sum);
}

/** `ratio`, but 1 where a norm is zero: the layer then steps as without scaling (a bias that begins at zero would never move). */
export function orOne(tfjs: Tf, ratio: tf.Tensor, ...norms: readonly [tf.Tensor, tf.Tensor]): tf.Tensor {
  return tfjs.where(tfjs.greater(tfjs.minimum(...norms), 0), ratio, tfjs.onesLike(ratio));
}
