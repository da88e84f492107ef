/** The tfjs-layers model of a description. Main thread. */
import type * as Tensors from '@tensorflow/tfjs';
import type { Tf } from '../../tensorflow/load';
import { type Layer, layersOf, type Operation } from './graph';

interface TfjsLayer {
  apply(x: Tensors.SymbolicTensor | Tensors.SymbolicTensor[]): unknown;
  readonly weights: Array<{ originalName: string; trainable: boolean }>;
}

function tfjsLayer(tf: Tf, name: string, operation: Exclude<Operation, { kind: 'input' }>, nextSeed: () => number | undefined): TfjsLayer {
  const initializer = (stddev: number) => tf.initializers.truncatedNormal({ mean: 0, stddev, seed: nextSeed() });
  switch (operation.kind) {
    case 'zeroPadding':
      return tf.layers.zeroPadding2d({ name, padding: operation.padding });
    case 'convolution': {
      const { filters, window, strides, padding, hasBias, activation, stddev } = operation;
      const kernelInitializer = initializer(stddev);
      return tf.layers.conv2d({
        name,
        filters,
        kernelSize: [...window],
        strides,
        padding,
        useBias: hasBias,
        activation,
        kernelInitializer,
      });
    }
    case 'batchNormalization':
      return tf.layers.batchNormalization({ name, momentum: operation.momentum, epsilon: operation.epsilon });
    case 'relu':
      return tf.layers.activation({ name, activation: 'relu' });
    case 'maxPooling':
    case 'averagePooling': {
      const settings = { name, poolSize: operation.window, strides: operation.strides, padding: operation.padding };
      return operation.kind === 'maxPooling' ? tf.layers.maxPooling2d(settings) : tf.layers.averagePooling2d(settings);
    }
    case 'mean':
      return tf.layers.globalAveragePooling2d({ name });
    case 'flatten':
      return tf.layers.flatten({ name });
    case 'dense':
      return tf.layers.dense({
        name,
        units: operation.units,
        activation: operation.activation,
        kernelInitializer: initializer(operation.stddev),
      });
    case 'dropout':
      // A seed would give the same mask at every step.
      return tf.layers.dropout({ name, rate: operation.rate });
    case 'add':
      return tf.layers.add({ name });
    case 'concatenation':
      return tf.layers.concatenate({ name });
  }
}

/** @param seed the same weights for the same seed; undefined: others each time */
export function modelOf(tf: Tf, output: Layer, seed?: number): Tensors.LayersModel {
  let seeds = 0;
  const nextSeed = (): number | undefined => (seed === undefined ? undefined : seed * 1000 + seeds++);
  const outputs = new Map<Layer, Tensors.SymbolicTensor>();
  let images: Tensors.SymbolicTensor | undefined;
  for (const one of layersOf(output)) {
    if (one.operation.kind === 'input') {
      images = tf.input({ name: one.name, shape: [...one.shape] });
      outputs.set(one, images);
      continue;
    }
    const inputs = one.inputs.map((input) => outputs.get(input)!);
    const made = tfjsLayer(tf, one.name, one.operation, nextSeed);
    outputs.set(one, made.apply(inputs.length === 1 ? inputs[0]! : inputs) as Tensors.SymbolicTensor);
    // tfjs-layers cannot train batch normalisation that was made without γ: it has one that stays 1.
    if (one.operation.kind === 'batchNormalization' && !one.operation.hasGamma)
      for (const weight of made.weights) if (weight.originalName.endsWith('/gamma')) weight.trainable = false;
  }
  return tf.model({ inputs: images!, outputs: outputs.get(output)! });
}
