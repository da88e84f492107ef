/**
 * One optimizer's training through parameter servers: its variables and slots live there, gradients leave for them and variables come back into the same memory. Main thread.
 *
 * Buckets are those of DistributedOptimizer (buckets.ts), and they leave as soon as they are full, while backpropagation still runs (reduction.ts): what comes back is not the average of the gradients, but
 * the variables. Invariants: the list of variables is that of the first step; when a step begins the variables are those that the servers sent last, also after one that has failed, of which nothing is in
 * flight then.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { type Compressor, servedCompression } from '../compression';
import { nowUs } from '../engine/clock';
import type { Engine } from '../engine/engine';
import { StepError, UsageError } from '../errors';
import { type Handle, PendingHandle } from '../handle';
import { synchronize } from '../hvd';
import { currentEngine } from '../job';
import type { ServerRequest } from '../parameter_server/client';
import type { Mode } from '../parameter_server/consistency';
import { slotsOf } from '../parameter_server/rules';
import type { Differentiated } from './gradient_exchange';
import type { Tf } from './load';
import { Reduction } from './reduction';
import { nextOptimizer, ServedBuckets } from './served_buckets';
import { learningRateOf, readSlots, ruleOf, writeSlots } from './served_rule';
import { localGradients, NO_CONNECTION, watched } from './tape';
import { variableNamed } from './variables';

export interface ServedSettings {
  /** Whose messages they are. */
  readonly what: string;
  /** Under which the workers meet; another in every job. */
  readonly name: () => string;
  readonly mode: Mode;
  readonly compression: Compressor;
  readonly overlap: boolean;
  /** Ranks; the first one's variables are what training begins with. */
  readonly workers: () => readonly number[];
}

interface Opened {
  readonly engine: Engine;
  readonly optimizer: number;
  readonly variables: readonly tf.Variable[];
  readonly buckets: ServedBuckets;
  /** As JSON. */
  readonly rule: string;
  step: number;
}

/** By job and name: how many optimizers this process has opened. */
const openings = new WeakMap<Engine, Map<string, number>>();

/** Under which the servers know it: whoever opens an optimizer of that name for the n-th time meets those who do so, too. */
function openedName(engine: Engine, name: string): string {
  const counts = openings.get(engine) ?? new Map<string, number>();
  openings.set(engine, counts);
  const count = counts.get(name) ?? 0;
  counts.set(name, count + 1);
  return count === 0 ? name : `${name}.${count}`;
}

export class ServedExchange {
  private open?: Opened;
  /** Of a step that has failed here. */
  private left: Array<Handle<number>> = [];

  constructor(
    private readonly tfjs: Tf,
    private readonly inner: tf.Optimizer,
    private readonly settings: ServedSettings,
  ) {}

  /**
   * A step: differentiates the loss at the servers' variables, pushes, and puts what comes back into the variables.
   * @param list the variables; default: all that are trainable when the first step begins
   * @throws MismatchError the workers differ; PeerError a server, or in synchronous mode a worker, is gone; StepError another worker has failed in the step; what the loss throws
   */
  differentiate(f: () => tf.Scalar, list?: readonly tf.Variable[]): Omit<Differentiated, 'reduced'> {
    const own = this.prepare(list);
    const begunUs = nowUs();
    const { variables } = own;
    const step = this.begin(own);
    let computedUs = begunUs;
    const { value, grads } = this.trying(own, step, () => {
      const loss = this.settings.overlap ? watched(this.tfjs, f, variables, (i, gradient) => step.take(i, gradient)) : f;
      const found = localGradients(this.tfjs, loss, variables);
      computedUs = nowUs();
      return found;
    });
    try {
      this.finish(own, step, grads);
      return { value, begunUs, computedUs, reducedUs: nowUs(), buckets: step.spans };
    } catch (error) {
      value.dispose();
      throw error;
    } finally {
      this.tfjs.dispose(grads);
    }
  }

  /** Pushes gradients that the caller has computed, by name; null: there is none. */
  push(entries: ReadonlyArray<{ readonly name: string; readonly tensor: tf.Tensor | null }>): void {
    const own = this.prepare(undefined);
    const names = new Set(own.variables.map(({ name }) => name));
    const stranger = entries.find(({ name, tensor }) => tensor && !names.has(name));
    if (stranger)
      throw new UsageError(
        `${this.settings.what}: there is a gradient for '${stranger.name}', which is none of the ${names.size} variables that the first step had. Make an optimizer for each list of variables.`,
      );
    this.finish(own, this.begin(own), Object.fromEntries(entries.map(({ name, tensor }) => [name, tensor])));
  }

  /** From the first step on, and before a loss is looked at: the variables are the servers'. */
  prepare(list: readonly tf.Variable[] | undefined): Opened {
    const engine = currentEngine(this.settings.what);
    if (this.open?.engine === engine) {
      this.check(list);
      this.awaitLeft(this.open);
      return this.open;
    }
    return this.openAt(engine, list);
  }

  /** The wrapped optimizer's slots become the servers'. */
  pullSlots(): void {
    const own = this.open;
    if (!own || own.engine !== currentEngine(this.settings.what)) return;
    this.awaitLeft(own);
    let steps = 0;
    const slots = slotsOf(ruleOf(this.inner)).map((_, i) => {
      steps = this.call<number>(own, { kind: 'fetch', optimizer: own.optimizer, slot: i + 1 }).synchronize();
      return own.buckets.tensors();
    });
    if (slots.length > 0) writeSlots(this.tfjs, this.inner, own.variables, steps, slots);
  }

  /** The servers drop what they hold: the next step begins with the wrapped optimizer's slots and the variables as they are. Every worker does so. */
  close(): void {
    const { open } = this;
    this.open = undefined;
    this.left = [];
    if (open) this.retire(open);
  }

  // ───── inside ─────

  private openAt(engine: Engine, list: readonly tf.Variable[] | undefined): Opened {
    const { what, name, mode, compression } = this.settings;
    const rule = ruleOf(this.inner);
    const all = list ?? Object.values(this.tfjs.engine().registeredVariables);
    const variables = all.filter(({ trainable }) => trainable);
    if (variables.length === 0)
      throw new UsageError(`${what}: none of the ${all.length} variables is trainable: there is nothing to train.`);
    const other = variables.find(({ dtype }) => dtype !== 'float32');
    if (other) throw new UsageError(`${what}: the variable '${other.name}' is ${other.dtype}, but servers train float32.`);
    const kind = servedCompression(compression, what);
    const buckets = new ServedBuckets(
      variables.map(({ shape }) => shape),
      kind,
    );
    const workers = this.settings.workers();
    const own: Opened = { engine, optimizer: nextOptimizer(), variables, buckets, rule: JSON.stringify(rule), step: 0 };
    const gives = workers[0] === engine.config.rank;
    const spec = { name: openedName(engine, name()), mode, workers, rule, compression: kind };
    try {
      this.call(own, { kind: 'open', optimizer: own.optimizer, spec, buckets: buckets.forThread, gives }).synchronize();
      if (gives) this.give(own);
      else this.assign(own, buckets.tensors());
    } catch (error) {
      this.retire(own);
      throw error;
    }
    this.open = own;
    return own;
  }

  /** What training begins with: the variables and, of an optimizer that has stepped already, its slots. */
  private give(own: Opened): void {
    const { optimizer, buckets } = own;
    const held = readSlots(this.inner, own.variables);
    const steps = held?.steps ?? 0;
    const parts: ReadonlyArray<ReadonlyArray<tf.Tensor | undefined>> = [own.variables, ...(held?.slots ?? [])];
    const initial = [0, ...slotsOf(ruleOf(this.inner)).map((slot) => slot.initial)];
    for (const [slot, tensors] of parts.entries()) {
      buckets.fill(tensors, initial[slot]!);
      this.call(own, { kind: 'values', optimizer, slot, steps, isLast: slot === parts.length - 1 }).synchronize();
    }
  }

  /** Its memory is free when the servers have said that nothing more comes. */
  private retire({ engine, optimizer, buckets }: Opened): void {
    // With a job that is over its memory goes.
    if (!engine.isServed) return;
    const name = this.settings.name();
    new PendingHandle<void>(name, engine, engine.submitToServers(name, { kind: 'close', optimizer }), ({ error }) => {
      if (!error && engine.isServed) buckets.release();
      return () => {};
    });
  }

  private begin(own: Opened): Reduction {
    const rule = JSON.stringify(ruleOf(this.inner));
    if (rule !== own.rule)
      throw new UsageError(
        `${this.settings.what}: the optimizer's settings have changed from ${own.rule} to ${rule}. Servers take the learning rate with each step, all else with the first. Make a new optimizer.`,
      );
    const learningRate = learningRateOf(this.inner);
    if (!Number.isFinite(learningRate))
      throw new UsageError(`${this.settings.what}: the learning rate is ${learningRate}; servers take a finite number with each step.`);
    own.step += 1;
    const { optimizer, step, buckets, engine } = own;
    const launch = (bucket: number, copyingSinceUs: number): Array<Handle<number>> => [
      this.call(own, { kind: 'push', optimizer, bucket, step, learningRate }, copyingSinceUs),
    ];
    return new Reduction(
      buckets.places,
      own.variables.map(({ shape }) => shape),
      launch,
      false,
      engine.timeline,
    );
  }

  private finish(own: Opened, step: Reduction, gradients: Readonly<Record<string, tf.Tensor | null | undefined>>): void {
    const { tensors } = this.trying(own, step, () =>
      step.finish(
        own.variables.map(({ name }) => gradients[name] ?? null),
        false,
      ),
    );
    if (!tensors.some((tensor) => tensor)) throw new UsageError(NO_CONNECTION);
    this.assign(own, tensors);
  }

  private trying<R>(own: Opened, step: Reduction, act: () => R): R {
    try {
      return act();
    } catch (error) {
      if (error instanceof StepError) {
        this.assign(own, own.buckets.tensors());
        throw new StepError(
          'Another worker failed in the middle of a step: what it had pushed before is applied, the rest is not. See its own error; the next step of all workers goes on from here.',
        );
      }
      if (!step.isLost) this.left = step.fail();
      throw error;
    }
  }

  /** What a failed step has brought. */
  private awaitLeft(own: Opened): void {
    const { left } = this;
    if (left.length === 0) return;
    this.left = [];
    for (const handle of left) synchronize(handle);
    this.assign(own, own.buckets.tensors());
  }

  /** Takes the tensors. */
  private assign({ variables }: Opened, tensors: ReadonlyArray<tf.Tensor | null>): void {
    for (const [i, tensor] of tensors.entries()) {
      if (tensor) variables[i]!.assign(tensor);
      tensor?.dispose();
    }
  }

  private check(list: readonly tf.Variable[] | undefined): void {
    const { variables } = this.open!;
    const gone = variables.find((variable) => variableNamed(this.tfjs, variable.name) !== variable);
    if (gone)
      throw new UsageError(`${this.settings.what}: the variable '${gone.name}' of the first step was disposed of. Make a new optimizer.`);
    const stranger = list?.find((variable) => variable.trainable && !variables.includes(variable));
    if (stranger)
      throw new UsageError(
        `${this.settings.what}: '${stranger.name}' is none of the ${variables.length} variables that the first step had. Make an optimizer for each list of variables.`,
      );
  }

  /** Ends with when it was done; a fetch with the steps that the slots have seen. */
  private call<R extends number>({ engine }: Pick<Opened, 'engine'>, request: ServerRequest, copyingSinceUs?: number): PendingHandle<R> {
    const name = this.settings.name();
    return new PendingHandle<R>(name, engine, engine.submitToServers(name, request, copyingSinceUs), ({ error, doneAtUs, steps }) => {
      if (error) throw error;
      return () => (steps ?? doneAtUs) as R;
    });
  }
}
