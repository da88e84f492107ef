/**
 * The timeline: what happens to collectives on this rank, as records of Chrome's trace format (one JSON object each). Pure: events with their times go in, records come out.
 *
 * Communication thread. As in Horovod each tensor is a "process" of the trace: NEGOTIATE_<KIND> from the first rank that submits it, a tick for every rank, then <KIND> with its activities.
 * Process 0 is the rank itself: its main thread (copies, waits), its hidden communication, its steps. Invariants: on each track what begins ends in the opposite order; times in records
 * never run backwards on a track; an operation that is under way stands in the file as begun, so that the file of a job that hangs shows who is missing.
 *
 * Exposed is the time in which the main thread blocks on a collective. Hidden is the rest of the time in which one is in flight: from when this rank submitted it until it is complete.
 */
import type { ErrorRecord } from '../errors';
import { type Call, callKey } from './call';

/** Events of the main thread; `from` and `until` are its times, `id` is the call's. */
export const mainEvents = { copiedIn: 1, submitted: 2, blocked: 3, resumed: 4, settled: 5, step: 6, copiedOut: 7 } as const;

export interface TimelineStart {
  readonly rank: number;
  readonly size: number;
  readonly hostname: string;
  /** On the clock of all events, microseconds. */
  readonly startUs: number;
  /** The same moment as wall-clock time. */
  readonly epochUs: number;
  /** Of the last call submitted before. */
  readonly lastId: number;
}

const RANK_PID = 0;
const MAIN_TID = 0;
const HIDDEN_TID = 1;
const STEPS_TID = 2;
/** Viewers take a second for some thousand tracks; names that a program makes up anew in each step share one after that. */
const MOST_TRACKS = 4096;
const OTHERS = '(more tensors)';
const MOST_SHAPES = 8;
const MOST_MESSAGE_CHARS = 300;

/** A process of the trace. What is on it at the same time (calls without a name, one name on two process sets) gets lanes: the threads of the trace. */
interface Track {
  readonly pid: number;
  readonly isShared: boolean;
  readonly lanes: boolean[];
}

interface Operation {
  readonly name: string;
  readonly track: Track;
  readonly tid: number;
  /** Begun, not ended. */
  depth: number;
  /** This rank's own. */
  call?: Call;
  /** It counts as in flight since then. */
  submittedUs?: number;
  /** What the main thread had been blocked for, all together, until then. */
  exposedBeforeUs: number;
}

export class Timeline {
  private records: string[] = [];
  private readonly tracks = new Map<string, Track>();
  /** By key, until they have ended. */
  private readonly operations = new Map<string, Operation>();
  /** By id, until the main thread has the result. */
  private readonly calls = new Map<number, Operation>();
  private lastId: number;
  private inFlight = 0;
  private completed = 0;
  private blockedSinceUs?: number;
  private hiddenSinceUs?: number;
  private exposedUs = 0;
  private hiddenUs = 0;
  private steps = 0;
  private lastStep: { readonly us: number; readonly exposedUs: number; readonly hiddenUs: number };

  constructor(private readonly start: TimelineStart) {
    const { rank, size, hostname, startUs, epochUs, lastId } = start;
    this.lastId = lastId;
    this.lastStep = { us: startUs, exposedUs: 0, hiddenUs: 0 };
    this.meta('process_name', RANK_PID, 0, {
      name: `rank ${rank} of ${size} on ${hostname}`,
      start_time_since_epoch_in_micros: Math.round(epochUs),
    });
    this.meta('process_sort_index', RANK_PID, 0, { sort_index: 0 });
    for (const [tid, name] of ['main thread', 'hidden communication', 'steps'].entries()) this.meta('thread_name', RANK_PID, tid, { name });
  }

  /** The records since the last time. */
  take(): string[] {
    const { records } = this;
    this.records = [];
    return records;
  }

  // ───── communication thread ─────

  /** Requests leave. */
  cycle(us: number): void {
    this.instant('CYCLE_START', us);
  }

  /** This rank's call has come from the main thread. */
  submitted(id: number, call: Call, us: number): void {
    const operation = this.negotiating(call, us);
    operation.call = call;
    this.lastId = id;
    this.calls.set(id, operation);
  }

  /** The coordinator knows that this rank is ready; elsewhere: it has been told. */
  ticked(rank: number, call: Call, us: number): void {
    const { track, tid } = this.negotiating(call, us);
    this.span(String(rank), track.pid, tid, us, us);
  }

  /** All are ready, or it came to nothing. @param isQueued others are carried out before it */
  decided(keys: readonly string[], kind: string, isQueued: boolean, us: number): void {
    for (const key of keys) {
      const operation = this.operations.get(key) ?? this.open(key, nameOf(key));
      this.endTo(operation, 0, us);
      this.begin(operation, upper(kind), us);
      if (isQueued) this.begin(operation, 'QUEUE', us);
    }
  }

  /** It is their turn. */
  began(keys: readonly string[], us: number): void {
    for (const operation of this.of(keys)) this.endTo(operation, 1, us);
  }

  /** What is done now for those under way, in place of what was done before. */
  activity(keys: readonly string[], name: string, us: number): void {
    for (const operation of this.of(keys)) {
      this.endTo(operation, 1, us);
      this.begin(operation, name, us);
    }
  }

  /** With an error, or complete. Again: nothing. */
  ended(key: string, error: ErrorRecord | undefined, us: number): void {
    const operation = this.operations.get(key);
    if (!operation) return;
    this.operations.delete(key);
    this.endTo(operation, 1, us);
    if (operation.depth === 1) this.end(operation, us, { ...this.factsOf(operation, us), ...(error && wordsOf(error)) });
    operation.track.lanes[operation.tid] = false;
    if (operation.submittedUs === undefined) return;
    this.completed += 1;
    this.inFlight -= 1;
    this.turnHidden(us);
  }

  // ───── main thread ─────

  /** @returns whether it was taken: one of a call that has not come yet has to wait for it */
  main(code: number, from: number, until: number, id: number): boolean {
    if (id > this.lastId) return false;
    const operation = this.calls.get(id);
    const args = operation && { tensor: operation.name };
    switch (code) {
      case mainEvents.copiedIn:
        this.span('MEMCPY_IN_HOST_BUFFER', RANK_PID, MAIN_TID, from, until, args);
        break;
      case mainEvents.submitted:
        if (operation) this.enter(operation, from);
        break;
      case mainEvents.blocked:
        this.blockedSinceUs = from;
        this.push('EXPOSED_COMMUNICATION', 'B', RANK_PID, MAIN_TID, from, args);
        this.turnHidden(from);
        break;
      case mainEvents.resumed:
        this.resume(from);
        break;
      case mainEvents.settled:
        this.calls.delete(id);
        if (until > from) this.span('MEMCPY_OUT_HOST_BUFFER', RANK_PID, MAIN_TID, from, until, args);
        break;
      case mainEvents.copiedOut:
        this.span('MEMCPY_OUT_HOST_BUFFER', RANK_PID, MAIN_TID, from, until, args);
        break;
      case mainEvents.step:
        this.step(from);
        break;
    }
    return true;
  }

  /** So many events of the main thread are missing: what it was doing is not known any more. */
  lost(events: number, us: number): void {
    this.resume(us);
    this.calls.clear();
    this.instant('LOST_EVENTS', us, { events });
  }

  /** Ends what is open. */
  close(us: number): void {
    this.resume(us);
    for (const operation of this.operations.values()) this.endTo(operation, 0, us);
    this.operations.clear();
    this.inFlight = 0;
    this.turnHidden(us);
    this.instant('COMMUNICATION_TOTALS', us, {
      operations: this.completed,
      hidden_us: Math.round(this.hiddenUs),
      exposed_us: Math.round(this.exposedUs),
    });
  }

  // ───── hidden and exposed ─────

  private enter(operation: Operation, us: number): void {
    operation.submittedUs = us;
    operation.exposedBeforeUs = this.exposedUs;
    this.inFlight += 1;
    this.turnHidden(us);
  }

  private resume(us: number): void {
    if (this.blockedSinceUs === undefined) return;
    this.exposedUs = this.exposedUntil(us);
    this.blockedSinceUs = undefined;
    this.push(undefined, 'E', RANK_PID, MAIN_TID, us);
    this.turnHidden(us);
  }

  /** A stretch of hidden communication begins or ends where in-flight and blocked change. The two threads' events are in order to within the time that one takes to be told. */
  private turnHidden(us: number): void {
    const isHidden = this.inFlight > 0 && this.blockedSinceUs === undefined;
    if (isHidden === (this.hiddenSinceUs !== undefined)) return;
    if (isHidden) {
      this.hiddenSinceUs = us;
      return;
    }
    const from = this.hiddenSinceUs!;
    this.hiddenSinceUs = undefined;
    if (us <= from) return;
    this.hiddenUs += us - from;
    this.span('HIDDEN_COMMUNICATION', RANK_PID, HIDDEN_TID, from, us);
  }

  private exposedUntil(us: number): number {
    return this.exposedUs + (this.blockedSinceUs === undefined ? 0 : Math.max(0, us - this.blockedSinceUs));
  }

  private step(us: number): void {
    this.steps += 1;
    const now = {
      us,
      exposedUs: this.exposedUntil(us),
      hiddenUs: this.hiddenUs + (this.hiddenSinceUs === undefined ? 0 : Math.max(0, us - this.hiddenSinceUs)),
    };
    this.span('STEP', RANK_PID, STEPS_TID, this.lastStep.us, us, {
      step: this.steps,
      hidden_us: Math.round(now.hiddenUs - this.lastStep.hiddenUs),
      exposed_us: Math.round(now.exposedUs - this.lastStep.exposedUs),
    });
    this.lastStep = now;
  }

  private factsOf({ call, submittedUs, exposedBeforeUs }: Operation, us: number): Record<string, unknown> {
    if (!call) return {};
    const shapes = call.parts.slice(0, MOST_SHAPES).map((shape) => `[${shape.join(', ')}]`);
    if (call.parts.length > MOST_SHAPES) shapes.push(`and ${call.parts.length - MOST_SHAPES} more`);
    const tensors = call.parts.length > 0 ? { dtype: call.dtype, shape: shapes.join(' ') } : {};
    if (submittedUs === undefined) return tensors;
    const flightUs = Math.max(0, us - submittedUs);
    const exposedUs = Math.min(flightUs, Math.max(0, this.exposedUntil(us) - exposedBeforeUs));
    return { ...tensors, hidden_us: Math.round(flightUs - exposedUs), exposed_us: Math.round(exposedUs) };
  }

  // ───── tracks ─────

  private negotiating(call: Call, us: number): Operation {
    const key = callKey(call);
    const known = this.operations.get(key);
    if (known) return known;
    const operation = this.open(key, call.name);
    this.begin(operation, `NEGOTIATE_${upper(call.kind)}`, us);
    return operation;
  }

  private open(key: string, name: string): Operation {
    const track = this.trackOf(name);
    const free = track.lanes.indexOf(false);
    const tid = free < 0 ? track.lanes.length : free;
    track.lanes[tid] = true;
    const operation: Operation = { name, track, tid, depth: 0, exposedBeforeUs: 0 };
    this.operations.set(key, operation);
    return operation;
  }

  private trackOf(name: string): Track {
    const common = name.replace(/\.noname\.\d+$/, '.noname');
    const label = this.tracks.has(common) || this.tracks.size < MOST_TRACKS ? common : OTHERS;
    let track = this.tracks.get(label);
    if (!track) {
      track = { pid: this.tracks.size + 1, isShared: label !== name, lanes: [] };
      this.tracks.set(label, track);
      this.meta('process_name', track.pid, 0, { name: label });
      this.meta('process_sort_index', track.pid, 0, { sort_index: track.pid });
    }
    return track;
  }

  private of(keys: readonly string[]): Operation[] {
    return keys.map((key) => this.operations.get(key)).filter((found) => found !== undefined);
  }

  // ───── records ─────

  private begin(operation: Operation, name: string, us: number): void {
    const { track, tid } = operation;
    this.push(name, 'B', track.pid, tid, us, track.isShared && operation.depth === 0 ? { tensor: operation.name } : undefined);
    operation.depth += 1;
  }
  private end(operation: Operation, us: number, args?: object): void {
    operation.depth -= 1;
    this.push(undefined, 'E', operation.track.pid, operation.tid, us, args);
  }
  private endTo(operation: Operation, depth: number, us: number): void {
    while (operation.depth > depth) this.end(operation, us);
  }

  private push(name: string | undefined, phase: 'B' | 'E', pid: number, tid: number, us: number, args?: object): void {
    const named = name === undefined ? '' : `"name":"${name}",`;
    this.records.push(`{${named}"ph":"${phase}","pid":${pid},"tid":${tid},"ts":${this.at(us)}${argsText(args)}}`);
  }
  private span(name: string, pid: number, tid: number, from: number, until: number, args?: object): void {
    const [ts, end] = [this.at(from), this.at(until)];
    this.records.push(`{"name":"${name}","ph":"X","pid":${pid},"tid":${tid},"ts":${ts},"dur":${Math.max(0, end - ts)}${argsText(args)}}`);
  }
  private instant(name: string, us: number, args?: object): void {
    this.records.push(`{"name":"${name}","ph":"i","s":"g","pid":${RANK_PID},"tid":${MAIN_TID},"ts":${this.at(us)}${argsText(args)}}`);
  }
  private meta(name: string, pid: number, tid: number, args: object): void {
    this.records.push(`{"name":"${name}","ph":"M","pid":${pid},"tid":${tid},"ts":0${argsText(args)}}`);
  }

  /** Whole microseconds: rounding keeps the order, and so what lies inside what. */
  private at(us: number): number {
    return Math.max(0, Math.round(us - this.start.startUs));
  }
}

const argsText = (args: object | undefined): string => (args ? `,"args":${JSON.stringify(args)}` : '');
const upper = (word: string): string => word.toUpperCase().replaceAll('-', '_');
/** What the trace calls an algorithm of `collective/select` at work on a kind of collective. */
export const activityOf = (algorithm: string, kind: string): string => `${upper(algorithm)}_${upper(kind)}`;
const nameOf = (key: string): string => key.slice(key.indexOf(':') + 1);
const wordsOf = ({ code, message }: ErrorRecord): object => ({ error: code, message: message.slice(0, MOST_MESSAGE_CHARS) });
