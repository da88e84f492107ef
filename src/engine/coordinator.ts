/**
 * Rank 0's second part: hears what every rank submits, itself among them, and tells all what to carry out next, or the result at once where
 * every operand has come with the requests. What is decided, and why, is the negotiator's.
 *
 * Communication thread; one a generation. Invariants: the responses of all process sets have one order, of which every rank is told those of its sets; this rank takes them
 * last, so that the others start no later. Numbers on the data links (`tag`) follow that order.
 */
import type { Config } from '../config';
import { isLogged, log } from '../log';
import type { khorovod } from '../wire/generated/messages';
import { callKey, callToRequest } from './call';
import type { Decision } from './decision';
import { Negotiator, type Requests } from './negotiate';
import type { Operations } from './operations';
import type { Session } from './session';
import { StallInspector } from './stall';
import type { TimelineRecorder } from './timeline_recorder';

/** This rank as one of those that submit. */
interface OwnRank {
  takeResponses(list: readonly khorovod.IResponse[], evicted: readonly number[]): void;
  fail(error: Error): void;
}

export class Coordinator {
  private readonly negotiator: Negotiator;
  private readonly stallInspector?: StallInspector;
  private lastTag = 0;
  private expiry?: NodeJS.Timeout;
  private timeline?: TimelineRecorder;
  private hasLeft = false;

  constructor(
    private readonly config: Config,
    private readonly session: Pick<Session, 'control' | 'hostOf'>,
    private readonly operations: Pick<Operations, 'combine'>,
    private readonly own: OwnRank,
  ) {
    this.negotiator = new Negotiator({
      size: config.size,
      hostOf: session.hostOf,
      cacheCapacity: config.cacheCapacity,
      fusionThresholdBytes: config.fusionThresholdBytes,
    });
    if (config.stallCheckDisable) return;
    this.stallInspector = new StallInspector({
      warnAfterMs: config.stallWarningSeconds * 1000,
      failAfterMs: config.stallShutdownSeconds * 1000,
    });
  }

  /** From now on; undefined: no longer. */
  record(timeline: TimelineRecorder | undefined): void {
    this.timeline = timeline;
    this.negotiator.onSubmitted = timeline && ((rank, call) => timeline.ticked(rank, call));
  }

  hear(from: number, requests: Requests): void {
    // By now every rank has heard, or will hear before any answer, that this one has left, and ends by itself what was not decided before: also on sets that this rank is not in.
    if (this.hasLeft) return;
    const { resend } = this.negotiator.add(from, requests, performance.now());
    // Never to this rank itself: it hears of an eviction in the turn in which it happens, before it names anything again.
    if (resend.length > 0) this.session.control.send(from, { resend: { cached: resend } });
    this.tell();
    this.awaitExpiry();
  }

  /** A barrier with a time-out fails in time. */
  private awaitExpiry(): void {
    const deadlineMs = this.negotiator.nextDeadlineMs();
    clearTimeout(this.expiry);
    if (deadlineMs === undefined) return;
    this.expiry = setTimeout(
      () => {
        this.negotiator.expire(performance.now());
        this.tell();
        this.awaitExpiry();
      },
      Math.max(1, deadlineMs - performance.now()),
    );
  }

  /** A rank left by shutdown(): what has not been decided with it can no longer be. */
  depart(rank: number, reason: string): void {
    if (rank === this.config.rank) this.hasLeft = true;
    this.negotiator.depart(rank, reason);
    this.tell();
  }

  /** Looks for calls that some ranks do not submit. */
  inspectStalls(nowMs: number): void {
    if (!this.stallInspector) return;
    const { warnings, failures } = this.stallInspector.inspect(this.negotiator.waiting(), nowMs, this.session.hostOf);
    for (const warning of warnings) log('WARNING', warning);
    if (failures.length > 0) this.own.fail(failures[0]!);
  }

  private tell(): void {
    const { responses, evicted } = this.negotiator.take();
    if (responses.length === 0 && evicted.length === 0) return;
    if (isLogged('TRACE')) for (const { why } of responses) log('TRACE', why());
    const list = responses.map((decision) => this.responseOf(decision));
    const { control } = this.session;
    const ownRank = this.config.rank;
    if (responses.every(({ processSet }) => processSet === 0)) {
      control.sendAll({ responses: { list, evicted } });
      this.own.takeResponses(list, evicted);
      return;
    }
    // What this rank has no part in ends for it with the decision.
    for (const { members, names, processSet } of responses)
      if (!members.includes(ownRank)) for (const name of names) this.timeline?.ended(callKey({ processSet, name }));
    const listOf = (rank: number): khorovod.IResponse[] => list.filter((_, i) => responses[i]!.members.includes(rank));
    for (const rank of control.linkedRanks) {
      const own = listOf(rank);
      if (own.length > 0 || evicted.length > 0) control.send(rank, { responses: { list: own, evicted } });
    }
    this.own.takeResponses(listOf(ownRank), evicted);
  }

  private responseOf({ names, kind, processSet, error, cached, cacheAs, sizes, star, zeros, places }: Decision): khorovod.IResponse {
    this.lastTag = (this.lastTag + 1) >>> 0;
    return {
      processSet,
      tag: this.lastTag,
      zeros: zeros && callToRequest(zeros),
      names: cached.length > 0 ? [] : [...names],
      kind,
      error,
      cached: [...cached],
      cacheAs: cacheAs.some((id) => id > 0) ? [...cacheAs] : [],
      sizes: sizes.map((rows) => ({ rows: [...rows] })),
      places: [...places],
      result: star && this.operations.combine(star.call, star.operands),
    };
  }
}
