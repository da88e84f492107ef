/**
 * VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D) as tf_cnn_benchmarks builds it. At 1001 classes and 224×224 pixels 138,361,641 trainable parameters in 32 tensors:
 * 553 MB, of which three in four are the first dense layer's.
 */
import * as tf from '@tensorflow/tfjs';
import type { ImageNetworkOptions } from './resnet50';

/** The filters of each block's 3×3 convolutions; max pooling follows a block. */
const blocks = [
  [64, 64],
  [128, 128],
  [256, 256, 256],
  [512, 512, 512],
  [512, 512, 512],
];
const DENSE_UNITS = 4096;

/** [batch, size, size, 3] → softmax over [batch, classes]; the size is a multiple of 32. */
export function vgg16({ size = 224, classes = 1001, seed }: ImageNetworkOptions = {}): tf.Sequential {
  let made = 0;
  const nextSeed = (): number | undefined => (seed === undefined ? undefined : seed * 1000 + made++);
  const model = tf.sequential();
  for (const [i, block] of blocks.entries()) {
    for (const [j, filters] of block.entries()) {
      const kernelInitializer = tf.initializers.heNormal({ seed: nextSeed() });
      const inputShape = i + j === 0 ? [size, size, 3] : undefined;
      const name = `block${i + 1}_conv${j + 1}`;
      model.add(tf.layers.conv2d({ filters, kernelSize: 3, padding: 'same', activation: 'relu', kernelInitializer, inputShape, name }));
    }
    model.add(tf.layers.maxPooling2d({ poolSize: 2, name: `block${i + 1}_pool` }));
  }
  model.add(tf.layers.flatten());
  for (const name of ['dense1', 'dense2']) {
    const kernelInitializer = tf.initializers.glorotUniform({ seed: nextSeed() });
    model.add(tf.layers.dense({ units: DENSE_UNITS, activation: 'relu', kernelInitializer, name }));
    model.add(tf.layers.dropout({ rate: 0.5, seed: nextSeed() }));
  }
  const kernelInitializer = tf.initializers.glorotUniform({ seed: nextSeed() });
  model.add(tf.layers.dense({ units: classes, activation: 'softmax', kernelInitializer, name: 'classes' }));
  return model;
}
