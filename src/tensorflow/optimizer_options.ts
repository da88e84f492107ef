/** What DistributedOptimizer can be told, checked at the call; and the optimizers that it makes by name. Pure but for the optimizers. */
import type * as tf from '@tensorflow/tfjs-core';
import type { layers } from '@tensorflow/tfjs-layers';
import { Compression, type Compressor, checkedCompressor } from '../compression';
import { UsageError } from '../errors';
import { isInitialized } from '../job';
import { globalProcessSet, ProcessSet, registeredSet } from '../process_set';
import { checkOptions } from '../submit';
import type { Tf } from './load';
import { checkedLayers, LocalLayers } from './local_layers';
import { train } from './train';
import { type LayerVariable, variableOf } from './variables';

/** Options of {@link DistributedOptimizer}. All ranks give the same ones. */
export interface DistributedOptimizerOptions {
  /** Key under which the ranks' optimizers meet. Default: the n-th that this process uses on the process set; ranks use theirs in the same order. */
  name?: string;
  /** Default: average. Adasum combines each variable's gradients by itself, uncompressed. */
  op?: 'average' | 'sum' | 'adasum';
  /** In what form gradients travel. Default: Compression.none. */
  compression?: Compressor;
  /**
   * Gradients are added up locally this many times between reductions; the other calls apply nothing but count. >= 1. Default 1. What was added up is not saved: save after whole steps
   * (`iterations` is a multiple of it), and go on with the same number.
   */
  backwardPassesPerStep?: number;
  /** Those sums are divided by their number. Default false. */
  averageAggregatedGradients?: boolean;
  /** Gradients are divided by it before they are summed, and by size / factor after. Default 1; another value needs op average. */
  gradientPredivideFactor?: number;
  /**
   * What is reduced as one call: so many groups of equally many variables, or lists of variables; a variable in no list goes as by default. Default: neighbours, as many as fit into 1 to 4 MiB (a sixteenth of all).
   * The same on every rank.
   */
  groups?: number | Array<tf.Variable[] | LayerVariable[]>;
  /** Who reduces together. On a rank outside it the result is the plain optimizer. Default: all ranks. */
  processSet?: ProcessSet;
  /**
   * Gradients leave while the rest of backpropagation still runs, in `minimize` and what calls it (`fit`, `fitDataset`, `trainOnBatch`). The results are the same to the bit. Default true; it has no effect with
   * backwardPassesPerStep > 1.
   */
  overlap?: boolean;
}
export interface PartialDistributedOptimizerOptions extends DistributedOptimizerOptions {
  /** Gradients of their weights are not reduced. They may be built later. */
  localLayers: layers.Layer[];
  /** Those gradients are divided by the number of ranks, as if the others' were zero: the learning rate then fits both. Default true. */
  scaleLocalGradients?: boolean;
}
/** Checked, with defaults. */
export interface ExchangeSettings extends Required<Omit<DistributedOptimizerOptions, 'groups'>> {
  /** Whose options they are. */
  readonly what: string;
  /** Lists hold names of variables. */
  readonly groups?: number | ReadonlyArray<readonly string[]>;
  readonly localLayers?: LocalLayers;
}

const known = [
  'name',
  'op',
  'compression',
  'backwardPassesPerStep',
  'averageAggregatedGradients',
  'gradientPredivideFactor',
  'groups',
  'processSet',
  'overlap',
];
const ops = ['average', 'sum', 'adasum'];

/** @param what whose options they are @throws UsageError an option is unknown or wrong; ProcessSetError the process set is not registered in this job */
export function checkedOptions(tfjs: Tf, options: DistributedOptimizerOptions, what = 'DistributedOptimizer'): ExchangeSettings {
  checkOptions(what, options, known);
  const { name = '', op = 'average', backwardPassesPerStep = 1, averageAggregatedGradients = false, gradientPredivideFactor = 1 } = options;
  const compression = checkedCompressor(options.compression === undefined ? Compression.none : options.compression, what);
  if (typeof name !== 'string') throw new UsageError(`${what}: name is a text, but was ${String(name)}.`);
  if (!ops.includes(op)) throw new UsageError(`${what}: op is one of ${ops.join(', ')}, but was '${String(op)}'.`);
  if (!Number.isInteger(backwardPassesPerStep) || backwardPassesPerStep < 1) {
    throw new UsageError(`${what}: backwardPassesPerStep is a whole number >= 1, but was ${String(backwardPassesPerStep)}.`);
  }
  if (!Number.isFinite(gradientPredivideFactor) || gradientPredivideFactor <= 0) {
    throw new UsageError(`${what}: gradientPredivideFactor is a number > 0, but was ${String(gradientPredivideFactor)}.`);
  }
  if (gradientPredivideFactor !== 1 && op !== 'average') throw new UsageError(`${what}: gradientPredivideFactor needs the op 'average'.`);
  if (op === 'adasum' && compression !== Compression.none)
    throw new UsageError(`${what}: an adasum is not compressed. Leave compression out, or use the op 'average' or 'sum'.`);
  if (op === 'adasum' && averageAggregatedGradients)
    throw new UsageError(`${what}: adasum takes the sums of the passes. Leave averageAggregatedGradients out, or use another op.`);
  const { overlap = true } = options;
  if (typeof overlap !== 'boolean') throw new UsageError(`${what}: overlap is true or false, but was ${String(overlap)}.`);
  return {
    what,
    name,
    op,
    compression,
    backwardPassesPerStep,
    averageAggregatedGradients,
    gradientPredivideFactor,
    groups: checkedGroups(tfjs, options.groups, what),
    processSet: checkedSet(options.processSet, what),
    overlap,
  };
}

/** @throws as `checkedOptions`, and UsageError the layers are wrong */
export function checkedPartialOptions(
  tfjs: Tf,
  { localLayers, scaleLocalGradients = true, ...options }: PartialDistributedOptimizerOptions,
): ExchangeSettings {
  const what = 'PartialDistributedOptimizer';
  const found = checkedLayers(localLayers, what);
  if (typeof scaleLocalGradients !== 'boolean')
    throw new UsageError(`${what}: scaleLocalGradients is true or false, but was ${String(scaleLocalGradients)}.`);
  return { ...checkedOptions(tfjs, options, what), localLayers: new LocalLayers(tfjs, found, scaleLocalGradients) };
}

/** Before `init()` no set is registered: then it is looked at when it is first used. */
function checkedSet(set: ProcessSet | undefined, what: string): ProcessSet {
  if (set !== undefined && !(set instanceof ProcessSet))
    throw new UsageError(`${what}: processSet is a ProcessSet, but was ${set === null ? 'null' : typeof set}.`);
  return isInitialized() ? registeredSet(what, set) : (set ?? globalProcessSet);
}

function checkedGroups(tfjs: Tf, groups: unknown, what: string): ExchangeSettings['groups'] {
  if (groups === undefined) return undefined;
  if (typeof groups === 'number') {
    if (Number.isInteger(groups) && groups >= 1) return groups;
    throw new UsageError(`${what}: groups is a whole number >= 1, or lists of variables, but was ${groups}.`);
  }
  if (!Array.isArray(groups) || !groups.every(Array.isArray))
    throw new UsageError(`${what}: groups is a whole number >= 1, or a list of lists of variables.`);
  const placeOf = new Map<string, number>();
  return groups.map((group: unknown[], i) =>
    group.map((one) => {
      const { name } = variableOf(tfjs, one, `${what}: in groups, list ${i}`);
      const earlier = placeOf.get(name);
      if (earlier !== undefined)
        throw new UsageError(`${what}: in groups the variable '${name}' is in list ${earlier} and again in list ${i}. Put it into one.`);
      placeOf.set(name, i);
      return name;
    }),
  );
}

const factories: Record<string, (tfjs: Tf) => tf.Optimizer> = {
  sgd: (tfjs) => tfjs.train.sgd(0.01),
  adam: (tfjs) => tfjs.train.adam(0.001, 0.9, 0.999, tfjs.backend().epsilon()),
  adamax: (tfjs) => tfjs.train.adamax(0.002, 0.9, 0.999, tfjs.backend().epsilon(), 0),
  adagrad: (tfjs) => tfjs.train.adagrad(0.01),
  adadelta: (tfjs) => tfjs.train.adadelta(1, 0.95, tfjs.backend().epsilon()),
  rmsprop: (tfjs) => tfjs.train.rmsprop(0.001, 0.9, 0, tfjs.backend().epsilon()),
  nadam: () => train.nadam(),
  adamw: () => train.adamw(),
  lamb: () => train.lamb(),
};

/** As tfjs-layers' own table of names, with its learning rates; and those of `hvd.train` that have a default rate. @throws UsageError no optimizer has that name */
export function optimizerByName(tfjs: Tf, name: string): tf.Optimizer {
  const factory = Object.hasOwn(factories, name.toLowerCase()) ? factories[name.toLowerCase()] : undefined;
  if (!factory)
    throw new UsageError(
      `DistributedOptimizer: no optimizer is named '${name}'. Names are ${Object.keys(factories).join(', ')}; others are passed as objects.`,
    );
  return factory(tfjs);
}
