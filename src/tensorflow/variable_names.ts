/**
 * Which variables gradients by name belong to, agreed by all ranks. Main thread; `unite` and `decide` are pure.
 *
 * `minimize` without a list of variables gives gradients by name, and only those there are: ranks whose branches differ give different names, and the optimizers of TensorFlow.js keep their
 * slots by position. So the ranks agree on one ordered list that only grows: at the first step of a job, and when a rank has told (by the news flag that travels with the gradients)
 * that it has a gradient of a variable that is not in the list. Two object collectives each time; none in all other steps.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { MismatchError } from '../errors';
import { currentEngine } from '../job';
import { allgatherObject } from '../objects';
import type { ProcessSet } from '../process_set';
import type { Tf } from './load';
import { variableNamed } from './variables';

export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A variable that was disposed of and made anew in another shape is another. */
const keyOf = ({ name, shape }: NamedShape): string => `${name} [${shape.join(',')}]`;

/** All variables of all lists, in the order of rank 0's, then of what the others have besides. */
export function unite(lists: ReadonlyArray<readonly NamedShape[]>): NamedShape[] {
  const united = new Map<string, NamedShape>();
  for (const list of lists) for (const one of list) if (!united.has(keyOf(one))) united.set(keyOf(one), one);
  return [...united.values()];
}

/**
 * The list for one rank, or why there is none; all ranks come to the same kind of result.
 * @param lists what each rank knew or has gradients for
 * @param lacking which of the united variables each rank does not have, or has in another shape
 * @param own this rank's position among them
 * @param ranks who they are, where they are not all ranks of the job
 */
export function decide(
  lists: ReadonlyArray<readonly NamedShape[]>,
  lacking: ReadonlyArray<readonly string[]>,
  own: number,
  ranks: readonly number[] = lists.map((_, position) => position),
): { list: readonly NamedShape[] } | { refusal: string } {
  const without = lacking.findIndex((names) => names.length > 0);
  if (without < 0) return { list: unite(lists) };
  // A model that was loaded beside another one has the same variables under other names ('dense/kernel_1').
  const shapesOf = (list: readonly NamedShape[]): string => JSON.stringify(list.map(({ shape }) => shape));
  if (lists.every((list) => shapesOf(list) === shapesOf(lists[0]!))) return { list: lists[own]! };
  const [name] = lacking[without]!;
  const owner = lists.findIndex((list) => list.some((one) => one.name === name));
  const { shape } = lists[owner]!.find((one) => one.name === name)!;
  return {
    refusal:
      `rank ${ranks[owner]} has a gradient of '${name}' [${shape.join(',')}], but rank ${ranks[without]} has no trainable variable of that name and shape, ` +
      `and the ranks' lists differ in shape (${lists.map((list, i) => `rank ${ranks[i]}: ${list.length} variables`).join(', ')}). ` +
      'Make the same variables on every rank, or pass minimize() the list of variables, in the same order on every rank.',
  };
}

export class VariableNames {
  private known: readonly NamedShape[] = [];
  private agreedFor: unknown;

  constructor(
    private readonly what: string,
    private readonly ownName: () => string,
    private readonly processSet: ProcessSet,
  ) {}

  get list(): readonly NamedShape[] {
    return this.known;
  }
  /** A new job (generation) agrees anew; what was known keeps its place. */
  get isAgreed(): boolean {
    return this.agreedFor === currentEngine(this.what);
  }
  has(name: string, shape: readonly number[]): boolean {
    return this.known.some((one) => keyOf(one) === keyOf({ name, shape }));
  }

  /** Every rank calls this at the same step. @throws MismatchError the ranks do not have the same variables */
  agree(tfjs: Tf, gradients: tf.NamedTensorMap): void {
    const own = unite([this.known, Object.entries(gradients).flatMap(([name, tensor]) => (tensor ? [{ name, shape: tensor.shape }] : []))]);
    const options = { name: `${this.ownName()}.variables`, processSet: this.processSet };
    const lists = allgatherObject(own as NamedShape[], options);
    const isHere = ({ name, shape }: NamedShape): boolean => {
      const variable = variableNamed(tfjs, name);
      // What was agreed before may have been disposed of since.
      return this.has(name, shape) || (variable?.trainable === true && variable.shape.join() === shape.join());
    };
    const lacking = allgatherObject(
      unite(lists)
        .filter((one) => !isHere(one))
        .map(({ name }) => name),
      options,
    );
    const decision = decide(lists, lacking, this.processSet.rank(), this.processSet.ranks);
    if ('refusal' in decision) throw new MismatchError(`'${this.ownName()}': ${decision.refusal}`, { tensor: this.ownName() });
    this.known = decision.list;
    this.agreedFor = currentEngine(this.what);
  }
}
