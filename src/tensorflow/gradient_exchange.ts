/**
 * Where gradients leave for the other ranks: the one place that DistributedOptimizer and its kin hand them to the reducer. Main thread.
 *
 * Gradients come as a list (positions count: on a rank that loaded a checkpoint the names differ) or by name (only those there are, so the ranks first agree on the names). What comes back
 * are new tensors, the caller's; null where no rank had a gradient.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { nowUs } from '../engine/clock';
import { UsageError } from '../errors';
import { registeredSet } from '../process_set';
import type { Groups } from './buckets';
import { ExchangeName } from './exchange_name';
import { GradientReducer } from './gradient_reducer';
import type { Tf } from './load';
import type { Named } from './local_aggregation';
import type { ExchangeSettings } from './optimizer_options';
import type { Reduction, Span } from './reduction';
import { localGradients, NO_CONNECTION, watched } from './tape';
import { type NamedShape, VariableNames } from './variable_names';
import { variableNamed } from './variables';

/** Times in µs of `nowUs`, as step_times.ts wants them. */
export interface Differentiated {
  readonly value: tf.Scalar;
  readonly reduced: Named[];
  readonly begunUs: number;
  readonly computedUs: number;
  readonly reducedUs: number;
  readonly buckets: readonly Span[];
}

export class GradientExchange {
  private readonly reducer: GradientReducer;
  private readonly names: VariableNames;

  constructor(
    private readonly tfjs: Tf,
    private readonly settings: ExchangeSettings,
  ) {
    const { what, op, compression, gradientPredivideFactor: factor, processSet } = settings;
    const meeting = new ExchangeName(what, settings.name, processSet);
    const name = (): string => meeting.name;
    this.reducer = new GradientReducer(what, name, { op, compression, prescaleFactor: 1 / factor, postscaleFactor: factor, processSet });
    this.names = new VariableNames(what, name, processSet);
  }

  /** How many ranks reduce together; 0: this one is not among them. With less than 2 there is nothing to do. @throws NotInitializedError; ProcessSetError the set is not registered */
  get ranks(): number {
    const set = registeredSet(this.settings.what, this.settings.processSet);
    return set.included() ? set.size() : 0;
  }

  /**
   * Every rank calls it at the same step; the arguments are left alone. Those of local layers are not reduced.
   * @returns of a list as many, in its order; else those that the ranks have agreed on, in their order
   * @throws MismatchError the ranks have different variables; PeerError a rank is gone; UsageError a gradient is not float32, or its variable is gone
   */
  reduce(entries: readonly Named[], isList: boolean): Named[] {
    return this.withLocal(entries, isList, (shared) => this.reduceShared(shared, isList));
  }

  /**
   * Differentiates a loss and reduces its gradients; with `overlap` while backpropagation still runs. Every rank calls it at the same step. A loss that reaches no variable on this rank counts as zeros.
   * @param list the variables, where their positions count; else all that there are, by name
   * @returns the loss, and what `reduce` returns; the caller's
   * @throws what `reduce` throws; StepError another rank has failed meanwhile; UsageError the loss reaches no variable on any rank; what the loss function throws
   */
  differentiate(f: () => tf.Scalar, list?: readonly tf.Variable[], overlap = this.settings.overlap): Differentiated {
    const begunUs = nowUs();
    const isList = list !== undefined;
    const variables = list ? (this.settings.localLayers?.others(list) ?? list) : this.names.isAgreed ? this.names.list : undefined;
    const step = variables && this.begin(variables, isList);
    let computedUs = begunUs;
    const compute = (): { value: tf.Scalar; grads: tf.NamedTensorMap } => {
      const result = localGradients(this.tfjs, step && overlap ? this.watched(f, variables, step) : f, list);
      computedUs = nowUs();
      return result;
    };
    const { value, grads } = step ? this.trying(step, compute) : compute();
    try {
      const entries = list
        ? list.map(({ name }) => ({ name, tensor: grads[name] ?? null }))
        : Object.entries(grads).map(([name, tensor]) => ({ name, tensor }));
      const reduced = this.withLocal(entries, isList, (shared) =>
        step ? this.finish(step, variables, shared, isList) : this.reduceShared(shared, isList),
      );
      if (!reduced.some(({ tensor }) => tensor)) throw new UsageError(NO_CONNECTION);
      return { value, reduced, begunUs, computedUs, reducedUs: nowUs(), buckets: step?.spans ?? [] };
    } catch (error) {
      value.dispose();
      throw error;
    } finally {
      this.tfjs.dispose(grads);
    }
  }

  /** The shared memory. It can be used again. */
  dispose(): void {
    this.reducer.dispose();
  }

  private withLocal(entries: readonly Named[], isList: boolean, reduce: (shared: readonly Named[]) => Named[]): Named[] {
    return this.settings.localLayers?.around(entries, isList, this.ranks, reduce) ?? reduce(entries);
  }

  private reduceShared(entries: readonly Named[], isList: boolean): Named[] {
    if (!isList && !this.names.isAgreed) this.names.agree(this.tfjs, gradientsOf(entries));
    const variables = isList ? entries.map((entry) => this.described(entry)) : this.names.list;
    return this.finish(this.begin(variables, isList), variables, entries, isList);
  }

  private begin(variables: readonly NamedShape[], isList: boolean): Reduction {
    return this.reducer.begin(
      variables.map(({ shape }) => shape),
      isList ? 'list' : 'names',
      this.groupsOf(variables),
    );
  }

  private trying<R>(step: Reduction, act: (step: Reduction) => R): R {
    try {
      return act(step);
    } catch (error) {
      throw this.reducer.abandon(step, error);
    }
  }

  private watched(f: () => tf.Scalar, variables: readonly NamedShape[], step: Reduction): () => tf.Scalar {
    const found = variables.flatMap((one, index) => {
      const variable = 'id' in one ? (one as tf.Variable) : variableNamed(this.tfjs, one.name);
      return variable && isOfShape(variable, one) ? [{ variable, index }] : [];
    });
    return watched(
      this.tfjs,
      f,
      found.map(({ variable }) => variable),
      (i, gradient) => step.take(found[i]!.index, gradient),
    );
  }

  private finish(step: Reduction, variables: readonly NamedShape[], entries: readonly Named[], isList: boolean): Named[] {
    if (isList) {
      const { tensors } = this.trying(step, () =>
        step.finish(
          entries.map((entry) => this.checked(entry)),
          false,
        ),
      );
      return entries.map(({ name }, i) => ({ name, tensor: tensors[i]! }));
    }
    const { tensors, isNews } = this.trying(step, () => {
      const own = new Map(entries.map((entry) => [entry.name, this.checked(entry)]));
      const gradients = variables.map((one) => {
        const gradient = own.get(one.name);
        return gradient && isOfShape(gradient, one) ? gradient : null;
      });
      return step.finish(
        gradients,
        entries.some(({ name, tensor }) => tensor && !this.names.has(name, tensor.shape)),
      );
    });
    const named = variables.map(({ name }, i) => ({ name, tensor: tensors[i]! }));
    if (!isNews) return named;
    try {
      this.names.agree(this.tfjs, gradientsOf(entries));
      const rest = this.names.list.slice(variables.length);
      return [...named, ...this.finish(this.begin(rest, false), rest, entries, false)];
    } catch (error) {
      for (const { tensor } of named) tensor?.dispose();
      throw error;
    }
  }

  /** A gradient has its variable's shape; without one the variable is asked. */
  private described({ name, tensor }: Named): NamedShape {
    const known = tensor ?? variableNamed(this.tfjs, name);
    if (!known) throw new UsageError(`${this.settings.what}: there is no variable '${name}', and it has no gradient. Was it disposed of?`);
    return { name, shape: known.shape };
  }

  private checked({ name, tensor }: Named): tf.Tensor | null {
    if (tensor && tensor.dtype !== 'float32')
      throw new UsageError(
        `${this.settings.what}: the gradient of '${name}' is ${tensor.dtype}, but gradients are float32. Cast it first.`,
      );
    return tensor;
  }

  /** Variables that are in a group, but have no part in this step, are left out. */
  private groupsOf(variables: ReadonlyArray<{ readonly name: string }>): Groups | undefined {
    const { groups } = this.settings;
    if (typeof groups === 'number' || !groups) return groups;
    const indexes = new Map(variables.map(({ name }, i) => [name, i]));
    return groups.map((names) => names.flatMap((name) => indexes.get(name) ?? []));
  }
}

const isOfShape = (tensor: tf.Tensor, { shape }: NamedShape): boolean => tensor.shape.join() === shape.join();

const gradientsOf = (entries: readonly Named[]): tf.NamedTensorMap =>
  Object.fromEntries(entries.flatMap(({ name, tensor }) => (tensor ? [[name, tensor]] : [])));
