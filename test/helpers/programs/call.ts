/** One collective of a random program as all ranks make it, and what one of them may do otherwise. Pure. */
import type { Dtype } from '../../../src/dtype';
import type { Random } from '../random';

export type CallKind = 'allreduce' | 'allgather' | 'broadcast' | 'alltoall' | 'reducescatter' | 'barrier' | 'object';
export type Op = 'average' | 'sum' | 'min' | 'max' | 'product' | 'adasum';

export interface Call {
  /** What the values depend on. */
  readonly id: number;
  readonly set: number;
  /** Global ranks of the set, ascending. */
  readonly members: readonly number[];
  /** They have joined before it, and take no part. */
  readonly absent: readonly number[];
  readonly name: string | undefined;
  readonly kind: CallKind;
  readonly dtype: Dtype;
  readonly isTensor: boolean;
  readonly isGrouped: boolean;
  /** One of each value. Axis 0 of what is gathered or exchanged: see `rows` and `splits`. */
  readonly shapes: readonly (readonly number[])[];
  /** Of an allgather: axis 0 of each value on each rank of the job. */
  readonly rows: readonly (readonly number[])[];
  /** Of an alltoall: on each rank of the job, rows for each member. `isEqual`: they are not said. */
  readonly splits: readonly (readonly number[])[];
  readonly isEqual: boolean;
  readonly op: Op;
  readonly prescale: number;
  readonly postscale: number;
  readonly compression: 'none' | 'fp16' | 'bf16';
  readonly isInPlace: boolean;
  readonly root: number;
  /** Values with fractions, whose sums are rounded; else small whole numbers. */
  readonly isReal: boolean;
  readonly disagreement?: { readonly rank: number; readonly about: Disagreement };
}

export type Disagreement = 'kind' | 'dtype' | 'grouping' | 'shape' | 'factors' | 'op' | 'compression' | 'root';

export const everyRank = (size: number): number[] => Array.from({ length: size }, (_, rank) => rank);

const arrayDtypes: readonly Dtype[] = ['float32', 'float64', 'int32', 'uint32', 'int16', 'uint16', 'int8', 'uint8', 'int64', 'uint64'];
const isRagged = ({ kind }: Pick<Call, 'kind'>): boolean => kind === 'allgather' || kind === 'alltoall';
const isFloat = (dtype: Dtype): boolean => dtype.startsWith('float');
const kinds: readonly CallKind[] = [
  ...new Array<CallKind>(6).fill('allreduce'),
  'allgather',
  'allgather',
  'broadcast',
  'broadcast',
  'alltoall',
  'alltoall',
  'reducescatter',
  'reducescatter',
  'barrier',
  'object',
];
/** The algorithms change at 8 KiB on all ranks together, at 32 KiB and at 256 KiB. */
const lengths = [0, 1, 2, 5, 17, 100, 100, 700, 3000, 9000, 20_000];
const largeLengths = [70_000, 300_000];

export function drawCall({ id, set, members, name }: Pick<Call, 'id' | 'set' | 'members' | 'name'>, random: Random): Call {
  const kind = random.oneOf(kinds);
  const isReducing = kind === 'allreduce' || kind === 'reducescatter';
  const isTensor = random.chance(0.3);
  const dtype = isTensor
    ? random.oneOf<Dtype>(isReducing ? ['float32', 'int32'] : ['float32', 'int32', 'bool'])
    : random.oneOf<Dtype>(random.chance(0.5) ? ['float32'] : arrayDtypes);
  const op = drawOp(kind, dtype, random);
  const isGrouped = (isReducing || kind === 'allgather') && random.chance(0.25);
  const needsAxis = kind === 'allgather' || kind === 'alltoall' || kind === 'reducescatter';
  const shapes = Array.from({ length: isGrouped ? 1 + random.below(4) : 1 }, () => drawShape(isTensor, needsAxis, random));
  const isScaled = isReducing && op !== 'adasum' && op !== 'product' && random.chance(0.2);
  const isCompressed = isReducing && op !== 'adasum' && op !== 'product' && random.chance(0.2);
  const isEqual = random.chance(0.4);
  const call: Call = {
    id,
    set,
    members,
    absent: [],
    name: kind === 'barrier' ? undefined : kind === 'object' ? (name ?? 'object') : name,
    kind,
    dtype,
    isTensor,
    isGrouped,
    shapes,
    rows: [],
    splits: [],
    isEqual,
    op,
    prescale: isScaled ? random.oneOf([0.5, 1, 2]) : 1,
    postscale: isScaled ? random.oneOf([0.5, 1, 2]) : 1,
    compression: isCompressed ? random.oneOf(['fp16', 'bf16']) : 'none',
    isInPlace: kind === 'allreduce' && !isTensor && random.chance(0.3),
    root: random.oneOf(members),
    isReal: isReducing && isFloat(dtype) && (op === 'sum' || op === 'average') && random.chance(0.3),
  };
  const withRows = { ...call, ...drawRows(call, random) };
  return random.chance(0.08) ? disagreeing(withRows, random) : withRows;
}

function drawOp(kind: CallKind, dtype: Dtype, random: Random): Op {
  if (kind === 'reducescatter') return random.oneOf(['average', 'sum']);
  if (kind !== 'allreduce') return 'sum';
  return random.oneOf<Op>(['average', 'sum', 'sum', 'min', 'max', 'product', ...(isFloat(dtype) ? (['adasum'] as const) : [])]);
}

function drawShape(isTensor: boolean, needsAxis: boolean, random: Random): number[] {
  const length = random.chance(0.01) ? random.oneOf(largeLengths) : random.oneOf(lengths);
  if (!isTensor) return [length];
  const axes = (needsAxis ? 1 : 0) + random.below(3);
  return axes === 0 ? [] : [length, ...Array.from({ length: axes - 1 }, () => 1 + random.below(3))];
}

/** Each rank's own axis 0. */
function drawRows({ kind, members, shapes, isEqual }: Call, random: Random): Pick<Call, 'rows' | 'splits'> {
  const ranks = everyRank(Math.max(...members) + 1);
  const most = (length: number): number => Math.min(length, 2000);
  const rows = kind === 'allgather' ? ranks.map(() => shapes.map(([length]) => random.below(most(length!) + 1))) : [];
  if (kind !== 'alltoall') return { rows, splits: [] };
  const length = most(shapes[0]![0]!);
  return {
    rows,
    splits: ranks.map(() => {
      const equal = random.below(length + 1);
      return members.map(() => (isEqual ? equal : random.below(length + 1)));
    }),
  };
}

/** The same again, or nearly: what the cache holds of it is then right on some ranks only, or wrong. */
export function varied(call: Call, random: Random): Call {
  const { disagreement, ...agreed } = call;
  if (random.chance(0.08)) return disagreeing(agreed, random);
  if (random.chance(0.7)) return agreed;
  if (call.kind === 'allgather' || call.kind === 'alltoall') {
    const redrawn = drawRows(call, random);
    const keeper = random.oneOf(call.members);
    return {
      ...agreed,
      rows: redrawn.rows.map((rows, rank) => (rank === keeper ? call.rows[rank]! : rows)),
      splits: redrawn.splits.map((splits, rank) => (rank === keeper ? call.splits[rank]! : splits)),
    };
  }
  if (call.kind === 'broadcast') return { ...agreed, root: random.oneOf(call.members) };
  return { ...agreed, shapes: call.shapes.map(([length, ...axes]) => (length === undefined ? [] : [length + 1, ...axes])) };
}

function disagreeing(call: Call, random: Random): Call {
  const { kind, members, isGrouped, op } = call;
  if (members.length < 2 || kind === 'barrier' || kind === 'object' || call.name === undefined) return call;
  const isReducing = kind === 'allreduce' || kind === 'reducescatter';
  const about = random.oneOf<Disagreement>([
    'kind',
    ...(!isRagged(call) || call.isTensor || call.dtype === 'float32' || call.dtype === 'int32' ? (['shape'] as const) : []),
    ...(op === 'adasum' ? [] : (['dtype'] as const)),
    ...(isReducing ? (['factors', 'op'] as const) : []),
    ...(isReducing && call.dtype.startsWith('float') && op !== 'adasum' ? (['compression'] as const) : []),
    ...((isReducing || kind === 'allgather') && !isGrouped ? (['grouping'] as const) : []),
    ...(kind === 'broadcast' ? (['root'] as const) : []),
  ]);
  return { ...call, disagreement: { rank: random.oneOf(members), about } };
}

/** What one rank calls. */
export function callOf(call: Call, rank: number): Call {
  if (call.disagreement?.rank !== rank) return call;
  switch (call.disagreement.about) {
    case 'kind': {
      const kind = call.kind === 'broadcast' ? 'allreduce' : 'broadcast';
      const plain = { op: 'sum', compression: 'none', prescale: 1, postscale: 1 } as const;
      return { ...call, ...plain, kind, isGrouped: false, isTensor: false, isInPlace: false, shapes: [[3]] };
    }
    case 'dtype':
      return { ...call, dtype: call.dtype === 'int32' ? 'float32' : 'int32', compression: 'none' };
    case 'grouping':
      return { ...call, isGrouped: true };
    case 'shape':
      if (!isRagged(call) && !call.isTensor) return { ...call, shapes: call.shapes.map((shape) => [shape[0]! + 3]) };
      return { ...call, isTensor: true, isInPlace: false, shapes: call.shapes.map((shape) => [...shape, 4]) };
    case 'factors':
      return { ...call, postscale: call.postscale * 4 };
    case 'op':
      return { ...call, op: call.op === 'sum' ? 'average' : 'sum' };
    case 'compression':
      return { ...call, compression: call.compression === 'fp16' ? 'bf16' : 'fp16' };
    case 'root':
      return { ...call, root: call.members.find((member) => member !== call.root)! };
  }
}

/** Without a disagreement that nobody sees. */
export function withAbsent(call: Call, absent: readonly number[]): Call {
  const present = call.members.filter((rank) => !absent.includes(rank));
  const { disagreement, ...agreed } = call;
  const isSeen = disagreement && present.length > 1 && present.includes(disagreement.rank);
  return isSeen ? { ...call, absent } : { ...agreed, absent };
}

/** For a failure: everything but whose rows are how many. */
export function describeCall({ rows: _, splits: __, ...call }: Call): string {
  return JSON.stringify(call);
}
