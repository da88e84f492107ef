/** The command line of the training benchmark: options as a table, read and checked at once. Pure. */
import { parseArgs } from 'node:util';
import { type Compressor, compressorNamed } from '../compression';
import { UsageError } from '../errors';
import type { OnCorrupt } from './data/decoded';
import { MOST_WORKERS } from './data/memory';
import { CLASSES, describeNetwork, findNetwork, type NetworkName } from './models/networks';

export const optimizerNames = ['sgd', 'momentum', 'nesterov', 'rmsprop', 'adam'] as const;
export type OptimizerName = (typeof optimizerNames)[number];

export interface ThroughputSettings {
  network: NetworkName;
  /** Images a rank takes at a step. */
  batchSize: number;
  /** Height and width of the images. */
  size: number;
  classes: number;
  /** Steps before those that are measured. */
  warmUp: number;
  iterations: number;
  dataWorkers: number;
  /** A folder of images; undefined: synthetic ones. */
  data?: string;
  /** Of `data`: corrupt images end the job, or others take their places. */
  onCorrupt: OnCorrupt;
  optimizer: OptimizerName;
  learningRate: number;
  /** In what form gradients travel. */
  compression: Compressor;
  seed: number;
  /** As many jobs of one rank as there are ranks: nothing is exchanged while they train. */
  isWithoutCommunication: boolean;
  /** A profile: computation is a wait. Undefined: it is real. */
  emulate?: string;
  /** Emulated computation takes so many times as long. */
  slowDown: number;
}

interface Option<T> {
  /** Without: it is true where it stands. */
  readonly value?: string;
  readonly fallback: T;
  /** Undefined: the text does not fit. */
  readonly parse: (text: string) => T | undefined;
  readonly expects: string;
  readonly help: string;
}
const option = <T>(
  value: string,
  fallback: NoInfer<T>,
  parse: (text: string) => T | undefined,
  expects: string,
  help: string,
): Option<T> => ({
  value,
  fallback,
  parse,
  expects,
  help,
});
const integer =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number | undefined => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? value : undefined;
  };
const positive = (text: string): number | undefined => (Number(text) > 0 && Number.isFinite(Number(text)) ? Number(text) : undefined);
const text = (value: string): string | undefined => value || undefined;
const oneOf =
  <T extends string>(names: readonly T[]) =>
  (value: string): T | undefined =>
    names.find((name) => name === value);

/** Every option; a new one is a row here and a field of the settings. */
export const throughputOptions = {
  network: option<string>('NAME', '', text, 'a name', 'vgg16, vgg19, resnet50, resnet152 or inception_v4'),
  'batch-size': option('N', 32, integer(1), 'a whole number >= 1', 'images a rank takes at a step'),
  'image-size': option<number | undefined>(
    'N',
    undefined,
    integer(1),
    'a whole number >= 1',
    "height and width of the images; default: the network's",
  ),
  classes: option('N', CLASSES, integer(2), 'a whole number >= 2', 'of the images'),
  warmup: option('N', 10, integer(0), 'a whole number >= 0', 'steps before those that are measured'),
  iterations: option('N', 500, integer(1), 'a whole number >= 1', 'steps that are measured'),
  'data-workers': option(
    'N',
    2,
    integer(1, MOST_WORKERS),
    `a whole number from 1 to ${MOST_WORKERS}`,
    'threads a rank has that make its batches',
  ),
  data: option<string | undefined>('DIR', undefined, text, 'a folder', 'images, one folder a class; default: synthetic ones'),
  'on-corrupt': option<OnCorrupt>(
    'WHAT',
    'refuse',
    oneOf(['refuse', 'skip']),
    'refuse or skip',
    'what an image that cannot be decoded does',
  ),
  optimizer: option<OptimizerName>('NAME', 'sgd', oneOf(optimizerNames), optimizerNames.join(', '), 'what updates the variables'),
  lr: option('RATE', 0.005, positive, 'a number > 0', 'learning rate'),
  compression: option<Compressor>(
    'NAME',
    compressorNamed('none')!,
    compressorNamed,
    'none, fp16, bf16, int8, topK or powerSGD (with an option: topK(0.01), powerSGD(4))',
    'in what form gradients travel',
  ),
  seed: option('N', 1, integer(0, 1_000_000), 'a whole number from 0 to 1000000', 'of weights and data'),
  'emulate-compute': option<string | undefined>(
    'PROFILE',
    undefined,
    text,
    'a profile',
    'computation is a wait as long as a profile says (k80, a JSON file; none: no computation at all), all else is real',
  ),
  'slow-down': option('FACTOR', 1, positive, 'a number > 0', 'emulated computation takes so many times as long, for links as much slower'),
  'no-communication': { fallback: false, parse: () => true, expects: '', help: 'each rank trains alone: the control' } as Option<boolean>,
} as const;

/** @throws UsageError in one line, what is wrong with which option */
export function readThroughputArgs(words: readonly string[]): ThroughputSettings {
  const shapes = Object.entries(throughputOptions).map(([name, { value }]) => [name, { type: value ? 'string' : 'boolean' }] as const);
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ args: [...words], options: Object.fromEntries(shapes) }).values as typeof given;
  } catch (error) {
    throw new UsageError(`${(error as Error).message.split('. ')[0]}. Options: ${shapes.map(([name]) => `--${name}`).join(' ')}`);
  }
  const read = <N extends keyof typeof throughputOptions>(name: N): (typeof throughputOptions)[N]['fallback'] => {
    const { fallback, parse, expects } = throughputOptions[name];
    if (given[name] === undefined) return fallback;
    const value = parse(String(given[name]));
    if (value === undefined) throw new UsageError(`--${name} '${given[name]}' is not ${expects}.`);
    return value;
  };
  if (given.network === undefined) throw new UsageError(`--network is missing: ${throughputOptions.network.help}.`);
  const { name: network, size: publishedSize } = findNetwork(String(given.network));
  const settings: ThroughputSettings = {
    network,
    batchSize: read('batch-size'),
    size: read('image-size') ?? publishedSize,
    classes: read('classes'),
    warmUp: read('warmup'),
    iterations: read('iterations'),
    dataWorkers: read('data-workers'),
    data: read('data'),
    onCorrupt: read('on-corrupt'),
    optimizer: read('optimizer'),
    learningRate: read('lr'),
    compression: read('compression'),
    seed: read('seed'),
    isWithoutCommunication: read('no-communication'),
    emulate: read('emulate-compute'),
    slowDown: read('slow-down'),
  };
  if (settings.emulate !== undefined && settings.compression.name !== 'none')
    throw new UsageError(
      '--compression and --emulate-compute do not go together: emulated gradients are no numbers whose sums a lossy compressor could keep.',
    );
  describeNetwork(network, settings); // refuses what it is too small for
  return settings;
}
