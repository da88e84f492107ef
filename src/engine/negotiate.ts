/**
 * The coordinator's decision what all ranks carry out next, and in which order. Pure, without a clock; coordinator, communication thread.
 *
 * Ranks submit calls in any order; a collective deadlocks unless all enter the same one. So, as in Horovod, rank 0 decides for all:
 *   a. Each rank sends what it has submitted: a call in full, or the id under which the coordinator remembers that very call. An id that
 *      was forgotten meanwhile is asked for in full (resend); what the rank says until it has answered counts behind that call: a rank that
 *      joins takes part in all that it has submitted before.
 *   b. The coordinator collects by name who has submitted. A call is complete when every member has. If all sent its operand along, all
 *      are handed out with the decision: nothing is left to be carried out but the arithmetic.
 *   c. Complete calls are compared. Ranks that disagree all get the mismatch, and the job goes on; a call that all named by its id needs
 *      no comparison. A member that has joined is not waited for: it will contribute zeros, which only an allreduce knows how to take.
 *   d. What became complete together is fused where that is allowed; otherwise the order of responses is the order in which calls became
 *      complete.
 *   e. All ranks are sent the same responses in the same order and carry them out one after the other. Agreed calls are remembered under
 *      a new id, said in the response; ids that were forgotten follow the responses, which may still name them.
 *
 * All this for each process set by itself; decisions on different sets have one order too, so that two that share ranks never wait for each other.
 *
 * Invariants: every submitted call is answered by exactly one response; a name waits at most once for each rank; after a member of a set has left
 * nothing of that set is complete any more: what is undecided and what comes later fails, what was complete before is still taken.
 */
import { isStarAllreduce } from '../collective/select';
import { type ErrorRecord, ProcessSetError, recordOf, ShutdownError, StallError, WireError } from '../errors';
import { ResponseCache } from './cache';
import { bytesOfCall, type Call, callKey, isByElement, isRagged, type Kind } from './call';
import { type Complete, type Decision, decisionOf, forbidden, sizesOf } from './decision';
import { fuse } from './fuse';
import { type MemberSet, MemberSets, ofSet } from './member_sets';
import { mismatchOf } from './mismatch';
import { ranksAndHosts } from './ranks';

/** What a rank has submitted; `operand` and `place`: of the only call. `isResent`: the answer to what was asked for in full. */
export interface Requests {
  readonly full: readonly Call[];
  readonly cached: readonly number[];
  readonly operand?: Uint8Array;
  /** Where it lies, for members that see each other's. Above 0. */
  readonly place?: number;
  /** Keys of earlier calls that are to be carried out as if no place had been told. */
  readonly untold?: readonly string[];
  readonly isResent?: boolean;
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
  readonly set: MemberSet;
  readonly calls: Map<number, Call>;
  readonly sinceMs: number;
  /** By rank: what came with the request. */
  readonly operands: Map<number, Uint8Array>;
  readonly places: Map<number, number>;
  /** Members that named the remembered call. */
  hits: number;
  /** A barrier with a time-out: the earliest. */
  deadlineMs: number;
  /** It has passed: whoever comes now gets this. */
  expired?: ErrorRecord;
}

export interface NegotiatorOptions {
  /** Ranks of the job. */
  readonly size: number;
  readonly hostOf: (rank: number) => string;
  readonly cacheCapacity: number;
  readonly fusionThresholdBytes: number;
}

/** These a joined rank can take part in. */
const takesJoined = (kind: Kind): boolean => kind === 'allreduce' || kind === 'barrier' || kind === 'join';

export class Negotiator {
  private readonly sets: MemberSets;
  /** By key, the oldest first. */
  private readonly table = new Map<string, Waiting>();
  private readonly cache: ResponseCache;
  private complete: Complete[] = [];
  /** By rank that was asked for calls in full: what it has said since, until it answers. */
  private readonly held = new Map<number, Requests[]>();
  /** Told of every call that a member submits. */
  onSubmitted?: (rank: number, call: Call) => void;

  constructor(private readonly options: NegotiatorOptions) {
    this.sets = new MemberSets(options.size);
    this.cache = new ResponseCache(options.cacheCapacity);
  }

  /** @returns ids to be asked for in full. @throws WireError the rank is no member, has submitted that before, or sent an operand that fits no call */
  add(rank: number, requests: Requests, nowMs: number): { resend: number[] } {
    const held = this.held.get(rank) ?? [];
    if (this.held.has(rank) && !requests.isResent) {
      held.push(requests);
      return { resend: [] };
    }
    this.held.delete(rank);
    const left = [requests, ...held];
    for (let next = left.shift(); next; next = left.shift()) {
      const resend = this.submit(rank, next, nowMs);
      if (resend.length === 0) continue;
      // Of that message, too, what was not named by an id.
      this.held.set(rank, [{ full: next.full, cached: [] }, ...left]);
      return { resend };
    }
    return { resend: [] };
  }

  /** @returns ids that were forgotten: then `full` is not taken yet */
  private submit(rank: number, { full, cached, operand, place, untold = [] }: Requests, nowMs: number): number[] {
    for (const key of untold) this.table.get(key)?.places.delete(rank);
    if ((operand || place) && full.length + cached.length !== 1)
      throw new WireError(`Rank ${rank} sent one operand for ${full.length + cached.length} calls. Please report it.`);
    const resend: number[] = [];
    for (const id of cached) {
      const found = this.cache.hit(id, (known) => this.setOf(rank, known).positions.get(rank)!);
      if (found) this.put(rank, found.key, found.call, true, { operand, place }, nowMs);
      else resend.push(id);
    }
    if (resend.length === 0) for (const call of full) this.put(rank, callKey(call), call, false, { operand, place }, nowMs);
    return resend;
  }

  /** A rank left by shutdown(). The first that leaves a set is the one that is named. */
  depart(rank: number, reason: string): void {
    const host = this.options.hostOf(rank);
    for (const set of this.sets.of(rank)) {
      set.departed ??= recordOf(
        new ShutdownError(
          `Rank ${rank} on host ${host} has left the job (${reason}), so collectives with it${ofSet(set)} are over. ` +
            'Let every rank call shutdown() at the same place.',
          { peer: rank, host },
        ),
      );
      this.refuseWaiting(set, set.departed);
    }
  }

  /** Barriers whose time has passed fail. */
  expire(nowMs: number): void {
    for (const waiting of this.table.values()) {
      if (waiting.deadlineMs > nowMs || waiting.expired) continue;
      const { set, calls, sinceMs } = waiting;
      const missing = set.members.filter((rank) => !calls.has(rank) && !set.joined.has(rank));
      const call = calls.values().next().value!;
      waiting.expired = recordOf(
        new StallError(
          `After ${((nowMs - sinceMs) / 1000).toFixed(1)} s ${ranksAndHosts(missing, this.options.hostOf)} had not come to the barrier${ofSet(set)} at which ` +
            `${ranksAndHosts([...calls.keys()], this.options.hostOf)} waited. Let every rank call it, or raise its timeoutMs.`,
          { peer: missing[0], host: this.options.hostOf(missing[0]!), tensor: call.name },
        ),
      );
      this.answer(set, call, waiting.expired);
    }
  }

  /** When the next barrier's time passes; undefined: none has one. */
  nextDeadlineMs(): number | undefined {
    let next = Number.POSITIVE_INFINITY;
    for (const { deadlineMs, expired } of this.table.values()) if (!expired) next = Math.min(next, deadlineMs);
    return Number.isFinite(next) ? next : undefined;
  }

  /** What became complete since the last time, and the ids forgotten since. */
  take(): { responses: Decision[]; evicted: number[] } {
    const batches = fuse(this.complete, this.options.fusionThresholdBytes);
    this.complete = [];
    return { responses: batches.map(decisionOf), evicted: this.cache.takeEvicted() };
  }

  /** The oldest first. */
  waiting(): WaitingCall[] {
    return [...this.table.values()]
      .filter(({ expired }) => !expired)
      .map(({ set, calls, sinceMs }) => ({
        call: calls.values().next().value!,
        sinceMs,
        missing: () => set.members.filter((rank) => !calls.has(rank) && !set.joined.has(rank)),
        submitted: () => set.members.filter((rank) => calls.has(rank)),
      }));
  }

  /** @throws WireError there is no such set, or the rank is no member */
  private setOf(rank: number, { processSet, name }: Call): MemberSet {
    const set = this.sets.get(processSet);
    if (!set?.positions.has(rank))
      throw new WireError(`Rank ${rank} submits '${name}' on process set ${processSet}, of which it is no member. Please report it.`);
    return set;
  }

  private put(
    rank: number,
    key: string,
    call: Call,
    isHit: boolean,
    { operand, place }: Pick<Requests, 'operand' | 'place'>,
    nowMs: number,
  ): void {
    const set = this.setOf(rank, call);
    if (set.departed) {
      this.refuse(set, key, call, set.departed);
      return;
    }
    let waiting = this.table.get(key);
    if (!waiting) {
      waiting = {
        set,
        calls: new Map(),
        operands: new Map(),
        places: new Map(),
        sinceMs: nowMs,
        hits: 0,
        deadlineMs: Number.POSITIVE_INFINITY,
      };
      this.table.set(key, waiting);
    }
    if (waiting.calls.has(rank)) {
      throw new WireError(`Rank ${rank} submitted '${call.name}' again before it was decided. Please report it.`);
    }
    if (operand && (!isByElement(call) || operand.length !== bytesOfCall(call) || !isStarAllreduce(set.members.length, operand.length))) {
      throw new WireError(
        `Rank ${rank} sent ${operand.length} bytes along with ${call.kind} '${call.name}', to which they do not belong. Please report it.`,
      );
    }
    if (call.kind === 'alltoall' && call.splits.length !== set.members.length)
      throw new WireError(
        `Rank ${rank} split alltoall '${call.name}' for ${call.splits.length} of ${set.members.length} ranks. Please report it.`,
      );
    waiting.calls.set(rank, call);
    this.onSubmitted?.(rank, call);
    if (operand) waiting.operands.set(rank, operand);
    if (place) waiting.places.set(rank, place);
    if (isHit) waiting.hits += 1;
    if (call.timeoutMs > 0) waiting.deadlineMs = Math.min(waiting.deadlineMs, nowMs + call.timeoutMs);
    if (waiting.expired) {
      this.answer(set, call, waiting.expired);
      if (waiting.calls.size === set.members.length) this.table.delete(key);
      return;
    }
    if (call.kind === 'join') this.join(rank, set);
    this.completeIfAll(key, waiting);
  }

  /** What waited for this rank alone waits no longer. */
  private join(rank: number, set: MemberSet): void {
    set.joined.add(rank);
    for (const [key, waiting] of [...this.table]) {
      const [call] = waiting.calls.values();
      if (waiting.set === set && call!.kind !== 'join' && !waiting.expired) this.completeIfAll(key, waiting);
    }
  }

  private completeIfAll(key: string, waiting: Waiting): void {
    const { set, calls } = waiting;
    const [call] = calls.values() as unknown as [Call];
    const isAll =
      calls.size === set.members.length ||
      (set.joined.size > 0 && call.kind !== 'join' && set.members.every((rank) => calls.has(rank) || set.joined.has(rank)));
    if (!isAll) return;
    this.table.delete(key);
    this.complete.push(this.decide(key, waiting));
  }

  private decide(key: string, { set, calls, operands: given, places: told, hits }: Waiting): Complete {
    const { hostOf } = this.options;
    const places = told.size === set.members.length ? set.members.map((rank) => told.get(rank)!) : undefined;
    if (hits === set.members.length && given.size === 0) {
      // What a step does again and again: of most kinds nothing is looked at but the id.
      const [call] = calls.values() as unknown as [Call];
      const sizes = isRagged(call.kind) ? sizesOf(set.members.map((rank) => calls.get(rank)!)) : [];
      return { set, call, id: this.cache.use(key), cacheAs: 0, sizes, places };
    }
    const present = set.members.filter((rank) => calls.has(rank));
    const all = present.map((rank) => calls.get(rank)!);
    const [call] = all as [Call];
    const isPart = present.length < set.members.length;
    const zeros = isPart ? call : undefined;
    const settled = { set, call, id: 0, cacheAs: 0, sizes: [], zeros };
    if (isPart && !takesJoined(call.kind)) {
      this.cache.release(key);
      return { ...settled, error: recordOf(forbidden(call, set, hostOf)) };
    }
    const sizes = sizesOf(all);
    const operands = given.size === set.members.length ? present.map((rank) => given.get(rank)!) : undefined;
    if (hits === present.length) return { ...settled, operands, id: this.cache.use(key), sizes, places };
    const mismatch = mismatchOf(all, present, hostOf, ofSet(set));
    if (mismatch) {
      this.cache.release(key);
      return { ...settled, error: recordOf(mismatch) };
    }
    switch (call.kind) {
      case 'join':
        return { ...settled, sizes: [[this.endJoin(set)]] };
      case 'add-set':
        return { ...settled, sizes: [[this.sets.add(call.parts[0]!)]] };
      case 'remove-set':
        this.removeSet(call.parts[0]![0]!);
        return settled;
      case 'barrier':
        // Every barrier has a name of its own: it will not be asked for again.
        return settled;
      default:
        // With some of the calls only, there is nothing to remember for all.
        return { ...settled, operands, cacheAs: isPart ? 0 : this.cache.remember(all), sizes, places };
    }
  }

  /** Names start anew: what nobody came to in time must not meet them. @returns who was last */
  private endJoin(set: MemberSet): number {
    const last = [...set.joined].at(-1)!;
    set.joined.clear();
    for (const [key, waiting] of this.table) if (waiting.set === set && waiting.expired) this.table.delete(key);
    return last;
  }

  private removeSet(id: number): void {
    const set = this.sets.get(id);
    if (!set) return;
    this.refuseWaiting(set, recordOf(new ProcessSetError(`Process set ${id} was removed while this was pending.`)));
    this.sets.remove(id);
  }

  private refuseWaiting(set: MemberSet, error: ErrorRecord): void {
    for (const [key, waiting] of this.table) {
      if (waiting.set !== set) continue;
      this.table.delete(key);
      if (!waiting.expired) this.refuse(set, key, waiting.calls.values().next().value!, error);
    }
  }

  private refuse(set: MemberSet, key: string, call: Call, error: ErrorRecord): void {
    this.cache.release(key);
    this.answer(set, call, error);
  }

  private answer(set: MemberSet, call: Call, error: ErrorRecord): void {
    this.complete.push({ set, call, error, id: 0, cacheAs: 0, sizes: [] });
  }
}
