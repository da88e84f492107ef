/**
 * `hvd.train`: the optimizers that TensorFlow.js lacks. Main thread. Their classes are made, for the user's copy of TensorFlow.js, when first asked for, and registered there, so that saved
 * models that name them load.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { loadTf, type Tf } from './load';
import { mendAdamax } from './mends';
import { adamw } from './optimizers/adamw';
import { lamb } from './optimizers/lamb';
import { lars } from './optimizers/lars';
import { nadam } from './optimizers/nadam';
import { optimizerClass, type Rule, type RuleOptimizer } from './optimizers/rule';

const rules = { nadam, adamw, lars, lamb } as unknown as Record<'nadam' | 'adamw' | 'lars' | 'lamb', Rule>;
type Name = keyof typeof rules;
const made = new WeakMap<Tf, Record<Name, RuleOptimizer>>();

/** From then on models that were saved with any optimizer load: called wherever TensorFlow.js comes in. */
export function prepareOptimizers(tfjs: Tf): void {
  registerOptimizers(tfjs);
  mendAdamax(tfjs);
}

function registerOptimizers(tfjs: Tf): Record<Name, RuleOptimizer> {
  const existing = made.get(tfjs);
  if (existing) return existing;
  const classes = {} as Record<Name, RuleOptimizer>;
  for (const [name, rule] of Object.entries(rules) as Array<[Name, Rule]>) {
    classes[name] = optimizerClass(tfjs, rule);
    tfjs.serialization.registerClass(classes[name] as unknown as tf.serialization.SerializableConstructor<tf.serialization.Serializable>);
  }
  made.set(tfjs, classes);
  return classes;
}

/** @throws UsageError an argument is wrong; BackendError TensorFlow.js is not installed, or twice in this process */
function make(name: Name, values: ReadonlyArray<number | undefined>): tf.Optimizer {
  const settings = Object.fromEntries(Object.keys(rules[name].defaults).map((key, i) => [key, values[i]]));
  return new (registerOptimizers(loadTf())[name])(settings);
}

/**
 * Adam with Nesterov momentum (Dozat 2016, Algorithm 2), with the momentum schedule of the paper, which tf.keras (`legacy.Nadam`) and PyTorch have too. Defaults are those of Keras.
 * @throws UsageError an argument is out of range; BackendError TensorFlow.js is not installed, or twice in this process
 */
function makeNadam(learningRate?: number, beta1?: number, beta2?: number, epsilon?: number): tf.Optimizer {
  return make('nadam', [learningRate, beta1, beta2, epsilon]);
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2): every step takes learningRate · weightDecay of a variable from it. Defaults are those of Keras, its decay 0.004 too.
 * @throws UsageError an argument is out of range; BackendError TensorFlow.js is not installed, or twice in this process
 */
function makeAdamw(learningRate?: number, beta1?: number, beta2?: number, epsilon?: number, weightDecay?: number): tf.Optimizer {
  return make('adamw', [learningRate, beta1, beta2, epsilon, weightDecay]);
}

/**
 * Momentum SGD whose rate is scaled, for each variable, by ‖w‖ / (‖g‖ + weightDecay · ‖w‖) · trustCoefficient (You, Gitman & Ginsburg 2017, equation 6 and Algorithm 1): for large batches.
 * Its rates are larger than those of SGD by about 1 / trustCoefficient; a variable that is all zeros takes its first step with the bare rate. Defaults: momentum 0.9, weightDecay 0.0001,
 * trustCoefficient 0.001; there are none of Keras, which has no LARS, and none for the learning rate.
 * @throws UsageError an argument is missing or out of range; BackendError TensorFlow.js is not installed, or twice in this process
 */
function makeLars(learningRate: number, momentum?: number, weightDecay?: number, trustCoefficient?: number): tf.Optimizer {
  return make('lars', [learningRate, momentum, weightDecay, trustCoefficient]);
}

/**
 * Adam whose step is scaled, for each variable, to learningRate · ‖variable‖ (You et al. 2020, Algorithm 2, with bias correction): for large batches. Defaults are those of Keras, but epsilon
 * 1e-6 and weightDecay 0.01 as in the paper's experiments (Keras: 1e-7 and none).
 * @throws UsageError an argument is out of range; BackendError TensorFlow.js is not installed, or twice in this process
 */
function makeLamb(learningRate?: number, beta1?: number, beta2?: number, epsilon?: number, weightDecay?: number): tf.Optimizer {
  return make('lamb', [learningRate, beta1, beta2, epsilon, weightDecay]);
}

/**
 * Optimizers TensorFlow.js lacks, for `model.compile`, bare loops and DistributedOptimizer. A variable without gradient is left alone. Each saves, loads and resumes to the bit; to load a
 * model that was saved with one, call `hvd.selectBackend()` (or any of these) before `tf.loadLayersModel`.
 * @namespace
 */
export const train = { nadam: makeNadam, adamw: makeAdamw, lars: makeLars, lamb: makeLamb };
