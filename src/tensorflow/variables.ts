/**
 * Variables between ranks. Main thread. What has variables is recognised by its members, never by `instanceof` (layers of another copy of tfjs-layers are no instances of ours).
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { UsageError } from '../errors';
import { broadcastAsync, synchronize } from '../hvd';
import { size } from '../job';

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

/** Overwrites the variables (or a model's weights, trainable or not) on every rank with those of `rootRank`. */
export function broadcastVariables(variables: Variables, rootRank = 0): void {
  const list = listOf(variables);
  if (size() === 1) return;
  // By position: on a rank that loaded a checkpoint the names differ.
  const handles = list.map((variable) => broadcastAsync(variable.read(), rootRank));
  for (const [i, variable] of list.entries()) {
    const value = synchronize(handles[i]!);
    variable.write(value);
    value.dispose();
  }
}
