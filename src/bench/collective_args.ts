/** The command line of `tsrun bench COLLECTIVE`: what is measured, on which sizes. Pure. */
import { parseArgs } from 'node:util';
import { type Dtype, dtypes, isFloat } from '../dtype';
import { UsageError } from '../errors';

export const collectives = ['allreduce', 'grouped-allreduce', 'allgather', 'broadcast', 'reducescatter', 'alltoall', 'barrier'] as const;
export type Collective = (typeof collectives)[number];

export const ops = ['sum', 'average', 'min', 'max', 'product', 'adasum'] as const;
export type Op = (typeof ops)[number];
/** Which of them a collective has; the others reduce nothing. */
const opsOf: Partial<Record<Collective, readonly Op[]>> = {
  allreduce: ops,
  'grouped-allreduce': ops,
  reducescatter: ['sum', 'average'],
};

/** One call after the other; or several under way at once, which the ranks submit in one order, or each in an order of its own. */
export type Order = 'single' | 'in-order' | 'out-of-order';

export interface CollectiveArgs {
  readonly collective: Collective;
  /** Bytes, in nccl-tests' sense. */
  readonly sizes: readonly number[];
  readonly dtype: Dtype;
  /** undefined: it reduces nothing. */
  readonly op?: Op;
  readonly order: Order;
  /** Tensors of a group, in a grouped collective. */
  readonly parts: number;
  /** undefined: by size. */
  readonly iterations?: number;
  readonly compression: string;
  readonly hasTensors: boolean;
  readonly json?: string;
}

/** Calls that are under way together when their order is measured. */
export const CALLS_IN_FLIGHT = 4;

export const collectiveOptions = {
  sizes: { type: 'string' },
  dtype: { type: 'string' },
  op: { type: 'string' },
  'in-order': { type: 'boolean' },
  'out-of-order': { type: 'boolean' },
  parts: { type: 'string' },
  iterations: { type: 'string' },
  compression: { type: 'string' },
  tensors: { type: 'boolean' },
  json: { type: 'string' },
} as const;

/** @param words the collective, then its options @throws UsageError what was given, and what is allowed */
export function readCollectiveArgs([name = '', ...words]: readonly string[]): CollectiveArgs {
  return checkedArgs(name, given(words));
}

function given(words: readonly string[]): GivenOptions {
  try {
    return parseArgs({ args: [...words], options: collectiveOptions }).values;
  } catch (error) {
    throw new UsageError(`bench: ${(error as Error).message}`);
  }
}

export type GivenOptions = ReturnType<typeof parseArgs<{ options: typeof collectiveOptions }>>['values'];

/** @throws UsageError what was given, and what is allowed */
export function checkedArgs(name: string, given: GivenOptions): CollectiveArgs {
  const collective = oneOf('bench', name, collectives);
  const allowed = opsOf[collective];
  if (given.op !== undefined && !allowed) throw new UsageError(`--op '${given.op}': ${collective} reduces nothing. Leave --op out.`);
  const op = allowed && oneOf('--op', given.op ?? 'sum', allowed);
  const dtype = oneOf('--dtype', given.dtype ?? 'float32', movedDtypes);
  if (op === 'adasum' && !isFloat(dtype)) throw new UsageError(`--op adasum is for float32 and float64, not ${dtype}.`);
  const hasTensors = given.tensors ?? false;
  if (hasTensors && dtype !== 'float32' && dtype !== 'int32')
    throw new UsageError(`--tensors: tensors are float32 or int32, but --dtype is ${dtype}.`);
  const compression = given.compression ?? 'none';
  if (compression !== 'none' && !op)
    throw new UsageError(`--compression '${compression}': only what reduces is compressed, no ${collective}.`);
  if (given['in-order'] && given['out-of-order']) throw new UsageError('--in-order and --out-of-order exclude each other.');
  const order: Order = given['out-of-order'] ? 'out-of-order' : given['in-order'] ? 'in-order' : 'single';
  if (given.parts !== undefined && collective !== 'grouped-allreduce')
    throw new UsageError(`--parts '${given.parts}': it is the number of tensors of grouped-allreduce. Leave it out.`);
  return {
    collective,
    sizes: collective === 'barrier' ? [0] : parseSizes(given.sizes ?? '1K..64M'),
    dtype,
    op,
    order,
    parts: collective === 'grouped-allreduce' ? wholeNumber('--parts', given.parts ?? '8') : 1,
    iterations: given.iterations === undefined ? undefined : wholeNumber('--iterations', given.iterations),
    compression,
    hasTensors,
    json: given.json,
  };
}

const movedDtypes = dtypes.filter((dtype) => dtype !== 'bool');

/** @throws UsageError it is none of them */
export function oneOf<T extends string>(what: string, given: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === given);
  if (found === undefined) throw new UsageError(`${what} '${given}': it is one of ${allowed.join(', ')}.`);
  return found;
}

/** @throws UsageError it is not a whole number >= 1 */
export function wholeNumber(what: string, given: string): number {
  const number = Number(given);
  if (!Number.isInteger(number) || number < 1) throw new UsageError(`${what} is a whole number >= 1, but was '${given}'.`);
  return number;
}

const units: Record<string, number> = { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 };
/** From one size of a range to the next. */
const FACTOR = 4;

/** '1K..64M' (each four times the one before, and the last) or '1K,64K,1M' in bytes. @throws UsageError */
export function parseSizes(text: string): number[] {
  const one = (word: string): number => {
    const found = /^(\d+)([KMG]?)(i?B)?$/i.exec(word.trim());
    if (!found) throw new UsageError(`--sizes '${text}': '${word}' is no size. Write 1K..64M or 1K,64K,1M.`);
    return Number(found[1]) * units[found[2]!.toUpperCase()]!;
  };
  const range = /^(.+)\.\.(.+)$/.exec(text);
  if (!range) return text.split(',').map(one);
  const [first, last] = [one(range[1]!), one(range[2]!)];
  if (first < 1 || last < first) throw new UsageError(`--sizes '${text}': the range is empty.`);
  const sizes: number[] = [];
  for (let bytes = first; bytes <= last; bytes *= FACTOR) sizes.push(bytes);
  if (sizes.at(-1) !== last) sizes.push(last);
  return sizes;
}
