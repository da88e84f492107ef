/**
 * An optimizer's state between ranks: slots, step count, hyper-parameters. Main thread.
 *
 * The ranks first tell each other what they have; then every rank makes room for what the root has, drops what the root has not, and the values follow. Slots that are there are overwritten
 * where they are: `setWeights` would leave the old variables behind, and it computes Adam's powers of beta anew, which gives other bits than a rank has that came there by multiplying.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { MismatchError, UsageError } from '../errors';
import { rank } from '../job';
import { allgatherObject } from '../objects';
import { checkCopies, loadTf, type Tf } from './load';
import { mendAdamax, useMomentum } from './mends';
import { isVariable, setLearningRate } from './optimizer_state';
import { type BroadcastOptions, checkedRoot, overwrite, type Writable } from './variables';

/** Of TensorFlow.js's optimizers; and of hvd.train's. */
type Slot = { originalName: string; variable: tf.Variable } | { name: string; parts: readonly tf.Variable[] };
type NamedTensor = { name: string; tensor: tf.Tensor };
type Fields = Record<string, unknown>;

interface Shape {
  readonly shape: number[];
  readonly dtype: string;
}
/** As it travels. */
interface Description {
  readonly className: string;
  readonly iterations: number;
  readonly config: Record<string, number | boolean>;
  /** By field: a variable, or slots in their order. */
  readonly fields: Record<string, Shape | Array<{ name: string; hasParts: boolean; parts: Shape[] }>>;
  /** An optimizer of others, whose slots are elsewhere: what its getWeights gives, but the iterations. Else null. */
  readonly weights: Array<Shape & { name: string }> | null;
}

const partsOf = (slot: Slot): readonly tf.Variable[] => ('parts' in slot ? slot.parts : [slot.variable]);
const nameOf = (slot: Slot): string => ('parts' in slot ? slot.name : slot.originalName);
const isSlot = (value: unknown): value is Slot =>
  isVariable((value as { variable?: unknown } | null)?.variable) || Array.isArray((value as { parts?: unknown } | null)?.parts);
const shapeOf = ({ shape, dtype }: tf.Tensor): Shape => ({ shape: [...shape], dtype });
const isAlike = (tensor: tf.Tensor | undefined, { shape, dtype }: Shape): boolean =>
  tensor !== undefined && !tensor.isDisposed && tensor.dtype === dtype && tensor.shape.join() === shape.join();
const haveShapes = (slot: Slot | undefined, parts: readonly Shape[]): slot is Slot =>
  slot !== undefined && partsOf(slot).length === parts.length && partsOf(slot).every((part, i) => isAlike(part, parts[i]!));

/** Without the iterations; an optimizer of others may have none. */
async function weightsOf(optimizer: tf.Optimizer): Promise<NamedTensor[]> {
  const weights = (await optimizer.getWeights().catch(() => [])) as NamedTensor[];
  if (weights[0]?.name !== 'iter') return weights;
  weights[0].tensor.dispose();
  return weights.slice(1);
}

function describe(optimizer: tf.Optimizer, weights: readonly NamedTensor[]): Description {
  const fields: Description['fields'] = {};
  const found = new Set<unknown>();
  for (const [field, value] of Object.entries(optimizer)) {
    if (isVariable(value)) {
      fields[field] = shapeOf(value);
      found.add(value);
    } else if (Array.isArray(value) && value.length > 0 && value.every(isSlot)) {
      fields[field] = value.map((slot) => ({ name: nameOf(slot), hasParts: 'parts' in slot, parts: partsOf(slot).map(shapeOf) }));
      for (const part of value.flatMap(partsOf)) found.add(part);
    }
  }
  const own = optimizer as unknown as Fields;
  const settings = Object.keys(optimizer.getConfig()).filter((name) => ['number', 'boolean'].includes(typeof own[name]));
  return {
    className: optimizer.getClassName(),
    iterations: optimizer.iterations,
    config: Object.fromEntries(settings.map((name) => [name, own[name] as number])),
    fields,
    weights: weights.every(({ tensor }) => found.has(tensor)) ? null : weights.map(({ name, tensor }) => ({ name, ...shapeOf(tensor) })),
  };
}

/**
 * Makes the optimizer's state on every rank that of `rootRank`: slots, step count, learning rate and other hyper-parameters. It does not matter who has state yet: where the root has none, none is
 * left. For a wrapped or a bare optimizer, TensorFlow.js's and hvd.train's; one of others has to have getWeights and setWeights. Gradients that are added up (backwardPassesPerStep) stay each rank's own.
 * @param rootRank a global rank, in a process set too
 * @throws UsageError it is no optimizer, or the rank is none; MismatchError the ranks have different optimizers; PeerError a rank is gone; ProcessSetError this rank is outside the set
 */
export async function broadcastOptimizerState(optimizer: tf.Optimizer, rootRank = 0, options: BroadcastOptions = {}): Promise<void> {
  if (typeof (optimizer as Partial<tf.Optimizer> | null)?.applyGradients !== 'function')
    throw new UsageError(`broadcastOptimizerState takes a tf.Optimizer, but was given ${optimizer === null ? 'null' : typeof optimizer}.`);
  const processSet = checkedRoot('broadcastOptimizerState', rootRank, options);
  if (processSet.size() === 1) return;
  const tfjs = loadTf();
  checkCopies();
  mendAdamax(tfjs);
  const inner = ((optimizer as { inner?: tf.Optimizer }).inner ?? optimizer) as tf.Optimizer;
  const weights = await weightsOf(inner);
  const all = allgatherObject(describe(inner, weights), { processSet });
  const root = all[processSet.ranks.indexOf(rootRank)]!;
  const refuse = (position: number, how: string): never => {
    const peer = processSet.ranks[position]!;
    throw new MismatchError(`broadcastOptimizerState: the optimizer is ${root.className} on rank ${rootRank}, but rank ${peer} ${how}.`, {
      peer,
    });
  };
  const stranger = all.findIndex(({ className }) => className !== root.className);
  if (stranger >= 0) refuse(stranger, `has ${all[stranger]!.className}. Make the same optimizer on every rank`);
  const lost = root.weights === null ? all.findIndex(({ weights }) => weights !== null) : -1;
  if (lost >= 0) refuse(lost, 'keeps state that the root has none of and that cannot be taken from it. Make the optimizer anew there');

  const isRoot = rank() === rootRank;
  if (root.weights) await replaceWeights(tfjs, inner, weights, root, rootRank, processSet);
  else overwrite(isRoot ? variablesOf(inner) : makeRoom(tfjs, inner, root.fields), rootRank, processSet);
  if (isRoot) return;
  const count = tfjs.scalar(root.iterations, 'int32');
  await (inner as unknown as { extractIterations(weights: NamedTensor[]): Promise<unknown> }).extractIterations([
    { name: 'iter', tensor: count },
  ]);
  count.dispose();
  adopt(tfjs, inner, root.config);
}

const writable = (variable: tf.Variable): Writable => ({ read: () => variable, write: (value) => variable.assign(value) });

/** In the order of a description. */
function variablesOf(optimizer: tf.Optimizer): Writable[] {
  return Object.values(optimizer).flatMap((value) => {
    if (isVariable(value)) return [writable(value)];
    return Array.isArray(value) && value.every(isSlot) ? value.flatMap(partsOf).map(writable) : [];
  });
}

/** Variables for all that the root has, kept where they fit; others are disposed of. In the order of the description. */
function makeRoom(tfjs: Tf, optimizer: tf.Optimizer, fields: Description['fields']): Writable[] {
  const own = optimizer as unknown as Fields;
  const fresh = ({ shape, dtype }: Shape): tf.Variable => tfjs.tidy(() => tfjs.zeros(shape, dtype as 'float32').variable(false));
  const before = new Set(
    Object.values(own).flatMap((value) =>
      isVariable(value) ? [value] : Array.isArray(value) ? value.filter(isSlot).flatMap(partsOf) : [],
    ),
  );
  for (const [field, value] of Object.entries(own)) {
    if (field in fields) continue;
    if (isVariable(value)) own[field] = undefined;
    else if (Array.isArray(value) && value.length > 0 && value.every(isSlot)) own[field] = [];
  }
  const kept: tf.Variable[] = [];
  for (const [field, described] of Object.entries(fields)) {
    const value = own[field];
    if (!Array.isArray(described)) {
      const variable = isVariable(value) && isAlike(value, described) ? value : fresh(described);
      own[field] = variable;
      kept.push(variable);
      continue;
    }
    const slots = (Array.isArray(value) ? value : []) as Slot[];
    const free = new Set(slots);
    const names = new Set(described.map(({ name }) => name));
    const made = described.map(({ name, hasParts, parts }, i): Slot => {
      // TensorFlow.js's optimizers find a slot by its place, those of hvd.train by its variable, whose name counts where the ranks know it alike.
      const named = hasParts ? slots.find((slot) => nameOf(slot) === name && free.has(slot)) : undefined;
      const placed = slots[i] && free.has(slots[i]!) && !(hasParts && names.has(nameOf(slots[i]!))) ? slots[i] : undefined;
      const slot = haveShapes(named, parts) ? named : haveShapes(placed, parts) ? placed : undefined;
      if (slot) free.delete(slot);
      return slot ?? (hasParts ? { name, parts: parts.map(fresh) } : { originalName: name, variable: fresh(parts[0]!) });
    });
    own[field] = made;
    kept.push(...made.flatMap(partsOf));
  }
  for (const variable of before) if (!kept.includes(variable)) variable.dispose();
  return kept.map(writable);
}

/** For optimizers of others. */
async function replaceWeights(
  tfjs: Tf,
  optimizer: tf.Optimizer,
  own: readonly NamedTensor[],
  root: Description,
  rootRank: number,
  processSet: BroadcastOptions['processSet'] & object,
): Promise<void> {
  const isRoot = rank() === rootRank;
  const received: NamedTensor[] = [{ name: 'iter', tensor: tfjs.scalar(root.iterations, 'int32') }];
  const list = root.weights!.map(({ name, shape, dtype }, i): Writable => {
    const value = isRoot ? own[i]!.tensor : tfjs.zeros(shape, dtype as 'float32');
    return {
      read: () => value,
      write: (tensor) => {
        if (!isRoot) received.push({ name, tensor: tfjs.keep(tensor.clone()) });
      },
    };
  });
  try {
    overwrite(list, rootRank, processSet);
    if (!isRoot) await optimizer.setWeights(received);
  } finally {
    for (const { tensor } of received) tensor.dispose();
    if (!isRoot) for (const one of list) one.read().dispose();
  }
}

function adopt(tfjs: Tf, optimizer: tf.Optimizer, config: Description['config']): void {
  const own = optimizer as unknown as Fields;
  for (const [name, value] of Object.entries(config)) {
    if (own[name] === value) continue;
    if (name === 'learningRate') setLearningRate(optimizer, value as number);
    else own[name] = value;
    if (name === 'momentum' && optimizer.getClassName() === 'Momentum') useMomentum(tfjs, optimizer);
  }
}
