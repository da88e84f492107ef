/** One collective call as the engine sees it, and its form on the wire. Pure. */
import { type Dtype, dtypes } from '../dtype';
import { WireError } from '../errors';
import type { khorovod } from '../wire/generated/messages';

export const kinds = ['allreduce', 'allgather', 'broadcast', 'barrier'] as const;
export type Kind = (typeof kinds)[number];
export const reduceOps = ['average', 'sum', 'min', 'max', 'product'] as const;

export interface Call {
  readonly name: string;
  readonly kind: Kind;
  readonly dtype: Dtype;
  /** A shape per tensor; one unless grouped. */
  readonly parts: readonly (readonly number[])[];
  readonly op: (typeof reduceOps)[number];
  readonly prescale: number;
  readonly postscale: number;
  /** Global rank; −1: none. */
  readonly root: number;
  readonly processSet: number;
  readonly grouped: boolean;
}

export function isSameCall(a: Call, b: Call): boolean {
  return (
    a.name === b.name &&
    a.kind === b.kind &&
    a.dtype === b.dtype &&
    a.op === b.op &&
    a.prescale === b.prescale &&
    a.postscale === b.postscale &&
    a.root === b.root &&
    a.processSet === b.processSet &&
    a.grouped === b.grouped &&
    isSameShapes(a.parts, b.parts)
  );
}

export const isSameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((axis, i) => axis === b[i]);
export const isSameShapes = (a: Call['parts'], b: Call['parts']): boolean =>
  a.length === b.length && a.every((shape, i) => isSameShape(shape, b[i]!));

export function callToRequest(call: Call): khorovod.IRequest {
  return { ...call, parts: call.parts.map((axes) => ({ axes: [...axes] })) };
}

/** @throws WireError a field holds what no rank of this version sends */
export function callFromRequest(request: khorovod.IRequest): Call {
  const { name, kind, dtype, op, parts, prescale, postscale, root, processSet, grouped } = request;
  const known = <T extends string>(values: readonly T[], value: string | null | undefined, what: string): T => {
    const found = values.find((one) => one === value);
    if (found === undefined)
      throw new WireError(
        `A request names the ${what} '${String(value)}', which this version does not know. Install the same version everywhere.`,
      );
    return found;
  };
  return {
    name: name ?? '',
    kind: known(kinds, kind, 'collective'),
    dtype: known(dtypes, dtype, 'dtype'),
    parts: (parts ?? []).map(({ axes }) => axes ?? []),
    op: known(reduceOps, op, 'op'),
    prescale: prescale ?? 1,
    postscale: postscale ?? 1,
    root: root ?? -1,
    processSet: processSet ?? 0,
    grouped: grouped ?? false,
  };
}
