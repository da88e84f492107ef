/**
 * Variables between ranks. Main thread. What has variables is recognised by its members, never by `instanceof` (layers of another copy of tfjs-layers are no instances of ours).
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { MismatchError, UsageError } from '../errors';
import { broadcastAsync, synchronize } from '../hvd';
import { allgatherObject } from '../objects';
import { memberSet, type ProcessSet } from '../process_set';
import { checkOptions } from '../submit';
import { checkCopies, type Tf } from './load';
import { dtypeOfTensor } from './tensors';

/** A layer's weight as `model.trainableWeights` lists it (tfjs-layers does not export the type). */
export interface LayerVariable {
  /** Unique in its model. */
  readonly name: string;
  /** Its value, which stays its own. */
  read(): tf.Tensor;
  /** Takes the value of a tensor of its shape and dtype, which stays the caller's. */
  write(value: tf.Tensor): LayerVariable;
}
/** What has variables: a list of them, of a model's weights, variables by name, or a model. */
export type Variables = tf.Variable[] | LayerVariable[] | Record<string, tf.Variable> | LayersModel;

/** Options of {@link broadcastVariables} and broadcastOptimizerState. */
export interface BroadcastOptions {
  /** Default: all ranks. */
  processSet?: ProcessSet;
}

export interface Writable {
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
      return { read: () => one.read!(), write: (value) => writeUnconstrained(one as LayerVariable, value) };
    if (typeof one?.assign === 'function') return { read: () => variable as tf.Tensor, write: (value) => one.assign!(value) };
    throw new UsageError(`broadcastVariables: entry ${i} is neither a tf.Variable nor a layer's weight.`);
  });
}

/** `write` would apply the layer's constraint, which no training step of TensorFlow.js does, and leave the constraint's tensor behind. */
function writeUnconstrained(weight: LayerVariable, value: tf.Tensor): void {
  const behind = weight.read() as Partial<tf.Variable>;
  if (typeof behind.assign === 'function') behind.assign(value);
  else weight.write(value);
}

/** The root, checked, and the set. @throws UsageError, ProcessSetError */
export function checkedRoot(what: string, rootRank: number, options: BroadcastOptions): ProcessSet {
  checkOptions(what, options, ['processSet']);
  const set = memberSet(what, options.processSet);
  if (set.ranks.includes(rootRank)) return set;
  throw new UsageError(
    options.processSet
      ? `${what}: rootRank is a global rank of the process set, one of ${set.ranks.join(', ')}, but was ${String(rootRank)}.`
      : `${what}: rootRank is a rank from 0 to ${set.size() - 1}, but was ${String(rootRank)}.`,
  );
}

/** All ranks have as many variables of the same shapes, or all throw. */
function agree(list: readonly Writable[], processSet: ProcessSet): void {
  const all = allgatherObject(
    list.map((variable) => `${variable.read().dtype} [${variable.read().shape.join(',')}]`),
    { processSet },
  );
  const [first] = all as [string[]];
  const other = all.findIndex((one) => one.length !== first.length || one.some((shape, i) => shape !== first[i]));
  if (other < 0) return;
  const [a, b] = [processSet.ranks[0]!, processSet.ranks[other]!];
  const at = first.findIndex((shape, i) => shape !== all[other]![i]);
  const differing = at >= 0 && all[other]![at] ? `; variable ${at} is ${first[at]} on rank ${a}, ${all[other]![at]} on rank ${b}` : '';
  throw new MismatchError(
    `broadcastVariables: rank ${a} has ${first.length} variables, rank ${b} has ${all[other]!.length}${differing}. ` +
      'Give the same variables, in the same order, on every rank: build the same model everywhere.',
    { peer: b },
  );
}

/**
 * Overwrites the variables (or a model's weights, trainable or not) on every rank of the set with those of `rootRank`; float32, int32 and bool. By position: on a rank that loaded a checkpoint the names
 * differ.
 * @param rootRank a global rank, in a process set too; 0
 * @throws UsageError it is nothing that has variables, a dtype cannot travel, or the root is no rank of the set; NotInitializedError before `init()`; MismatchError the ranks' variables differ; PeerError a rank
 * is gone; ProcessSetError this rank is outside the set
 */
export function broadcastVariables(variables: Variables, rootRank = 0, options: BroadcastOptions = {}): void {
  const list = listOf(variables);
  for (const variable of list) dtypeOfTensor(variable.read(), 'broadcastVariables');
  const processSet = checkedRoot('broadcastVariables', rootRank, options);
  if (processSet.size() === 1) return;
  checkCopies();
  agree(list, processSet);
  overwrite(list, rootRank, processSet);
}

/** By position: on a rank that loaded a checkpoint the names differ. All ranks have the same shapes. */
export function overwrite(list: readonly Writable[], rootRank: number, processSet: ProcessSet): void {
  const handles = list.map((variable) => broadcastAsync(variable.read(), rootRank, { processSet }));
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
