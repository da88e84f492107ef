/** What DistributedOptimizer can be told, checked at the call; and the optimizers that it makes by name. Pure but for the optimizers. */
import type * as tf from '@tensorflow/tfjs-core';
import { Compression, type Compressor, checkedCompressor } from '../compression';
import { UsageError } from '../errors';
import type { Tf } from './load';
import { train } from './train';

/** Options of {@link DistributedOptimizer}. All ranks give the same ones. */
export interface DistributedOptimizerOptions {
  /** Key under which the ranks' optimizers meet. Default: the n-th optimizer that this process makes; ranks make theirs in the same order. */
  name?: string;
  /** Default: average. */
  op?: 'average' | 'sum';
  /** In what form gradients travel. Default: Compression.none. */
  compression?: Compressor;
  /** Gradients are added up locally this many times between reductions; the other calls apply nothing but count. >= 1. Default 1. */
  backwardPassesPerStep?: number;
  /** Those sums are divided by their number. Default false. */
  averageAggregatedGradients?: boolean;
  /** Gradients are divided by it before they are summed, and by size / factor after. Default 1; another value needs op average. */
  gradientPredivideFactor?: number;
}

const known = ['name', 'op', 'compression', 'backwardPassesPerStep', 'averageAggregatedGradients', 'gradientPredivideFactor'];
/** Of the contract, but of later versions. */
const later = ['groups', 'processSet', 'overlap'];

/** With defaults. @throws UsageError an option is unknown or wrong */
export function checkedOptions(options: DistributedOptimizerOptions): Required<DistributedOptimizerOptions> {
  for (const [option, value] of Object.entries(options)) {
    if (known.includes(option) || value === undefined) continue;
    if (later.includes(option))
      throw new UsageError(`DistributedOptimizer: the option '${option}' comes with a later version of khorovod.`);
    throw new UsageError(`DistributedOptimizer has no option '${option}'. It has ${known.join(', ')}.`);
  }
  const { name = '', op = 'average', backwardPassesPerStep = 1, averageAggregatedGradients = false, gradientPredivideFactor = 1 } = options;
  const compression = checkedCompressor(options.compression === undefined ? Compression.none : options.compression, 'DistributedOptimizer');
  if (typeof name !== 'string') throw new UsageError(`DistributedOptimizer: name is a text, but was ${String(name)}.`);
  if ((op as string) === 'adasum') throw new UsageError("DistributedOptimizer: the op 'adasum' comes with a later version of khorovod.");
  if (op !== 'average' && op !== 'sum') throw new UsageError(`DistributedOptimizer: op is 'average' or 'sum', but was '${String(op)}'.`);
  if (!Number.isInteger(backwardPassesPerStep) || backwardPassesPerStep < 1) {
    throw new UsageError(`DistributedOptimizer: backwardPassesPerStep is a whole number >= 1, but was ${String(backwardPassesPerStep)}.`);
  }
  if (!Number.isFinite(gradientPredivideFactor) || gradientPredivideFactor <= 0) {
    throw new UsageError(`DistributedOptimizer: gradientPredivideFactor is a number > 0, but was ${String(gradientPredivideFactor)}.`);
  }
  if (gradientPredivideFactor !== 1 && op !== 'average')
    throw new UsageError("DistributedOptimizer: gradientPredivideFactor needs the op 'average'.");
  return { name, op, compression, backwardPassesPerStep, averageAggregatedGradients, gradientPredivideFactor };
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
