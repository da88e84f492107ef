/**
 * One collective call as the engine sees it, when two of them are the same, and its form on the wire.
 *
 * Pure; both threads. Invariant: a Call that came through `callFromRequest` names only kinds, dtypes and ops of this version and sizes that a rank can hold, so
 * whatever computes with it (bytes to fuse, rows to gather) needs no check of its own.
 */
import { bytesPerElem, type Dtype, dtypes, elemsOf, isFloat } from '../dtype';
import { WireError } from '../errors';
import type { khorovod } from '../wire/generated/messages';
import { type CompressionText, isCompressionText, keepsResidual } from './compressor';

export const kinds = [
  'allreduce',
  'allgather',
  'broadcast',
  'alltoall',
  'reducescatter',
  'barrier',
  'join',
  'add-set',
  'remove-set',
] as const;
export type Kind = (typeof kinds)[number];
/** On each element by itself: any range of any tensor can be reduced alone. */
export const elementOps = ['average', 'sum', 'min', 'max', 'product'] as const;
export type ElementOp = (typeof elementOps)[number];
/** Adasum looks at a tensor as a whole. */
export const reduceOps = [...elementOps, 'adasum'] as const;
export type CallOp = (typeof reduceOps)[number];

export interface Call {
  /** The key under which the ranks meet. */
  readonly name: string;
  readonly kind: Kind;
  readonly dtype: Dtype;
  /** A shape per tensor: one unless grouped, none for barrier and join; of a process set that is added its ranks, of one that is removed its id. */
  readonly parts: readonly (readonly number[])[];
  readonly op: CallOp;
  readonly prescale: number;
  readonly postscale: number;
  /** Global rank; −1: none. */
  readonly root: number;
  readonly processSet: number;
  /** Several tensors as one unit, never fused with others: its bits depend on nothing else that is pending. */
  readonly grouped: boolean;
  /** A barrier fails when not all have come after so long; 0: it waits. Ranks may differ. */
  readonly timeoutMs: number;
  /** Of an allreduce of floats; of everything else: none. */
  readonly compression: CompressionText;
  /** Of an alltoall: rows for each member, in their order, together axis 0. Else none. */
  readonly splits: readonly number[];
}

export const isSameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((axis, i) => axis === b[i]);

/** Of a barrier everybody keeps a time of his own. */
export function isSameCall(a: Call, b: Call): boolean {
  return (
    a === b ||
    (a.name === b.name &&
      a.kind === b.kind &&
      a.dtype === b.dtype &&
      a.op === b.op &&
      a.prescale === b.prescale &&
      a.postscale === b.postscale &&
      a.root === b.root &&
      a.processSet === b.processSet &&
      a.grouped === b.grouped &&
      a.compression === b.compression &&
      isSameShape(a.splits, b.splits) &&
      a.parts.length === b.parts.length &&
      a.parts.every((shape, i) => isSameShape(shape, b.parts[i]!)))
  );
}

/** Names are unique within a process set only. */
export const callKey = ({ processSet, name }: Pick<Call, 'processSet' | 'name'>): string => `${processSet}:${name}`;

/** What the ranks settle among themselves: no data goes with it. */
const isSettled = (kind: Kind): boolean => kind === 'barrier' || kind === 'join' || kind === 'add-set' || kind === 'remove-set';

/** Bytes of this rank's tensors, without padding. */
export const bytesOfCall = (call: Call): number =>
  isSettled(call.kind) ? 0 : call.parts.reduce((sum, shape) => sum + elemsOf(shape), 0) * bytesPerElem(call.dtype);

/** Whether its elements may be reduced beside those of other calls, and by whoever holds them. */
export const isByElement = ({ kind, op, compression }: Call): boolean =>
  kind === 'allreduce' && op !== 'adasum' && !keepsResidual(compression);

/** Whether its floats may travel so: what keeps a residual is for sums of what every rank holds all of. */
export const isCompressible = ({ kind, op }: Pick<Call, 'kind' | 'op'>, compression: CompressionText): boolean =>
  keepsResidual(compression)
    ? kind === 'allreduce' && (op === 'sum' || op === 'average')
    : (kind === 'allreduce' || kind === 'reducescatter') && op !== 'adasum';

/** Axis 0 is the ranks' own business. */
export const isRagged = (kind: Kind): boolean => kind === 'allgather' || kind === 'alltoall';

export function callToRequest(call: Call): khorovod.IRequest {
  return { ...call, parts: call.parts.map((axes) => ({ axes: [...axes] })), splits: [...call.splits] };
}

// Far above what anybody needs, far below what would make the coordinator stumble.
const mostNameChars = 1024;
const mostParts = 65536;
/** TensorFlow.js has 6. With 16 the number of elements, a float64, stays finite whatever the axes are. */
const mostAxes = 16;
const groupedKinds: readonly Kind[] = ['allreduce', 'allgather', 'reducescatter'];
/** All that wasm32 can address. */
const mostBytes = 2 ** 32;

/** @throws WireError a field holds what no rank of this version sends */
export function callFromRequest(request: khorovod.IRequest): Call {
  const name = request.name ?? '';
  if (name === '' || name.length > mostNameChars)
    refuse(name, `has a name of ${name.length} characters; 1 to ${mostNameChars} are allowed`);
  const call: Call = {
    name,
    kind: oneOf(kinds, request.kind, name, 'collective'),
    dtype: oneOf(dtypes, request.dtype, name, 'dtype'),
    parts: (request.parts ?? []).map(({ axes }) => [...(axes ?? [])]),
    op: oneOf(reduceOps, request.op, name, 'op'),
    prescale: request.prescale ?? 0,
    postscale: request.postscale ?? 0,
    root: request.root ?? 0,
    processSet: request.processSet ?? 0,
    grouped: request.grouped ?? false,
    timeoutMs: request.timeoutMs ?? 0,
    compression: compressionOf(request.compression, name),
    splits: request.splits ?? [],
  };
  checkParts(call);
  checkSplits(call);
  if (!Number.isFinite(call.prescale) || !Number.isFinite(call.postscale))
    refuse(name, `has the scale factors ${call.prescale} and ${call.postscale}; both must be finite`);
  if ((call.kind === 'allreduce' || call.kind === 'reducescatter') && call.dtype === 'bool')
    refuse(name, 'reduces bool, which cannot be reduced');
  if (call.op === 'adasum' && !(call.kind === 'allreduce' && isFloat(call.dtype)))
    refuse(name, `asks for adasum of ${call.dtype} by ${call.kind}, which does not exist`);
  if (call.kind === 'reducescatter' && call.op !== 'sum' && call.op !== 'average')
    refuse(name, `scatters a ${call.op}; there are sums and averages`);
  if (call.compression !== 'none' && !(isCompressible(call, call.compression) && isFloat(call.dtype)))
    refuse(name, `compresses ${call.dtype} of ${call.kind} by ${call.op}, which is not done`);
  if (call.kind === 'broadcast' ? call.root < 0 : call.root !== -1) refuse(name, `names the root rank ${call.root} for ${call.kind}`);
  return call;
}

function checkParts({ name, kind, dtype, parts, grouped }: Call): void {
  if (grouped && !groupedKinds.includes(kind)) refuse(name, `is a grouped ${kind}, which does not exist`);
  const isRightCount =
    kind === 'barrier' || kind === 'join'
      ? parts.length === 0
      : grouped
        ? parts.length >= 1 && parts.length <= mostParts
        : parts.length === 1;
  if (!isRightCount) refuse(name, `has ${parts.length} tensors for ${grouped ? 'a grouped' : 'a single'} ${kind}`);
  for (const shape of parts) {
    if (shape.length > mostAxes && kind !== 'add-set') refuse(name, `has a tensor of ${shape.length} axes; ${mostAxes} are allowed`);
    if ((isRagged(kind) || kind === 'reducescatter') && shape.length === 0) refuse(name, `gives ${kind} a scalar, which has no axis 0`);
    if (!shape.every((axis) => Number.isInteger(axis) && axis >= 0)) refuse(name, `has a tensor of shape [${shape.join(',')}]`);
  }
  if (isSettled(kind)) return;
  const bytes = parts.reduce((sum, shape) => sum + elemsOf(shape), 0) * bytesPerElem(dtype);
  if (bytes > mostBytes) refuse(name, `announces ${bytes} bytes; a rank can hold ${mostBytes}`);
}

function checkSplits({ name, kind, parts, splits }: Call): void {
  const rows = splits.reduce((sum, split) => sum + split, 0);
  const isRight = kind === 'alltoall' ? splits.length > 0 && rows <= parts[0]![0]! : splits.length === 0;
  if (!isRight) refuse(name, `gives ${kind} ${splits.length} splits of ${rows} rows for a tensor of shape [${parts[0] ?? ''}]`);
}

function oneOf<T extends string>(values: readonly T[], value: string | null | undefined, name: string, what: string): T {
  const found = values.find((known) => known === value);
  return found ?? refuse(name, unknown(what, value));
}
const unknown = (what: string, value: unknown): string => `names the ${what} '${excerpt(String(value))}', which this version does not know`;

function compressionOf(text: string | null | undefined, name: string): CompressionText {
  return isCompressionText(text ?? '') ? (text as CompressionText) : refuse(name, unknown('compression', text));
}

function refuse(name: string, how: string): never {
  throw new WireError(`The request '${excerpt(name)}' of a rank ${how}. Install the same version of khorovod on every host.`);
}
/** What a stranger wrote must not fill the log. */
const excerpt = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
