/** The study's network: three 3×3 convolutions with ReLU, max pooling after each, dropout before the output. 122,570 parameters. */
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import { CHANNELS, CLASSES, SIDE } from './data';

export function cifarNetwork(seed: number): tf.Sequential {
  const kernelInitializer = (n: number) => tf.initializers.heNormal({ seed: seed * 10 + n });
  const convolution = (filters: number, n: number, inputShape?: number[]) =>
    tf.layers.conv2d({ filters, kernelSize: 3, padding: 'same', activation: 'relu', kernelInitializer: kernelInitializer(n), inputShape });
  return tf.sequential({
    layers: [
      convolution(32, 1, [SIDE, SIDE, CHANNELS]),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      convolution(64, 2),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      convolution(64, 3),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 64, activation: 'relu', kernelInitializer: kernelInitializer(4) }),
      tf.layers.dropout({ rate: 0.25 }),
      tf.layers.dense({ units: CLASSES, activation: 'softmax', kernelInitializer: tf.initializers.glorotUniform({ seed: seed * 10 + 5 }) }),
    ],
  });
}

/** Name → optimizer with the learning rate that is used when none is given. */
export const optimizers: Record<string, { lr: number; make: (lr: number) => tf.Optimizer }> = {
  sgd: { lr: 0.05, make: (lr) => tf.train.sgd(lr) },
  momentum: { lr: 0.01, make: (lr) => tf.train.momentum(lr, 0.9) },
  nesterov: { lr: 0.01, make: (lr) => tf.train.momentum(lr, 0.9, true) },
  rmsprop: { lr: 0.001, make: (lr) => tf.train.rmsprop(lr) },
  adam: { lr: 0.001, make: (lr) => tf.train.adam(lr) },
  adagrad: { lr: 0.01, make: (lr) => tf.train.adagrad(lr) },
  nadam: { lr: 0.001, make: (lr) => hvd.train.nadam(lr) },
};
