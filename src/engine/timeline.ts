/**
 * The timeline: what happens to collectives on this rank, as records of Chrome's trace format. Pure: events with their times go in, records come out.
 *
 * Communication thread. As in Horovod each tensor is a "process" of the trace: NEGOTIATE_<KIND> from the first rank that submits it, a tick for every rank, then <KIND> with its activities.
 * Process 0 is the rank itself: its main thread (copies, waits), its hidden communication, its steps. Invariants: on each track what begins ends in the opposite order; an operation that is under
 * way stands among the records as begun, so that the file of a job that hangs shows who is missing.
 */
import type { ErrorRecord } from '../errors';
import { type Call, callKey } from './call';
import { Overlap, type OverlapTotals } from './overlap';
import { type Place, TraceRecords } from './trace_records';

/** Events of the main thread; `from` and `until` are its times, `id` is the call's. */
export const mainEvents = { copiedIn: 1, submitted: 2, blocked: 3, resumed: 4, settled: 5, copiedOut: 6, step: 7 } as const;

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

const MAIN: Place = { pid: 0, tid: 0 };
const HIDDEN: Place = { pid: 0, tid: 1 };
const STEPS: Place = { pid: 0, tid: 2 };
/** Viewers take seconds for more; names that a program makes up anew in each step share a track after that. */
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

interface Operation extends Place {
  readonly name: string;
  readonly track: Track;
  /** Begun, not ended. */
  depth: number;
  /** This rank's own. */
  call?: Call;
  /** When the main thread submitted it, and what had been exposed until then. */
  submitted?: { readonly us: number; readonly exposedUs: number };
}

export class Timeline {
  private readonly records: TraceRecords;
  private readonly overlap = new Overlap((fromUs, untilUs) => this.records.span('HIDDEN_COMMUNICATION', HIDDEN, fromUs, untilUs));
  private readonly tracks = new Map<string, Track>();
  /** By key, until they have ended. */
  private readonly operations = new Map<string, Operation>();
  /** By id, until the main thread has the result. */
  private readonly calls = new Map<number, Operation>();
  /** To parameter servers, by id. */
  private readonly requests = new Set<number>();
  private lastId: number;
  private completed = 0;
  private steps = 0;
  private lastStep: OverlapTotals & { readonly us: number };

  constructor({ rank, size, hostname, startUs, epochUs, lastId }: TimelineStart) {
    this.records = new TraceRecords(startUs);
    this.lastId = lastId;
    this.lastStep = { us: startUs, exposedUs: 0, hiddenUs: 0 };
    this.records.processName(MAIN.pid, `rank ${rank} of ${size} on ${hostname}`, { start_time_since_epoch_in_micros: Math.round(epochUs) });
    this.records.threadName(MAIN, 'main thread');
    this.records.threadName(HIDDEN, 'hidden communication');
    this.records.threadName(STEPS, 'steps');
  }

  /** The records since the last time. */
  take(): string[] {
    return this.records.take();
  }

  // ───── communication thread ─────

  /** Requests leave. */
  cycle(us: number): void {
    this.records.instant('CYCLE_START', us);
  }

  /** This rank's call has come from the main thread. */
  submitted(id: number, call: Call, us: number): void {
    const operation = this.negotiating(call, us);
    operation.call = call;
    this.lastId = id;
    this.calls.set(id, operation);
  }

  /** A request to parameter servers: no operation of the ranks, but communication that is waited for, or hidden. */
  served(id: number, us: number): void {
    this.lastId = id;
    this.requests.add(id);
    this.overlap.submit(us);
  }
  /** Of one that began before the timeline: nothing. */
  answered(id: number, us: number): void {
    if (!this.requests.delete(id)) return;
    this.completed += 1;
    this.overlap.complete(us);
  }

  /** The coordinator knows that this rank is ready; elsewhere: it is being told. */
  ticked(rank: number, call: Call, us: number): void {
    this.records.span(String(rank), this.negotiating(call, us), us, us);
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
    this.endTo(operation, 0, us, { ...this.factsOf(operation, us), ...(error && wordsOf(error)) });
    operation.track.lanes[operation.tid] = false;
    if (!operation.submitted) return;
    this.completed += 1;
    this.overlap.complete(us);
  }

  // ───── main thread ─────

  /** @returns whether it was taken: one of a call that has not come yet has to wait for it */
  main(code: number, from: number, until: number, id: number): boolean {
    if (id > this.lastId) return false;
    const operation = this.calls.get(id);
    const args = operation && { tensor: operation.name };
    switch (code) {
      case mainEvents.copiedIn:
        this.records.span('MEMCPY_IN_HOST_BUFFER', MAIN, from, until, args);
        break;
      case mainEvents.submitted:
        if (operation) operation.submitted = { us: from, exposedUs: this.overlap.totals(from).exposedUs };
        if (operation) this.overlap.submit(from);
        break;
      case mainEvents.blocked:
        // Where the end of a wait was lost.
        this.resume(from);
        this.records.begin('EXPOSED_COMMUNICATION', MAIN, from, args);
        this.overlap.block(from);
        break;
      case mainEvents.resumed:
        this.resume(from);
        break;
      case mainEvents.settled:
        this.calls.delete(id);
        if (until > from) this.records.span('MEMCPY_OUT_HOST_BUFFER', MAIN, from, until, args);
        break;
      case mainEvents.copiedOut:
        this.records.span('MEMCPY_OUT_HOST_BUFFER', MAIN, from, until);
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
    this.records.instant('LOST_EVENTS', us, { events });
  }

  /** Ends what is open. */
  close(us: number): void {
    this.resume(us);
    for (const operation of this.operations.values()) {
      this.endTo(operation, 0, us);
      if (operation.submitted) this.overlap.complete(us);
    }
    this.operations.clear();
    const { hiddenUs, exposedUs } = this.overlap.totals(us);
    this.records.instant('COMMUNICATION_TOTALS', us, { operations: this.completed, ...rounded(hiddenUs, exposedUs) });
  }

  private resume(us: number): void {
    if (!this.overlap.isBlocked) return;
    this.overlap.resume(us);
    this.records.end(MAIN, us);
  }

  private step(us: number): void {
    this.steps += 1;
    const now = { us, ...this.overlap.totals(us) };
    const { lastStep } = this;
    this.records.span('STEP', STEPS, lastStep.us, us, {
      step: this.steps,
      ...rounded(now.hiddenUs - lastStep.hiddenUs, now.exposedUs - lastStep.exposedUs),
    });
    this.lastStep = now;
  }

  private factsOf({ call, submitted }: Operation, us: number): object {
    if (!call) return {};
    const shapes = call.parts.slice(0, MOST_SHAPES).map((shape) => `[${shape.join(', ')}]`);
    if (call.parts.length > MOST_SHAPES) shapes.push(`and ${call.parts.length - MOST_SHAPES} more`);
    const tensors = shapes.length > 0 ? { dtype: call.dtype, shape: shapes.join(' ') } : {};
    if (!submitted) return tensors;
    const flightUs = Math.max(0, us - submitted.us);
    const exposedUs = Math.min(flightUs, Math.max(0, this.overlap.totals(us).exposedUs - submitted.exposedUs));
    return { ...tensors, ...rounded(flightUs - exposedUs, exposedUs) };
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
    const operation: Operation = { name, track, pid: track.pid, tid, depth: 0 };
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
      this.records.processName(track.pid, label);
    }
    return track;
  }

  private of(keys: readonly string[]): Operation[] {
    return keys.map((key) => this.operations.get(key)).filter((found) => found !== undefined);
  }

  private begin(operation: Operation, name: string, us: number): void {
    this.records.begin(name, operation, us, operation.track.isShared && operation.depth === 0 ? { tensor: operation.name } : undefined);
    operation.depth += 1;
  }
  /** @param facts of the outermost */
  private endTo(operation: Operation, depth: number, us: number, facts?: object): void {
    while (operation.depth > depth) {
      operation.depth -= 1;
      this.records.end(operation, us, operation.depth === 0 ? facts : undefined);
    }
  }
}

const rounded = (hiddenUs: number, exposedUs: number): object => ({ hidden_us: Math.round(hiddenUs), exposed_us: Math.round(exposedUs) });
const upper = (word: string): string => word.toUpperCase().replaceAll('-', '_');
/** What the trace calls an algorithm of `collective/select` at work on a kind of collective. */
export const activityOf = (algorithm: string, kind: string): string => `${upper(algorithm)}_${upper(kind)}`;
const nameOf = (key: string): string => key.slice(key.indexOf(':') + 1);
const wordsOf = ({ code, message }: ErrorRecord): object => ({ error: code, message: message.slice(0, MOST_MESSAGE_CHARS) });
