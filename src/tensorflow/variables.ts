/**
 * Variables between ranks. Main thread. What has variables is recognised by its members, never by `instanceof` (layers of another copy of tfjs-layers are no instances of ours).
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { UsageError } from '../errors';
import { broadcastAsync, synchronize } from '../hvd';
import { size } from '../job';
import { checkCopies, type Tf } from './load';
import { dtypeOfTensor } from './tensors';

/** A layer's weight as `model.trainableWeights` lists it (tfjs-layers does not export the type). */
export interface LayerVariable {
  readonly name: string;
  read(): tf.Tensor;
  write(value: tf.Tensor): LayerVariable;
}
export type Variables = tf.Variable[] | LayerVariable[] | Record<string, tf.Variable> | LayersModel;

interface Writable {
  read(): tf.Tensor;
  write(value: tf.Tensor): void;
}

function listOf(variables: Variables): Writable[] {
  if (typeof variables !== 'object' || variables === null)
    throw new UsageError('broadcastVariables takes a model, or variables as a list or by name.');
  const isModel = 'weights' in variables && Array.isArray(variables.weights);
  const list: unknown[] = isModel ? (variables.weights as unknown[]) : Array.isArray(variables) ? variables : Object.values(variables);
  return list.map((variable, i) => {
    const one = variable as Partial<LayerVariable> & Partial<tf.Variable>;
    if (typeof one?.read === 'function' && typeof one.write === 'function')
      return { read: () => one.read!(), write: (value) => void one.write!(value) };
    if (typeof one?.assign === 'function') return { read: () => variable as tf.Tensor, write: (value) => one.assign!(value) };
    throw new UsageError(`broadcastVariables: entry ${i} is neither a tf.Variable nor a layer's weight.`);
  });
}

/**
 * Overwrites the variables (or a model's weights, trainable or not) on every rank with those of `rootRank`; float32, int32 and bool.
 * @throws UsageError it is nothing that has variables, or a dtype cannot travel; MismatchError the ranks' variables differ; PeerError a rank is gone
 */
export function broadcastVariables(variables: Variables, rootRank = 0): void {
  const list = listOf(variables);
  for (const variable of list) dtypeOfTensor(variable.read(), 'broadcastVariables');
  if (!Number.isInteger(rootRank) || rootRank < 0 || rootRank >= size())
    throw new UsageError(`broadcastVariables: rootRank is a rank from 0 to ${size() - 1}, but was ${String(rootRank)}.`);
  if (size() === 1) return;
  checkCopies();
  // By position: on a rank that loaded a checkpoint the names differ.
  const handles = list.map((variable) => broadcastAsync(variable.read(), rootRank));
  const values: tf.Tensor[] = [];
  try {
    for (const handle of handles) values.push(synchronize(handle));
    for (const [i, variable] of list.entries()) variable.write(values[i]!);
  } catch (error) {
    // What comes after the failed one is a tensor of nobody's as soon as it is there.
    for (const handle of handles.slice(values.length + 1)) handle.then((value) => value.dispose()).catch(() => undefined);
    throw error;
  } finally {
    for (const value of values) value.dispose();
  }
}

/** The variable of this process that has that name; undefined: there is none (any more). */
export function variableNamed(tfjs: Tf, name: string): tf.Variable | undefined {
  return (tfjs.engine() as unknown as { registeredVariables: Record<string, tf.Variable> }).registeredVariables[name];
}

/** What a tf.Variable, or a layer's weight, is in this process. @param what whose argument it is @throws UsageError it is neither, or is of no use (any more) */
export function variableOf(tfjs: Tf, one: unknown, what: string): tf.Variable {
  const given = one as Partial<LayerVariable> & Partial<tf.Variable>;
  const variable = (typeof given?.read === 'function' ? given.read() : one) as tf.Variable;
  if (typeof variable?.assign !== 'function')
    throw new UsageError(`${what} is something that is neither a tf.Variable nor a layer's weight.`);
  if (variableNamed(tfjs, variable.name) !== variable)
    throw new UsageError(`${what} is the variable '${variable.name}', which TensorFlow.js does not know. Was it disposed of?`);
  return variable;
}
