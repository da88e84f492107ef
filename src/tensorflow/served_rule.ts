/**
 * A tf.Optimizer as parameter servers see it: its rule, and its state, which goes to the servers and comes back. Main thread. For the optimizers whose rules servers know (parameter_server/rules.ts).
 *
 * TensorFlow.js's optimizers keep their slots by position: the variables are given in the order in which the optimizer is given gradients. Those of hvd.train keep them by variable.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { BugError, UsageError } from '../errors';
import { type RuleKind, type RuleSpec, ruleFor, slotsOf } from '../parameter_server/rules';
import type { Tf } from './load';
import { giveTo, setSteps, stepsOf } from './optimizer_state';
import type { SlotKeeper } from './optimizers/rule';

interface Served {
  readonly kind: RuleKind;
  /** Where a tfjs optimizer has its slots, in the rule's order; undefined: one of hvd.train. */
  readonly fields?: readonly string[];
}
/** By class name. */
const servedOptimizers: Readonly<Record<string, Served>> = {
  SGD: { kind: 'sgd', fields: [] },
  Momentum: { kind: 'momentum', fields: ['accumulations'] },
  RMSProp: { kind: 'rmsprop', fields: ['accumulatedMeanSquares', 'accumulatedMoments', 'accumulatedMeanGrads'] },
  Adam: { kind: 'adam', fields: ['accumulatedFirstMoment', 'accumulatedSecondMoment'] },
  Adagrad: { kind: 'adagrad', fields: ['accumulatedGrads'] },
  Adadelta: { kind: 'adadelta', fields: ['accumulatedGrads', 'accumulatedUpdates'] },
  Adamax: { kind: 'adamax', fields: ['accumulatedFirstMoment', 'accumulatedWeightedInfNorm'] },
  Nadam: { kind: 'nadam' },
  AdamW: { kind: 'adamw' },
};
const known = Object.keys(servedOptimizers).join(', ');

/** As it is in a tfjs optimizer. */
interface Slot {
  readonly originalName: string;
  readonly variable: tf.Variable;
}

/** @throws UsageError it is none of those that servers know */
function servedOf(optimizer: tf.Optimizer): Served {
  const name = optimizer.getClassName();
  if (!Object.hasOwn(servedOptimizers, name))
    throw new UsageError(`Parameter servers have no rule for the optimizer ${name}. They apply ${known}; or use DistributedOptimizer.`);
  // Subclasses that say nothing of their own have their parent's name, and any rule.
  if (!Object.hasOwn(optimizer.constructor, 'className'))
    throw new UsageError(
      `Parameter servers have no rule for ${optimizer.constructor.name}, a subclass of ${name}: they would apply ${name}. Pass a plain ${name}, or use DistributedOptimizer.`,
    );
  return servedOptimizers[name]!;
}

/**
 * The rule with the settings that the optimizer has now, but the learning rate.
 * @throws UsageError servers know no such optimizer, or a setting is no finite number
 */
export function ruleOf(optimizer: tf.Optimizer): RuleSpec {
  const { kind } = servedOf(optimizer);
  const { useNesterov, ...config } = optimizer.getConfig();
  const given: Record<string, unknown> = { ...config, nesterov: useNesterov === true };
  const settings = Object.entries(ruleFor({ kind }).settings).map(([name, type]) => {
    const value = given[name];
    if (typeof value !== type || (type === 'number' && !Number.isFinite(value)))
      throw new UsageError(
        `${optimizer.getClassName()}: ${name} is ${String(value)}, where parameter servers ask for ${type === 'number' ? 'a finite number' : 'true or false'}.`,
      );
    return [name, value];
  });
  return { kind, ...Object.fromEntries(settings) } as RuleSpec;
}

/** That of its next step. */
export const learningRateOf = (optimizer: tf.Optimizer): number => (optimizer as unknown as { learningRate: number }).learningRate;

/** A tfjs optimizer's list of slots of one kind. */
const listOf = (optimizer: tf.Optimizer, field: string): Array<Slot | undefined> =>
  (optimizer as unknown as Record<string, Array<Slot | undefined>>)[field]!;

/** @throws UsageError at that position the optimizer has a slot of another variable */
function slotAt(optimizer: tf.Optimizer, field: string, position: number, variable: tf.Variable): tf.Variable | undefined {
  const slot = listOf(optimizer, field)[position];
  if (slot && slot.variable.shape.join() !== variable.shape.join())
    throw new UsageError(
      `${optimizer.getClassName()} has stepped with other variables: '${slot.originalName}' of shape [${slot.variable.shape}] stands at the place of '${variable.name}' ` +
        `of shape [${variable.shape}]. Make an optimizer of its own for each model.`,
    );
  return slot?.variable;
}

/**
 * What an optimizer that has stepped, or was loaded, holds for these variables, as the rule orders it. The tensors stay the optimizer's.
 * @returns steps: how often it has stepped; slots: by kind, then by variable, undefined where it has none yet. Undefined: it is as new.
 * @throws UsageError servers know no such optimizer, or it has stepped with other variables
 */
export function readSlots(
  optimizer: tf.Optimizer,
  variables: readonly tf.Variable[],
): { steps: number; slots: ReadonlyArray<ReadonlyArray<tf.Tensor | undefined>> } | undefined {
  const { fields } = servedOf(optimizer);
  const kinds = slotsOf(ruleOf(optimizer));
  const { steps, slots } = fields
    ? { steps: stepsOf(optimizer), slots: kinds.map((_, kind) => variables.map((one, i) => slotAt(optimizer, fields[kind]!, i, one))) }
    : (optimizer as tf.Optimizer & SlotKeeper).heldFor(variables);
  return steps === 0 && slots.flat().every((slot) => slot === undefined) ? undefined : { steps, slots };
}

/**
 * Puts slots and the count of steps into the optimizer, as if it had stepped so often itself: it goes on, saves and loads as any. What it holds for other variables stays.
 * @param slots by kind, in the rule's order, then by variable, each of its variable's shape. They become the optimizer's.
 * @throws UsageError servers know no such optimizer, or it has stepped with other variables; BugError they are not all there
 */
export function writeSlots(
  tfjs: Tf,
  optimizer: tf.Optimizer,
  variables: readonly tf.Variable[],
  steps: number,
  slots: ReadonlyArray<readonly tf.Tensor[]>,
): void {
  const { fields } = servedOf(optimizer);
  const kinds = slotsOf(ruleOf(optimizer));
  if (slots.length !== kinds.length || slots.some((list) => list.length !== variables.length))
    throw new BugError(`slots of ${variables.length} variables for ${optimizer.getClassName()} are not all there. Please report it.`);
  if (!fields) {
    (optimizer as tf.Optimizer & SlotKeeper).adopt(variables, steps, slots);
    return;
  }
  for (const [kind, { name }] of kinds.entries()) {
    const list = listOf(optimizer, fields[kind]!);
    for (const [i, variable] of variables.entries()) {
      const tensor = slots[kind]![i]!;
      const own = slotAt(optimizer, fields[kind]!, i, variable);
      if (own) giveTo(own, tensor);
      else {
        list[i] = { originalName: `${variable.name}/${name}`, variable: tensor.variable(false) };
        tensor.dispose();
      }
    }
  }
  setSteps(tfjs, optimizer, steps);
}
