/**
 * A network as a description: layers with their inputs and output shapes, and from these the shapes of its variables and its multiply-adds. Pure: neither TensorFlow.js nor a variable is needed to
 * know what a network has, so the 575 MB of VGG-19 can be planned for without being allocated. `layers.ts` makes the model of a description.
 *
 * Shapes are without the batch: [height, width, channels] or [units].
 */
import { BugError, UsageError } from '../../errors';

export type Padding = 'same' | 'valid';
export type Activation = 'relu' | 'softmax' | undefined;

/** What a layer does; sizes of windows are [height, width]. Normal: standard deviation of the kernel's truncated normal distribution. */
export type Operation =
  | { kind: 'input' }
  | { kind: 'zeroPadding'; padding: number }
  | {
      kind: 'convolution';
      filters: number;
      window: readonly [number, number];
      strides: number;
      padding: Padding;
      hasBias: boolean;
      activation: Activation;
      stddev: number;
    }
  | { kind: 'batchNormalization'; momentum: number; epsilon: number; hasGamma: boolean }
  | { kind: 'relu' }
  | { kind: 'maxPooling' | 'averagePooling'; window: number; strides: number; padding: Padding }
  | { kind: 'mean' }
  | { kind: 'flatten' }
  | { kind: 'dense'; units: number; activation: Activation; stddev: number }
  | { kind: 'dropout'; rate: number }
  | { kind: 'add' }
  | { kind: 'concatenation' };

export interface Layer {
  readonly name: string;
  readonly operation: Operation;
  readonly inputs: readonly Layer[];
  /** Of its output. */
  readonly shape: readonly number[];
}

/** A trainable variable. */
export interface VariableShape {
  /** `layer/kernel`, `/bias`, `/gamma` or `/beta`, as tfjs-layers names it. */
  readonly name: string;
  readonly shape: readonly number[];
}

const product = (factors: readonly number[]): number => factors.reduce((all, factor) => all * factor, 1);

function windowed(layer: string, length: number, window: number, strides: number, padding: Padding): number {
  const places = padding === 'same' ? Math.ceil(length / strides) : Math.floor((length - window) / strides) + 1;
  if (places < 1) throw new UsageError(`The images are too small for the network: of ${length} places nothing is left at ${layer}.`);
  return places;
}

/** @throws UsageError nothing would be left of the image */
function outputShape(name: string, operation: Operation, inputs: readonly Layer[]): readonly number[] {
  const [first] = inputs;
  if (!first) throw new BugError(`The layer ${name} has no input.`);
  const [height = 1, width = 1, channels = 1] = first.shape;
  switch (operation.kind) {
    case 'zeroPadding':
      return [height + 2 * operation.padding, width + 2 * operation.padding, channels];
    case 'convolution': {
      const { filters, strides, padding } = operation;
      const [rows, columns] = operation.window;
      return [windowed(name, height, rows, strides, padding), windowed(name, width, columns, strides, padding), filters];
    }
    case 'maxPooling':
    case 'averagePooling': {
      const { window, strides, padding } = operation;
      return [windowed(name, height, window, strides, padding), windowed(name, width, window, strides, padding), channels];
    }
    case 'mean':
      return [channels];
    case 'flatten':
      return [product(first.shape)];
    case 'dense':
      return [operation.units];
    case 'add':
      if (inputs.some(({ shape }) => String(shape) !== String(first.shape))) throw new BugError(`The inputs of ${name} differ in shape.`);
      return first.shape;
    case 'concatenation':
      if (inputs.some(({ shape }) => shape[0] !== height || shape[1] !== width))
        throw new BugError(`The inputs of ${name} differ in size.`);
      return [height, width, inputs.reduce((sum, { shape }) => sum + shape[2]!, 0)];
    default:
      return first.shape;
  }
}

export const inputOf = (size: number): Layer => ({ name: 'images', operation: { kind: 'input' }, inputs: [], shape: [size, size, 3] });

/** @throws UsageError nothing would be left of the image */
export const layer = (name: string, operation: Operation, ...inputs: readonly Layer[]): Layer => ({
  name,
  operation,
  inputs,
  shape: outputShape(name, operation, inputs),
});

/** All layers that an output needs, each after its inputs. */
export function layersOf(output: Layer): Layer[] {
  const found = new Set<Layer>();
  const visit = (one: Layer): void => {
    if (found.has(one)) return;
    for (const input of one.inputs) visit(input);
    found.add(one);
  };
  visit(output);
  return [...found];
}

/**
 * The layers in the order of a tfjs-layers model, which is that of its variables: those farthest from the output first (on the longest way), of equally far ones that which a walk from the output back,
 * inputs in order, meets first.
 */
export function layersInModelOrder(output: Layer): Layer[] {
  const depths = new Map<Layer, number>();
  for (const one of layersOf(output).reverse())
    for (const input of one.inputs) depths.set(input, Math.max(depths.get(input) ?? 0, (depths.get(one) ?? 0) + 1));
  const met = new Set<Layer>();
  const walk = (one: Layer): void => {
    if (met.has(one)) return;
    met.add(one);
    for (const input of one.inputs) walk(input);
  };
  walk(output);
  return [...met].sort((a, b) => (depths.get(b) ?? 0) - (depths.get(a) ?? 0));
}

function variablesOf({ name, operation, inputs, shape }: Layer): VariableShape[] {
  const channels = shape.at(-1)!;
  const before = inputs[0]?.shape.at(-1) ?? 0;
  switch (operation.kind) {
    case 'convolution': {
      const kernel = { name: `${name}/kernel`, shape: [...operation.window, before, channels] };
      return operation.hasBias ? [kernel, { name: `${name}/bias`, shape: [channels] }] : [kernel];
    }
    case 'dense':
      return [
        { name: `${name}/kernel`, shape: [before, channels] },
        { name: `${name}/bias`, shape: [channels] },
      ];
    case 'batchNormalization': {
      const beta = { name: `${name}/beta`, shape: [channels] };
      return operation.hasGamma ? [{ name: `${name}/gamma`, shape: [channels] }, beta] : [beta];
    }
    default:
      return [];
  }
}

/** The trainable variables, in the order of the model's. */
export const variableShapes = (output: Layer): VariableShape[] => layersInModelOrder(output).flatMap(variablesOf);

/** Numbers in all trainable variables. */
export const parameterCount = (variables: readonly VariableShape[]): number =>
  variables.reduce((sum, { shape }) => sum + product(shape), 0);

/** Multiplications that a layer adds up for one image: those of convolutions and dense layers, as the tables of the literature count. */
export function layerMultiplyAdds({ operation, inputs, shape }: Layer): number {
  const before = inputs[0]?.shape.at(-1) ?? 0;
  if (operation.kind === 'convolution') return product(shape) * product(operation.window) * before;
  if (operation.kind === 'dense') return product(shape) * before;
  return 0;
}

/** Multiply-adds of the forward pass of one image. */
export const multiplyAdds = (output: Layer): number => layersOf(output).reduce((sum, one) => sum + layerMultiplyAdds(one), 0);
