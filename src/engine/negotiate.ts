/**
 * The coordinator's decision what all ranks carry out next, and in which order. Pure, without a clock; coordinator, communication thread.
 *
 * Ranks submit calls in any order; a collective deadlocks unless all enter the same one. So, as in Horovod, rank 0 decides for all:
 *   a. Each rank sends what it has submitted: a call in full, or the id under which the coordinator remembers that very call. An id that
 *      was forgotten meanwhile is asked for in full (resend).
 *   b. The coordinator collects by name who has submitted. A call is complete when every member has. If all sent its operand along, all
 *      are handed out with the decision: nothing is left to be carried out but the arithmetic.
 *   c. Complete calls are compared. Ranks that disagree all get the mismatch, and the job goes on; a call that all named by its id needs
 *      no comparison.
 *   d. What became complete together is fused where that is allowed; otherwise the order of responses is the order in which calls became
 *      complete.
 *   e. All ranks are sent the same responses in the same order and carry them out one after the other. Agreed calls are remembered under
 *      a new id, said in the response; ids that were forgotten follow the responses, which may still name them.
 *
 * Invariants: every submitted call is answered by exactly one response; a name waits at most once for each rank; after a rank has left
 * nothing is complete any more: what is undecided and what comes later fails, what was complete before is still taken.
 */
import { isStarAllreduce } from '../collective/select';
import { type ErrorRecord, recordOf, ShutdownError, WireError } from '../errors';
import { ResponseCache } from './cache';
import { bytesOfCall, type Call, callKey, isByElement, type Kind } from './call';
import { type Batch, fuse, type Ready } from './fuse';
import { mismatchOf } from './mismatch';

export interface Decision {
  /** Several: fused. */
  readonly names: readonly string[];
  readonly kind: Kind;
  readonly error?: ErrorRecord;
  /** The ids of all the names, if all were named by their ids; else empty. */
  readonly cached: readonly number[];
  /** For each name the id under which it is remembered from now on; 0: no news. */
  readonly cacheAs: readonly number[];
  /** Of a gather, for each part: rows of each member; of an alltoall, for each member: its splits. */
  readonly sizes: readonly (readonly number[])[];
  /** Set if every member sent its operand along: these, in the order of members, and the call they are of. */
  readonly star?: { readonly call: Call; readonly operands: readonly Uint8Array[] };
  /** A sentence for the log. */
  readonly why: () => string;
}

/** What a rank has submitted; `operand`: of the only call. */
export interface Requests {
  readonly full: readonly Call[];
  readonly cached: readonly number[];
  readonly operand?: Uint8Array;
}

/** A call that not every member has submitted. */
export interface WaitingCall {
  readonly call: Call;
  /** When the first member submitted it. */
  readonly sinceMs: number;
  readonly missing: () => number[];
  readonly submitted: () => number[];
}

interface Waiting {
  readonly calls: Map<number, Call>;
  readonly sinceMs: number;
  /** By rank: what came with the request. */
  readonly operands: Map<number, Uint8Array>;
  /** Members that named the remembered call. */
  hits: number;
}

interface Complete extends Ready {
  readonly error?: ErrorRecord;
  /** What all named; 0: some submitted it in full. */
  readonly id: number;
  readonly cacheAs: number;
  readonly sizes: readonly (readonly number[])[];
}

export interface NegotiatorOptions {
  /** Ranks, ascending. */
  readonly members: readonly number[];
  readonly hostOf: (rank: number) => string;
  readonly cacheCapacity: number;
  readonly fusionThresholdBytes: number;
}

export class Negotiator {
  /** By key, the oldest first. */
  private readonly table = new Map<string, Waiting>();
  private readonly positions: ReadonlyMap<number, number>;
  private readonly cache: ResponseCache;
  private complete: Complete[] = [];
  private departed?: ErrorRecord;

  constructor(private readonly options: NegotiatorOptions) {
    this.positions = new Map(options.members.map((rank, position) => [rank, position]));
    this.cache = new ResponseCache(options.cacheCapacity);
  }

  /** @returns ids to be asked for in full. @throws WireError the rank is no member, has submitted that before, or sent an operand that fits no call */
  add(rank: number, { full, cached, operand }: Requests, nowMs: number): { resend: number[] } {
    const position = this.positions.get(rank);
    if (position === undefined) throw new WireError(`Rank ${rank} submits collectives of which it is no member. Please report it.`);
    if (operand && full.length + cached.length !== 1)
      throw new WireError(`Rank ${rank} sent one operand for ${full.length + cached.length} calls. Please report it.`);
    const resend: number[] = [];
    for (const id of cached) {
      const call = this.cache.hit(id, position);
      if (call) this.put(rank, call, true, operand, nowMs);
      else resend.push(id);
    }
    for (const call of full) this.put(rank, call, false, operand, nowMs);
    return { resend };
  }

  /** A rank left by shutdown(). The first that leaves is the one that is named. */
  depart(rank: number, reason: string): void {
    const { hostOf } = this.options;
    this.departed ??= recordOf(
      new ShutdownError(
        `Rank ${rank} on host ${hostOf(rank)} has left the job (${reason}), so collectives with it are over. ` +
          'Let every rank call shutdown() at the same place.',
        { peer: rank, host: hostOf(rank) },
      ),
    );
    for (const [key, { calls }] of this.table) this.refuse(key, calls.values().next().value!);
    this.table.clear();
  }

  /** What became complete since the last time, and the ids forgotten since. */
  take(): { responses: Decision[]; evicted: number[] } {
    const batches = fuse(this.complete, this.options.fusionThresholdBytes);
    this.complete = [];
    return { responses: batches.map(decisionOf), evicted: this.cache.takeEvicted() };
  }

  /** The oldest first. */
  waiting(): WaitingCall[] {
    const { members } = this.options;
    return [...this.table.values()].map(({ calls, sinceMs }) => ({
      call: calls.values().next().value!,
      sinceMs,
      missing: () => members.filter((rank) => !calls.has(rank)),
      submitted: () => members.filter((rank) => calls.has(rank)),
    }));
  }

  private put(rank: number, call: Call, isHit: boolean, operand: Uint8Array | undefined, nowMs: number): void {
    const key = callKey(call);
    if (this.departed) {
      this.refuse(key, call);
      return;
    }
    let waiting = this.table.get(key);
    if (!waiting) {
      waiting = { calls: new Map(), operands: new Map(), sinceMs: nowMs, hits: 0 };
      this.table.set(key, waiting);
    }
    if (waiting.calls.has(rank)) {
      throw new WireError(`Rank ${rank} submitted '${call.name}' again before it was decided. Please report it.`);
    }
    if (operand && (!isByElement(call) || operand.length !== bytesOfCall(call) || !isStarAllreduce(this.positions.size, operand.length))) {
      throw new WireError(
        `Rank ${rank} sent ${operand.length} bytes along with ${call.kind} '${call.name}', to which they do not belong. Please report it.`,
      );
    }
    if (call.kind === 'alltoall' && call.splits.length !== this.positions.size)
      throw new WireError(
        `Rank ${rank} split alltoall '${call.name}' for ${call.splits.length} of ${this.positions.size} ranks. Please report it.`,
      );
    waiting.calls.set(rank, call);
    if (operand) waiting.operands.set(rank, operand);
    if (isHit) waiting.hits += 1;
    if (waiting.calls.size < this.positions.size) return;
    this.table.delete(key);
    this.complete.push(this.decide(key, waiting));
  }

  private decide(key: string, { calls, operands: given, hits }: Waiting): Complete {
    const { members, hostOf } = this.options;
    const all = members.map((rank) => calls.get(rank)!);
    const [call] = all as [Call];
    const sizes = sizesOf(all);
    const operands = given.size === members.length ? members.map((rank) => given.get(rank)!) : undefined;
    if (hits === members.length) return { call, operands, id: this.cache.use(key), cacheAs: 0, sizes };
    const mismatch = mismatchOf(all, members, hostOf);
    if (mismatch) {
      this.cache.release(key);
      return { call, error: recordOf(mismatch), id: 0, cacheAs: 0, sizes: [] };
    }
    // Every barrier has a name of its own: it will not be asked for again.
    return { call, operands, id: 0, cacheAs: call.kind === 'barrier' ? 0 : this.cache.remember(all), sizes };
  }

  private refuse(key: string, call: Call): void {
    this.cache.release(key);
    this.complete.push({ call, error: this.departed, id: 0, cacheAs: 0, sizes: [] });
  }
}

/** What every member must know of the others' calls before it can carry out its own. */
function sizesOf(calls: readonly Call[]): readonly (readonly number[])[] {
  const [{ kind, parts }] = calls as [Call];
  if (kind === 'alltoall') return calls.map(({ splits }) => splits);
  return kind === 'allgather' ? parts.map((_, part) => calls.map((call) => call.parts[part]?.[0] ?? 0)) : [];
}

function decisionOf({ items, why }: Batch<Complete>): Decision {
  const [{ call, error, operands, sizes }] = items as [Complete];
  return {
    names: items.map((item) => item.call.name),
    kind: call.kind,
    error,
    cached: items.every(({ id }) => id > 0) ? items.map(({ id }) => id) : [],
    cacheAs: items.map(({ cacheAs }) => cacheAs),
    sizes,
    star: operands && { call, operands },
    why,
  };
}
