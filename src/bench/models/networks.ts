/**
 * The networks of the study, by name: what each is, has and costs, and its model. The descriptions and all figures are pure; only `makeNetwork` needs TensorFlow.js.
 *
 * CIFAR-10's network is that of examples/cifar10: images of its size need none of this.
 */
import type { LayersModel } from '@tensorflow/tfjs';
import { UsageError } from '../../errors';
import { loadTf } from '../../tensorflow/load';
import { multiplyAdds as graphMultiplyAdds, type Layer, type VariableShape, variableShapes } from './graph';
import { inceptionV4 } from './inception_v4';
import { modelOf } from './layers';
import { resnet, resnet50Depths, resnet152Depths } from './resnet';
import { vgg, vgg16Depths, vgg19Depths } from './vgg';

export const networkNames = ['vgg16', 'vgg19', 'resnet50', 'resnet152', 'inception_v4'] as const;
export type NetworkName = (typeof networkNames)[number];

export interface Network {
  readonly name: NetworkName;
  /** As in print. */
  readonly title: string;
  /** Height and width of the images it was published with. */
  readonly size: number;
  /** The smallest images of which something is left at every layer. */
  readonly leastSize: number;
  readonly describe: (size: number, classes: number) => Layer;
}
export interface NetworkOptions {
  /** Height and width of the images, of 3 channels; by default those it was published with. */
  size?: number;
  /** 1001: ImageNet's, and one for what is none of them, as in tf_cnn_benchmarks. */
  classes?: number;
  /** Of the initial weights, an integer; by default they differ each time. Dropout always does. */
  seed?: number;
}
export const CLASSES = 1001;

/** Least sizes: VGG halves five times, and below 32 the strides of a ResNet find nothing to halve; of Inception-v4's 'valid' windows the last has 3 places at 75. */
const networks: Readonly<Record<NetworkName, Omit<Network, 'name'>>> = {
  vgg16: { title: 'VGG-16', size: 224, leastSize: 32, describe: (size, classes) => vgg(vgg16Depths, size, classes) },
  vgg19: { title: 'VGG-19', size: 224, leastSize: 32, describe: (size, classes) => vgg(vgg19Depths, size, classes) },
  resnet50: { title: 'ResNet-50', size: 224, leastSize: 32, describe: (size, classes) => resnet(resnet50Depths, size, classes) },
  resnet152: { title: 'ResNet-152', size: 224, leastSize: 32, describe: (size, classes) => resnet(resnet152Depths, size, classes) },
  inception_v4: { title: 'Inception-v4', size: 299, leastSize: 75, describe: inceptionV4 },
};

/** @throws UsageError there is none of that name */
export function findNetwork(name: string): Network {
  const found = networkNames.find((known) => known === name);
  if (!found) throw new UsageError(`There is no network '${name}'. There are ${networkNames.join(', ')}.`);
  return { name: found, ...networks[found] };
}

/** @throws UsageError there is none of that name; the images are too small, or a number is no integer > 0 */
export function describeNetwork(name: string, { size, classes = CLASSES }: Omit<NetworkOptions, 'seed'> = {}): Layer {
  const network = findNetwork(name);
  const side = size ?? network.size;
  if (!Number.isInteger(side) || side < network.leastSize)
    throw new UsageError(`${name} needs images of at least ${network.leastSize}×${network.leastSize} pixels, not ${side}.`);
  if (!Number.isInteger(classes) || classes < 2) throw new UsageError(`${name} needs 2 classes or more, not ${classes}.`);
  return network.describe(side, classes);
}

/** Names and shapes of the trainable variables, in the order of the model's; nothing is allocated. @throws UsageError as `describeNetwork` */
export const shapesOf = (name: string, options?: Omit<NetworkOptions, 'seed'>): VariableShape[] =>
  variableShapes(describeNetwork(name, options));

/** Multiply-adds of the forward pass of one image. @throws UsageError as `describeNetwork` */
export const multiplyAddsOf = (name: string, options?: Omit<NetworkOptions, 'seed'>): number =>
  graphMultiplyAdds(describeNetwork(name, options));

/** [batch, size, size, 3] → softmax over [batch, classes], initialised as in tf_cnn_benchmarks. @throws UsageError as `describeNetwork`; BackendError there is no TensorFlow.js */
export const makeNetwork = (name: string, { seed, ...options }: NetworkOptions = {}): LayersModel =>
  modelOf(loadTf(), describeNetwork(name, options), seed);
