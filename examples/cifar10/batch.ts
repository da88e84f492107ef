/** Images as tensors for the network. */
import * as tf from '@tensorflow/tfjs';
import { CHANNELS, CLASSES, IMAGE_ELEMS, type Images, SIDE } from './data';

/** Images of these indices as the network takes them: about −1 … 1. */
export function batchOf(images: Images, order: Int32Array, from: number, count: number): { xs: tf.Tensor4D; ys: tf.Tensor2D } {
  const values = new Float32Array(count * IMAGE_ELEMS);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i += 1) {
    const image = order[from + i]!;
    for (let k = 0; k < IMAGE_ELEMS; k += 1) values[i * IMAGE_ELEMS + k] = images.pixels[image * IMAGE_ELEMS + k]! / 128 - 1;
    labels[i] = images.labels[image]!;
  }
  return tf.tidy(() => ({
    xs: tf.tensor4d(values, [count, SIDE, SIDE, CHANNELS]),
    ys: tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES).toFloat() as tf.Tensor2D,
  }));
}
