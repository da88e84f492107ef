/**
 * ResNet-50 (He et al., arXiv 1512.03385, version 1: the stride is in the first 1×1 convolution of a block) as tf_cnn_benchmarks builds it: convolutions before batch normalisation have no bias.
 * At 1001 classes 25,559,081 trainable parameters in 161 tensors.
 */
import * as tf from '@tensorflow/tfjs';

/** What the networks of this folder take. */
export interface ImageNetworkOptions {
  /** Height and width of the images, of 3 channels. */
  size?: number;
  classes?: number;
  /** Of the random weights; by default they differ each time. */
  seed?: number;
}

/** Blocks of a stage, and what their 3×3 convolutions put out; a block puts out four times as many. */
const stages = [
  { blocks: 3, width: 64 },
  { blocks: 4, width: 128 },
  { blocks: 6, width: 256 },
  { blocks: 3, width: 512 },
];
const EXPANSION = 4;

/** [batch, size, size, 3] → softmax over [batch, classes]. */
export function resnet50({ size = 224, classes = 1001, seed }: ImageNetworkOptions = {}): tf.LayersModel {
  let made = 0;
  const nextSeed = (): number | undefined => (seed === undefined ? undefined : seed * 1000 + made++);
  const normalise = (x: tf.SymbolicTensor, name: string) =>
    tf.layers.batchNormalization({ momentum: 0.9, epsilon: 1e-5, name: `${name}_bn` }).apply(x) as tf.SymbolicTensor;
  const relu = (x: tf.SymbolicTensor, name: string) =>
    tf.layers.activation({ activation: 'relu', name: `${name}_relu` }).apply(x) as tf.SymbolicTensor;
  const convolve = (
    x: tf.SymbolicTensor,
    name: string,
    filters: number,
    kernelSize: number,
    strides = 1,
    padding: 'same' | 'valid' = 'same',
  ) => {
    const kernelInitializer = tf.initializers.heNormal({ seed: nextSeed() });
    const convolution = tf.layers.conv2d({ filters, kernelSize, strides, padding, useBias: false, kernelInitializer, name });
    return normalise(convolution.apply(x) as tf.SymbolicTensor, name);
  };
  const block = (x: tf.SymbolicTensor, name: string, width: number, strides: number): tf.SymbolicTensor => {
    const filters = width * EXPANSION;
    const shortcut = x.shape[3] === filters ? x : convolve(x, `${name}_shortcut`, filters, 1, strides);
    let y = relu(convolve(x, `${name}_conv1`, width, 1, strides), `${name}_conv1`);
    y = relu(convolve(y, `${name}_conv2`, width, 3), `${name}_conv2`);
    y = convolve(y, `${name}_conv3`, filters, 1);
    return relu(tf.layers.add({ name: `${name}_add` }).apply([shortcut, y]) as tf.SymbolicTensor, name);
  };

  const input = tf.input({ shape: [size, size, 3] });
  // Padded the same on both sides; 'same' would put more behind the image than before it.
  let x = tf.layers.zeroPadding2d({ padding: 3 }).apply(input) as tf.SymbolicTensor;
  x = relu(convolve(x, 'stem', 64, 7, 2, 'valid'), 'stem');
  x = tf.layers.maxPooling2d({ poolSize: 3, strides: 2, padding: 'same', name: 'stem_pool' }).apply(x) as tf.SymbolicTensor;
  for (const [stage, { blocks, width }] of stages.entries())
    for (let i = 0; i < blocks; i += 1) x = block(x, `stage${stage + 1}_block${i + 1}`, width, i === 0 && stage > 0 ? 2 : 1);
  x = tf.layers.globalAveragePooling2d({ name: 'mean' }).apply(x) as tf.SymbolicTensor;
  const kernelInitializer = tf.initializers.glorotUniform({ seed: nextSeed() });
  const output = tf.layers
    .dense({ units: classes, activation: 'softmax', kernelInitializer, name: 'classes' })
    .apply(x) as tf.SymbolicTensor;
  return tf.model({ inputs: input, outputs: output });
}
