/**
 * Where gradients leave for the other ranks: the one place that DistributedOptimizer and its kin hand them to the reducer. Main thread.
 *
 * Gradients come as a list (positions count: on a rank that loaded a checkpoint the names differ) or by name (only those there are, so the ranks first agree on the names). What comes back
 * are new tensors, the caller's; null where no rank had a gradient.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { UsageError } from '../errors';
import { registeredSet } from '../process_set';
import type { Groups } from './buckets';
import { type Gradient, GradientReducer } from './gradient_reducer';
import type { Tf } from './load';
import type { Named } from './local_aggregation';
import type { ExchangeSettings } from './optimizer_options';
import { VariableNames } from './variable_names';
import { variableNamed } from './variables';

export class GradientExchange {
  private readonly reducer: GradientReducer;
  private readonly names: VariableNames;

  /** @param name under which the ranks meet */
  constructor(
    private readonly tfjs: Tf,
    name: string,
    private readonly settings: ExchangeSettings,
  ) {
    const { op, compression, gradientPredivideFactor: factor, processSet } = settings;
    this.reducer = new GradientReducer(name, { op, compression, prescaleFactor: 1 / factor, postscaleFactor: factor, processSet });
    this.names = new VariableNames(name, processSet);
  }

  /** How many ranks reduce together; 0: this one is not among them. With less than 2 there is nothing to do. @throws NotInitializedError; ProcessSetError the set is not registered */
  get ranks(): number {
    const set = registeredSet(this.settings.what, this.settings.processSet);
    return set.included() ? set.size() : 0;
  }

  /**
   * Every rank calls it at the same step; the arguments are left alone.
   * Those of local layers are not reduced.
   * @returns of a list as many, in its order; else those that the ranks have agreed on, in their order
   * @throws MismatchError the ranks have different variables; PeerError a rank is gone; UsageError a gradient is not float32, or its variable is gone
   */
  reduce(entries: readonly Named[], isList: boolean): Named[] {
    const reduce = (shared: readonly Named[]): Named[] => (isList ? this.reduceList(shared) : this.reduceNamed(shared));
    return this.settings.localLayers?.around(entries, isList, this.ranks, reduce) ?? reduce(entries);
  }

  /** The shared memory. It can be used again. */
  dispose(): void {
    this.reducer.dispose();
  }

  private reduceList(entries: readonly Named[]): Named[] {
    const { tensors } = this.reducer.reduce(
      entries.map((entry) => gradientOf(this.tfjs, this.settings.what, entry)),
      'list',
      false,
      this.groupsOf(entries),
    );
    return entries.map(({ name }, i) => ({ name, tensor: tensors[i]! }));
  }

  private reduceNamed(entries: readonly Named[]): Named[] {
    const own = new Map(entries.map((entry) => [entry.name, gradientOf(this.tfjs, this.settings.what, entry).tensor]));
    const gradients = Object.fromEntries([...own].filter(([, tensor]) => tensor)) as tf.NamedTensorMap;
    if (!this.names.isAgreed) this.names.agree(this.tfjs, gradients);
    const reduce = (from: number, hasNews: boolean): { named: Named[]; isNews: boolean } => {
      const list = this.names.list.slice(from);
      const { tensors, isNews } = this.reducer.reduce(
        list.map(({ name, shape }): Gradient => ({ tensor: own.get(name) ?? null, shape })),
        'names',
        hasNews,
        this.groupsOf(list),
      );
      return { named: list.map(({ name }, i) => ({ name, tensor: tensors[i]! })), isNews };
    };
    const count = this.names.list.length;
    const first = reduce(
      0,
      Object.keys(gradients).some((name) => !this.names.has(name)),
    );
    if (!first.isNews) return first.named;
    try {
      this.names.agree(this.tfjs, gradients);
      return [...first.named, ...reduce(count, false).named];
    } catch (error) {
      for (const { tensor } of first.named) tensor?.dispose();
      throw error;
    }
  }

  /** Variables that are in a group, but have no part in this step, are left out. */
  private groupsOf(variables: ReadonlyArray<{ readonly name: string }>): Groups | undefined {
    const { groups } = this.settings;
    if (typeof groups === 'number' || !groups) return groups;
    const indexes = new Map(variables.map(({ name }, i) => [name, i]));
    return groups.map((names) => names.flatMap((name) => indexes.get(name) ?? []));
  }
}

/** A gradient has its variable's shape; without one the variable is asked. */
function gradientOf(tfjs: Tf, what: string, { name, tensor }: Named): Gradient {
  const known = tensor ?? variableNamed(tfjs, name);
  if (!known) throw new UsageError(`${what}: there is no variable '${name}', and it has no gradient. Was it disposed of?`);
  if (tensor && tensor.dtype !== 'float32')
    throw new UsageError(`${what}: the gradient of '${name}' is ${tensor.dtype}, but gradients are float32. Cast it first.`);
  return { tensor, shape: known.shape };
}
