/**
 * ParameterServerOptimizer: a drop-in tf.Optimizer whose rule is applied by servers. Main thread.
 *
 * The wrapped optimizer says which rule, and with which learning rate; its own `applyGradients` is never called. Its slots are the servers': they are pulled into it when somebody asks for its weights.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { Compression, type Compressor, checkedCompressor, servedCompression } from '../compression';
import { nowUs } from '../engine/clock';
import { UsageError } from '../errors';
import { currentEngine } from '../job';
import { isLogged, log } from '../log';
import type { Mode } from '../parameter_server/consistency';
import { globalProcessSet, type ProcessSet, registeredSet } from '../process_set';
import { checkOptions } from '../submit';
import { sayingWhatLacksMemory } from './backends/memory';
import { prepareBackend } from './backends/prepare';
import { ExchangeName } from './exchange_name';
import { checkCopies, loadTf, type Tf } from './load';
import { ServedExchange } from './served_exchange';
import { ruleOf } from './served_rule';
import { stepLine, stepTimes } from './step_times';
import { releasing } from './tape';
import { prepareOptimizers } from './train';
import { checkWrappable, type Gradients, wrappedOptimizerClass } from './wrapped_optimizer';

/** Options of {@link ParameterServerOptimizer}. All workers give the same ones. */
export interface ParameterServerOptimizerOptions {
  /**
   * `'sync'`: a step ends when all workers have pushed, the average is applied once. `'async'`: each push is applied as it comes, nobody waits. `{ staleness: s }`: as `'async'`, but a worker starts step k
   * only when the slowest has finished step k − 1 − s; 0 is `'sync'`. Default `'sync'`.
   */
  mode?:
    | 'sync'
    | 'async'
    | {
        /** Steps that a worker may be ahead of the slowest, beyond the one it works on. >= 0. */
        staleness: number;
      };
  /** In what form gradients travel; variables travel as they are. Default: Compression.none. */
  compression?: Compressor;
}

/**
 * Training through parameter servers instead of a ring: workers push gradients, servers apply the wrapped optimizer and workers pull variables.
 *
 * Servers are the processes that `tsrun --ps N` started beside the workers, else every worker serves a share. They know SGD, momentum, Nesterov, RMSProp, Adam, Adagrad, Adadelta, Adamax, Nadam and AdamW.
 * The variables start as worker 0's: those of the list that the first step is given, else all that are trainable then. `minimize` returns with pulled variables. `getWeights`, `save` and the learning rate
 * work as on any tf.Optimizer; the rate that counts is worker 0's in `'sync'`, the pushing worker's otherwise. A worker that leaves stops nobody but in `'sync'`, where the others get PeerError.
 * A step throws MismatchError when the workers differ, PeerError when a server is gone, NotInitializedError before `init()`.
 * @throws UsageError servers know no such optimizer, or an option is wrong; BackendError TensorFlow.js is not installed, or twice in this process
 */
export function ParameterServerOptimizer<O extends tf.Optimizer>(optimizer: O, options: ParameterServerOptimizerOptions = {}): O {
  const what = 'ParameterServerOptimizer';
  checkOptions(what, options, ['mode', 'compression']);
  const { mode = 'sync', compression: given = Compression.none } = options;
  const compression = checkedCompressor(given, what);
  servedCompression(compression, what);
  return serve(optimizer, {
    what,
    name: '',
    mode: checkedMode(mode, what),
    compression,
    overlap: true,
    processSet: globalProcessSet,
  }) as O;
}

export interface ServeSettings {
  readonly what: string;
  readonly name: string;
  readonly mode: Mode;
  readonly compression: Compressor;
  readonly overlap: boolean;
  /** On a rank outside it the result is the plain optimizer. */
  readonly processSet: ProcessSet;
}

export function serve(inner: tf.Optimizer, settings: ServeSettings): tf.Optimizer {
  const tfjs = loadTf();
  checkCopies();
  prepareOptimizers(tfjs);
  checkWrappable(settings.what, inner);
  ruleOf(inner);
  return new (servedClass(tfjs))(inner, settings);
}

function checkedMode(mode: unknown, what: string): Mode {
  if (mode === 'sync' || mode === 'async') return { kind: mode };
  const staleness = (mode as { staleness?: unknown } | null)?.staleness;
  if (typeof mode !== 'object' || !Number.isSafeInteger(staleness) || (staleness as number) < 0)
    throw new UsageError(`${what}: mode is 'sync', 'async' or { staleness: a whole number >= 0 }, but was ${JSON.stringify(mode)}.`);
  return staleness === 0 ? { kind: 'sync' } : { kind: 'ssp', staleness: staleness as number };
}

type Served = new (inner: tf.Optimizer, settings: ServeSettings) => tf.Optimizer;
const classes = new WeakMap<Tf, Served>();

function servedClass(tfjs: Tf): Served {
  const existing = classes.get(tfjs);
  if (existing) return existing;

  class ServedOptimizer extends wrappedOptimizerClass(tfjs) {
    private readonly exchange: ServedExchange;
    private steps = 0;

    constructor(
      inner: tf.Optimizer,
      private readonly settings: ServeSettings,
    ) {
      super(inner);
      const { what, name, processSet } = settings;
      const meeting = new ExchangeName(what, name, processSet);
      this.exchange = new ServedExchange(tfjs, inner, { ...settings, name: () => meeting.name, workers: () => processSet.ranks });
    }

    private get isOutside(): boolean {
      return !registeredSet(this.settings.what, this.settings.processSet).included();
    }

    override minimize(f: () => tf.Scalar, returnCost = false, variables?: tf.Variable[]): tf.Scalar | null {
      if (this.isOutside) return super.minimize(f, returnCost, variables);
      prepareBackend(tfjs);
      const { value, ...times } = sayingWhatLacksMemory(tfjs, () => this.exchange.differentiate(f, variables));
      this.stepped();
      if (isLogged('DEBUG')) log('DEBUG', stepLine(this.steps, stepTimes({ ...times, appliedUs: nowUs() })));
      if (returnCost) return value;
      value.dispose();
      return null;
    }

    /** At the servers' variables. */
    override computeGradients(f: () => tf.Scalar, variables?: tf.Variable[]) {
      prepareBackend(tfjs);
      if (!this.isOutside) this.exchange.prepare(variables);
      return sayingWhatLacksMemory(tfjs, () => super.computeGradients(releasing(tfjs, f), variables));
    }

    override applyGradients(gradients: Gradients): void {
      prepareBackend(tfjs);
      if (this.isOutside) {
        this.applyPlainly(gradients);
        return;
      }
      const entries = Array.isArray(gradients) ? gradients : Object.entries(gradients).map(([name, tensor]) => ({ name, tensor }));
      sayingWhatLacksMemory(tfjs, () => this.exchange.push(entries.map(({ name, tensor }) => ({ name, tensor: tensor ?? null }))));
      this.stepped();
    }

    private stepped(): void {
      this.steps += 1;
      this.incrementIterations();
      currentEngine(this.settings.what).timeline?.step();
    }

    override async getWeights() {
      this.exchange.pullSlots();
      return super.getWeights();
    }
    override async setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
      await super.setWeights(weights);
      this.exchange.close();
    }
    override dispose(): void {
      this.exchange.close();
      super.dispose();
    }
  }
  classes.set(tfjs, ServedOptimizer);
  return ServedOptimizer;
}
