/**
 * From a submitted call to its outcome: gathers what this rank submits, has it negotiated, carries out what was decided, completes the calls.
 *
 * Communication thread; one a generation. Invariants: responses are carried out one at a time in the coordinator's order, the same on all ranks; the first failure is kept
 * and ends everything pending (a mismatch is none: it ends only its own call); after the coordinator has left nothing new is decided.
 */
import os from 'node:os';
import { isStarAllreduce } from '../collective/select';
import type { Config } from '../config';
import { type ErrorRecord, HvdError, recordOf, ShutdownError, WireError } from '../errors';
import { log } from '../log';
import type { khorovod } from '../wire/generated/messages';
import type { Boundary } from './boundary';
import { RequestCache } from './cache';
import { type Call, callFromRequest, callKey, callToRequest, isByElement } from './call';
import { Coordinator } from './coordinator';
import type { FromThread, Submission } from './messages';
import type { Decided, OperationResult, Operations } from './operations';
import type { Session } from './session';
import { Spinner } from './spin';
import type { TimelineRecorder } from './timeline_recorder';

const overlap = (a: Submission, b: Submission): boolean => a.byteOffset < b.byteOffset + b.bytes && b.byteOffset < a.byteOffset + a.bytes;

export class Conductor {
  failure?: HvdError;
  private session!: Session;
  private operations!: Operations;
  /** On rank 0 only. */
  private coordinator?: Coordinator;
  private readonly cache = new RequestCache();
  private readonly pending = new Map<string, Submission>();
  /** Pending ones whose place the coordinator has been told. */
  private readonly told = new Set<Submission>();
  private outgoing: Submission[] = [];
  private readonly decisions: Decided[] = [];
  private running: readonly string[] = [];
  private flushTimer?: NodeJS.Timeout;
  private lastFlushMs = 0;
  private doneIds: number[] = [];
  private coordinatorLeft?: ErrorRecord;
  private readonly spinner: Spinner;
  /** The call that the main thread blocks on. */
  private awaited?: Submission;
  private onChange?: () => void;
  private timeline?: TimelineRecorder;

  constructor(
    private readonly config: Config,
    private readonly boundary: Boundary,
    private readonly tell: (message: FromThread, transfer?: ArrayBuffer[]) => void,
    private readonly whenFailed: (failure: HvdError) => void = () => {},
  ) {
    // A bound rank itself sees its share only.
    this.spinner = new Spinner(config.localSize <= (config.localCpus || os.availableParallelism()));
  }

  begin(session: Session, operations: Operations): void {
    this.session = session;
    this.operations = operations;
    operations.onAllThrough = () => this.onChange?.();
    if (!session.control.isCoordinator) return;
    this.coordinator = new Coordinator(this.config, session, operations, {
      takeResponses: (list, evicted) => this.takeResponses(list, evicted),
      fail: (error) => this.fail(error),
    });
  }

  /** From now on; undefined: no longer. */
  record(timeline: TimelineRecorder | undefined): void {
    this.timeline = timeline;
    this.operations.onActivity = timeline && ((name) => timeline.activity(this.running, name));
    this.coordinator?.record(timeline);
  }

  // ───── from the main thread ─────

  submit(submission: Submission): void {
    this.timeline?.submitted(submission);
    const refusal = this.failure ? recordOf(this.failure) : this.coordinatorLeft;
    if (refusal) {
      this.complete(submission, { error: refusal });
      return;
    }
    this.pending.set(callKey(submission.call), submission);
    this.outgoing.push(submission);
    if (submission.isAwaited) this.await(callKey(submission.call));
    else this.scheduleFlush();
  }

  /** The main thread blocks on this call: it is negotiated at once. */
  await(key: string): void {
    this.awaited = this.pending.get(key);
    this.flush();
    if (!this.awaited) return;
    this.spinner.begin();
    this.session.expectNews(true);
  }

  flush(): void {
    if (this.flushTimer) clearTimeout(this.flushTimer);
    this.flushTimer = undefined;
    if (this.outgoing.length === 0 || this.failure) return;
    this.lastFlushMs = performance.now();
    this.timeline?.cycle();
    const { outgoing } = this;
    this.outgoing = [];
    const [gathered, stars]: [Submission[], Submission[]] = [[], []];
    for (const submission of outgoing) (this.isStar(submission) ? stars : gathered).push(submission);
    if (gathered.length > 0) this.request(gathered);
    for (const submission of stars) this.request([submission]);
  }

  /** Its operand goes along with its request, which is a message of its own. */
  private isStar({ isAwaited, call, bytes }: Submission): boolean {
    return isAwaited && isByElement(call) && isStarAllreduce(this.operations.membersOf(call.processSet).length, bytes);
  }

  /** Tells the coordinator. @param isResent it has asked for them */
  private request(submissions: readonly Submission[], isResent = false): void {
    const full: Call[] = [];
    const cached: number[] = [];
    for (const { call } of submissions) {
      const id = this.cache.lookup(call);
      if (id === undefined) full.push(call);
      else cached.push(id);
      if (!this.coordinator) this.timeline?.ticked(this.config.rank, call);
    }
    const [first] = submissions;
    const operand = submissions.length === 1 && this.isStar(first!) ? this.operations.operandOf(first!) : undefined;
    const untold = this.untellOverlapped(submissions);
    const own = submissions.length === 1 ? this.operations.placeOf(first!) : undefined;
    const place = own !== undefined && this.isAlone(first!) ? own : undefined;
    if (place !== undefined) this.told.add(first!);
    if (this.coordinator) this.coordinator.hear(this.config.rank, { full, cached, operand, place, untold });
    else this.session.control.send(0, { requests: { full: full.map(callToRequest), cached, operand, place, untold, resent: isResent } });
  }

  /** Neighbours may reduce what lies at a told place before this rank comes to that call: then no other call may be at work there. */
  private isAlone(submission: Submission): boolean {
    for (const other of this.pending.values()) if (other !== submission && overlap(other, submission)) return false;
    return true;
  }
  /** Nor may one that comes later be decided earlier. @returns the keys of calls that share memory with these, and are no longer told to be anywhere */
  private untellOverlapped(submissions: readonly Submission[]): string[] {
    if (this.told.size === 0) return [];
    const found = [...this.told].filter((earlier) => submissions.some((one) => one !== earlier && overlap(earlier, one)));
    for (const earlier of found) this.told.delete(earlier);
    return found.map(({ call }) => callKey(call));
  }

  /** A lone call leaves in this turn; calls that follow within the cycle time leave together. */
  private scheduleFlush(): void {
    if (this.flushTimer) return;
    const waitMs = this.lastFlushMs + this.config.cycleTimeMs - performance.now();
    this.flushTimer = setTimeout(() => this.flush(), Math.max(0, waitMs));
    if (waitMs <= 0) setImmediate(() => this.flush());
  }

  // ───── from peers ─────

  hear(from: number, message: khorovod.IControl): void {
    if (this.awaited) this.spinner.begin();
    if (message.requests && this.coordinator) {
      const { full, cached, operand, place, untold, resent } = message.requests;
      this.coordinator.hear(from, {
        full: (full ?? []).map(callFromRequest),
        cached: cached ?? [],
        operand: operand?.length ? operand : undefined,
        place: place || undefined,
        untold: untold ?? [],
        isResent: resent ?? false,
      });
    } else if (message.responses) {
      this.takeResponses(message.responses.list ?? [], message.responses.evicted ?? []);
    } else if (message.resend) {
      const calls = this.cache.refused(message.resend.cached ?? []);
      // Also if all have ended: the coordinator holds back what this rank has said since, until it is answered.
      this.request(
        calls.map((call) => this.pending.get(callKey(call))!),
        true,
      );
    } else {
      throw new WireError(
        `Rank ${from} sent a control message that rank ${this.config.rank} does not know. Install the same version of khorovod everywhere.`,
      );
    }
  }

  /** A rank left by shutdown(): what has not been decided with it can no longer be. */
  hearDeparture(rank: number, reason: string): void {
    if (this.coordinator) {
      this.session.control.sendAll({ departed: { rank, reason } });
      this.coordinator.depart(rank, reason);
    } else if (rank === 0) {
      const host = this.session.hostOf(0);
      this.coordinatorLeft = recordOf(
        new ShutdownError(
          `Rank 0 on host ${host} has left the job (${reason}), so collectives with it are over. Let every rank call shutdown() at the same place.`,
          { peer: 0, host },
        ),
      );
      const decided = new Set([...this.running, ...this.decisions.flatMap(({ keys }) => keys)]);
      for (const submission of [...this.pending.values()]) {
        if (!decided.has(callKey(submission.call))) this.complete(submission, { error: this.coordinatorLeft });
      }
    }
    this.onChange?.();
  }

  /** Once a beat. */
  inspectStalls(nowMs: number): void {
    this.coordinator?.inspectStalls(nowMs);
  }

  private takeResponses(list: readonly khorovod.IResponse[], evicted: readonly number[]): void {
    for (const response of list) {
      const processSet = response.processSet ?? 0;
      const keys = response.cached?.length
        ? response.cached.map((id) => this.keyOf(id))
        : (response.names ?? []).map((name) => callKey({ processSet, name }));
      for (const [i, id] of (response.cacheAs ?? []).entries()) {
        const call = id > 0 ? this.pending.get(keys[i]!)?.call : undefined;
        if (call) this.cache.remember(id, call);
      }
      const sizes = (response.sizes ?? []).map(({ rows }) => rows ?? []);
      this.timeline?.decided(keys, response.error ? 'error' : (response.kind ?? ''), this.running.length + this.decisions.length > 0);
      this.decisions.push({
        keys,
        kind: response.kind ?? '',
        processSet,
        tag: response.tag ?? 0,
        zeros: response.zeros ? callFromRequest(response.zeros) : undefined,
        error: (response.error as ErrorRecord | null | undefined) ?? undefined,
        sizes,
        result: response.result?.length ? response.result : undefined,
        places: response.places?.length ? response.places : undefined,
      });
    }
    this.cache.evict(evicted);
    if (this.running.length === 0) void this.carryOut();
  }

  private keyOf(id: number): string {
    const call = this.cache.callOf(id);
    if (!call)
      throw new WireError(`The coordinator named cache entry ${id}, which rank ${this.config.rank} does not hold. Please report it.`);
    return callKey(call);
  }

  // ───── carrying out ─────

  private async carryOut(): Promise<void> {
    for (let decided = this.decisions.shift(); decided && !this.failure; decided = this.decisions.shift()) {
      const submissions = decided.keys.map((key) => this.pending.get(key)).filter((found) => found !== undefined);
      if (decided.error) {
        for (const submission of submissions) this.complete(submission, { error: decided.error });
        // Of those, too, that this rank had no part in.
        this.settleTimeline(decided);
        continue;
      }
      this.running = decided.keys;
      this.timeline?.began(decided.keys);
      try {
        if (decided.zeros && submissions.length === 0) {
          // A barrier wants nothing of those that have joined.
          if (decided.kind === 'allreduce') await this.operations.contributeZeros(decided, decided.zeros);
          this.settleTimeline(decided);
          continue;
        }
        if (submissions.length !== decided.keys.length) {
          throw new WireError(
            `The coordinator decided on '${decided.keys.join("', '")}', which rank ${this.config.rank} did not submit. Please report it.`,
          );
        }
        if (decided.result) this.operations.place(submissions[0]!, decided.result);
        const results = decided.result ? [{}] : await this.operations.run(decided, submissions);
        // The last that was missing may have come together with the news of a failure, which has ended them already: their slots are the main thread's.
        if (!this.failure) for (const [i, submission] of submissions.entries()) this.complete(submission, results[i]!);
      } catch (error) {
        this.fail(error as Error);
      } finally {
        this.running = [];
      }
    }
    this.onChange?.();
  }

  private settleTimeline({ keys, error }: Decided): void {
    for (const key of keys) this.timeline?.ended(key, error);
  }

  private complete(submission: Submission, result: OperationResult | { error: ErrorRecord }): void {
    const { id, slot, call, isAwaited } = submission;
    if (this.pending.get(callKey(call)) === submission) this.pending.delete(callKey(call));
    this.told.delete(submission);
    this.cache.answered(call);
    this.timeline?.ended(callKey(call), 'error' in result ? result.error : undefined);
    const isTold = 'error' in result || result.rows !== undefined;
    if ('error' in result) this.tell({ kind: 'record', id, error: result.error });
    else if (isTold) this.tell({ kind: 'record', id, outputs: result.outputs, rows: result.rows }, result.outputs);
    this.boundary.complete(slot, isTold ? 'told' : 'done');
    if (submission === this.awaited) {
      this.awaited = undefined;
      this.spinner.end();
      this.session.expectNews(false);
    }
    if (isAwaited || this.doneIds.push(id) > 1) return;
    setImmediate(() => {
      this.tell({ kind: 'done', ids: this.doneIds });
      this.doneIds = [];
    });
  }

  /** The first failure wins: it ends everything pending here and, told to the others, everywhere. */
  fail(error: Error): void {
    if (this.failure) return;
    this.failure = error instanceof HvdError ? error : new HvdError(recordOf(error).message);
    log('INFO', this.failure.message);
    const record = recordOf(this.failure);
    this.session?.control.announce(this.failure);
    this.session?.transport.abort(this.failure);
    // Only now: whoever learns of it may use its arrays, in which a neighbour may have been at work until then.
    this.tell({ kind: 'failed', error: record });
    this.boundary.poison();
    this.whenFailed(this.failure);
    this.decisions.length = 0;
    for (const submission of [...this.pending.values()]) this.complete(submission, { error: record });
    this.onChange?.();
  }

  // ───── leaving ─────

  /** What was decided with this rank is still carried out, nothing is decided with it afterwards. Resolves at the latest after `timeoutMs`. */
  async part(reason: string, timeoutMs: number): Promise<void> {
    const { control } = this.session;
    this.coordinator?.depart(this.config.rank, reason);
    control.sendAll({ goodbye: { failed: false, reason } });
    // The coordinator answers a goodbye; every decision that counts on this rank came before that answer.
    const isParted = (): boolean => this.coordinator !== undefined || control.departed.has(this.config.rank) || control.departed.has(0);
    await this.until(
      () => this.failure !== undefined || (isParted() && this.running.length === 0 && this.decisions.length === 0),
      timeoutMs,
    );
    const error = recordOf(
      this.failure ?? new ShutdownError(`Rank ${this.config.rank} has left the job (${reason}) while this was pending.`),
    );
    for (const submission of [...this.pending.values()]) this.complete(submission, { error });
  }

  /** Others are still at operations that are over here, and work on this rank's memory. */
  get isNeeded(): boolean {
    return this.failure === undefined && this.operations.isAwaited;
  }
  /** Resolves when no longer, at the latest after `timeoutMs`. */
  release(timeoutMs: number): Promise<void> {
    return this.until(() => !this.isNeeded, timeoutMs);
  }

  private until(holds: () => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.onChange = undefined;
        resolve();
      };
      const timer = setTimeout(finish, timeoutMs);
      this.onChange = () => {
        if (holds()) finish();
      };
      this.onChange();
    });
  }
}
