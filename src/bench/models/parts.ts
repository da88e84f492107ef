/**
 * What the networks of the study are made of, as tf_cnn_benchmarks (convnet_builder.py) makes it. Pure.
 *
 * Initial values, as there: a convolution's kernel is drawn from a normal distribution cut at two standard deviations, whose variance is then 1 / fan-in; a dense layer's from one of standard deviation
 * √(2 / inputs) before a ReLU and √(1 / inputs) otherwise, of which the cut takes a part; biases and β are 0, γ is 1.
 */
import { type Activation, type Layer, layer, type Operation, type Padding } from './graph';

/** Standard deviation of a unit normal distribution that is cut at 2. */
const CUT_STDDEV = 0.87962566103423978;

export interface Convolution {
  filters: number;
  /** Height and width; one number: both. */
  window: number | readonly [number, number];
  strides?: number;
  padding?: Padding;
}

const convolution = (x: Layer, { filters, window, strides = 1, padding = 'same' }: Convolution, isLast: boolean): Operation => {
  const [rows, columns] = typeof window === 'number' ? [window, window] : window;
  const stddev = Math.sqrt(1 / (rows * columns * x.shape[2]!)) / CUT_STDDEV;
  const activation = isLast ? 'relu' : undefined;
  return { kind: 'convolution', filters, window: [rows, columns], strides, padding, hasBias: isLast, activation, stddev };
};

/** With bias and ReLU, no batch normalisation. */
export const biasedConvolution = (name: string, x: Layer, settings: Convolution): Layer => layer(name, convolution(x, settings, true), x);

export interface Normalization {
  momentum: number;
  epsilon: number;
  hasGamma: boolean;
}
/** Without bias, and batch normalisation (`NAME_bn`). */
export const normalizedConvolution = (name: string, x: Layer, settings: Convolution, normalization: Normalization): Layer =>
  layer(`${name}_bn`, { kind: 'batchNormalization', ...normalization }, layer(name, convolution(x, settings, false), x));

export const relu = (name: string, x: Layer): Layer => layer(name, { kind: 'relu' }, x);
export const add = (name: string, ...inputs: Layer[]): Layer => layer(name, { kind: 'add' }, ...inputs);
export const concatenate = (name: string, ...inputs: Layer[]): Layer => layer(name, { kind: 'concatenation' }, ...inputs);
export const dropout = (name: string, x: Layer, rate: number): Layer => layer(name, { kind: 'dropout', rate }, x);
export const mean = (x: Layer): Layer => layer('mean', { kind: 'mean' }, x);
export const pad = (name: string, x: Layer, padding: number): Layer => layer(name, { kind: 'zeroPadding', padding }, x);
export const maxPool = (name: string, x: Layer, window: number, strides: number, padding: Padding = 'valid'): Layer =>
  layer(name, { kind: 'maxPooling', window, strides, padding }, x);
export const averagePool = (name: string, x: Layer, window: number): Layer =>
  layer(name, { kind: 'averagePooling', window, strides: 1, padding: 'same' }, x);

export function dense(name: string, x: Layer, units: number, activation: Activation): Layer {
  const stddev = Math.sqrt((activation === 'relu' ? 2 : 1) / x.shape[0]!);
  return layer(name, { kind: 'dense', units, activation, stddev }, x);
}
/** The last layer: a softmax over the classes. */
export const classify = (x: Layer, classes: number): Layer => dense('classes', x, classes, 'softmax');
