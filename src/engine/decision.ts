/**
 * What all ranks are told to carry out, made of calls that are complete. Pure; coordinator.
 */
import { type ErrorRecord, MismatchError } from '../errors';
import type { Call, Kind } from './call';
import type { Batch, Ready } from './fuse';
import { type MemberSet, ofSet } from './member_sets';
import { ranksAndHosts } from './ranks';

export interface Decision {
  /** Several: fused. */
  readonly names: readonly string[];
  readonly kind: Kind;
  readonly processSet: number;
  /** Who is told. */
  readonly members: readonly number[];
  readonly error?: ErrorRecord;
  /** The ids of all the names, if all were named by their ids; else empty. */
  readonly cached: readonly number[];
  /** For each name the id under which it is remembered from now on; 0: no news. */
  readonly cacheAs: readonly number[];
  /** Of a gather, for each part: rows of each member; of an alltoall, for each member: its splits. Of a join: the last rank; of an added set: its id. */
  readonly sizes: readonly (readonly number[])[];
  /** Set if every member sent its operand along: these, in the order of members, and the call they are of. */
  readonly star?: { readonly call: Call; readonly operands: readonly Uint8Array[] };
  /** Some have joined: what they contribute zeros to, if it takes data. */
  readonly zeros?: Call;
  /** Of one call: where every member's operand lies, in the order of members; none: not all have said so. */
  readonly places: readonly number[];
  /** A sentence for the log. */
  readonly why: () => string;
}

/** A call that every member has submitted, or that is refused. */
export interface Complete extends Ready {
  readonly set: MemberSet;
  readonly error?: ErrorRecord;
  /** What all named; 0: some submitted it in full. */
  readonly id: number;
  readonly cacheAs: number;
  readonly sizes: readonly (readonly number[])[];
  readonly places?: readonly number[];
}

/** The error of a call that ranks which have joined cannot take part in. */
export function forbidden({ kind, name }: Call, set: MemberSet, hostOf: (rank: number) => string): MismatchError {
  const joined = [...set.joined].sort((a, b) => a - b);
  return new MismatchError(
    `${kind.toUpperCase()} '${name}'${ofSet(set)} cannot be carried out: ${ranksAndHosts(joined, hostOf)} has joined, and only allreduce, barrier and join go on ` +
      'until all have. Call join() on every rank before anything else.',
    { peer: joined[0], tensor: name },
  );
}

/** What every member must know of the others' calls before it can carry out its own. */
export function sizesOf(calls: readonly Call[]): readonly (readonly number[])[] {
  const [{ kind, parts }] = calls as [Call];
  if (kind === 'alltoall') return calls.map(({ splits }) => splits);
  return kind === 'allgather' ? parts.map((_, part) => calls.map((call) => call.parts[part]?.[0] ?? 0)) : [];
}

export function decisionOf({ items, why }: Batch<Complete>): Decision {
  const [{ call, set, error, operands, sizes, zeros, places }] = items as [Complete];
  return {
    names: items.map((item) => item.call.name),
    kind: call.kind,
    processSet: set.id,
    members: set.members,
    error,
    // Those that have joined may not hold what the others have named.
    cached: !zeros && items.every(({ id }) => id > 0) ? items.map(({ id }) => id) : [],
    cacheAs: items.map(({ cacheAs }) => cacheAs),
    sizes,
    star: operands && { call, operands },
    zeros,
    places: (items.length === 1 && places) || [],
    why,
  };
}
