/** The optimizers that N ranks are compared with one by, at rates with which the small network learns something in 20 steps and rounding stays small. */
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';

/** Those whose rules parameter servers know. */
export const elementwiseOptimizers: Record<string, () => tf.Optimizer> = {
  SGD: () => tf.train.sgd(0.05),
  momentum: () => tf.train.momentum(0.02, 0.9),
  Nesterov: () => tf.train.momentum(0.02, 0.9, true),
  RMSProp: () => tf.train.rmsprop(0.002),
  Adam: () => tf.train.adam(0.002),
  Adamax: () => tf.train.adamax(0.002),
  Adagrad: () => tf.train.adagrad(0.02),
  // At 0.5 its steps grow so large that a rounding error decides where a maximum lies (4 ranks: 7e-6 apart, a step later 5e-3).
  Adadelta: () => tf.train.adadelta(0.2),
  Nadam: () => hvd.train.nadam(0.002),
  AdamW: () => hvd.train.adamw(0.002),
};
