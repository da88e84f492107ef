/**
 * The main thread's side of the engine: starts the communication thread, hands it calls, waits for them.
 *
 * Main thread. Invariants: no wait is unbounded (a thread whose beat stops is an error); a slot is freed once, by whoever reads its outcome; the thread keeps no process
 * alive except while a handle is awaited (`holdProcess`).
 */
import path from 'node:path';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { type Config, ownThread } from '../config';
import { type ErrorRecord, HvdError, reviveError, ShutdownError } from '../errors';
import { log } from '../log';
import { Arena, createMemory } from '../memory/arena';
import type { ServerRequest } from '../parameter_server/client';
import { RESOLVE_MS } from '../rendezvous/resolve';
import type { JobIdentity } from '../schedulers/identity';
import { Boundary, SLOT_COUNT } from './boundary';
import { type Call, callKey } from './call';
import { epochUs, nowUs } from './clock';
import { type FromThread, layOutRegions, type ThreadData, type ToThread } from './messages';
import { ranksThatShare } from './neighbours';
import { MainRecorder } from './timeline_main';

/** A waiting main thread looks up this often, to see that the other thread lives. */
const LOOK_MS = 1000;
/** A communication thread whose event loop did not turn for so long counts as dead (its longest piece of work takes milliseconds). */
const DEAD_THREAD_MS = 60_000;
const YOUNG_GENERATION_MB = 4;
/** Leaving: what peers still need is sent for at most 5 s, then everything is closed. */
const LEAVE_MS = 5_000;
/** What a timeline still holds is a few writes. */
const STOP_TIMELINE_MS = 5_000;

export interface Outcome {
  readonly error?: HvdError;
  readonly outputs?: ArrayBuffer[];
  /** For each part, rows (axis 0) of each member. */
  readonly rows?: number[][];
  /** Of slots that a parameter server has sent: steps that they have seen. */
  readonly steps?: number;
  /** When the communication thread was through with it, in µs of `nowUs`. */
  readonly doneAtUs: number;
}

export interface Pending {
  readonly id: number;
  readonly slot: number;
  readonly call: Pick<Call, 'name' | 'processSet'> & { readonly kind: string };
  /** The communication thread knows that the main thread waits. */
  readonly isAwaited: boolean;
  outcome?: Outcome;
  /** Called once, in an event-loop turn, when an asynchronous call is complete. */
  onDone?: () => void;
}

/** Blocks while the thread serves others, and lives. */
export function awaitServing(boundary: Boundary): void {
  let { beat } = boundary;
  let beatMs = performance.now();
  while (boundary.awaitThread('serving', LOOK_MS) === 'serving') {
    if (boundary.beat === beat && performance.now() - beatMs > DEAD_THREAD_MS) return;
    if (boundary.beat !== beat) [beat, beatMs] = [boundary.beat, performance.now()];
  }
}

export class Engine {
  readonly arena: Arena;
  isHomogeneous = true;
  /** While one is recorded. */
  timeline?: MainRecorder;
  private readonly boundary = new Boundary();
  private readonly worker: Worker;
  private readonly port: MessagePort;
  private readonly pendings = new Map<number, Pending>();
  private readonly records = new Map<number, Omit<Outcome, 'doneAtUs'>>();
  private readonly freeSlots: number[] = [];
  private usedSlots = 0;
  private nextId = 1;
  private timelines = 0;
  private holds = 0;
  private failure?: HvdError;
  private hasLeft = false;

  /** Blocks until the job has formed. @throws RendezvousError, WireError, … what the communication thread met */
  constructor(
    /** Its place among the ranks of this host is known once the job has formed. */
    public config: Config,
    private readonly job: JobIdentity | undefined,
    generation: number,
  ) {
    const memory = createMemory();
    const regions = layOutRegions(
      config.fusionThresholdBytes,
      ranksThatShare(config, job),
      job?.localRank ?? config.localRank ?? config.rank,
    );
    const missingBytes = regions.leastBytes - memory.buffer.byteLength;
    if (missingBytes > 0) memory.grow(Math.ceil(missingBytes / 65536));
    this.arena = new Arena(memory, regions.reservedBytes);
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    const threadData: ThreadData = { config, job, generation, memory, regions, words: this.boundary.words };
    this.worker = new Worker(path.join(__dirname, 'comm_thread.js'), {
      ...ownThread('khorovod'),
      workerData: { ...threadData, port: port2 },
      transferList: [port2],
      // Its garbage is small and short-lived; V8 would widen its young generation for hundreds of steps (measured: 5 MiB more a rank after 1,000).
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    this.worker.unref();
    this.worker.on('error', (error) =>
      this.fail(new HvdError(`The communication thread ended by an error: ${error.stack ?? error.message}.`)),
    );
    this.port.on('message', (message: FromThread) => this.take(message));
    this.port.unref();
    this.awaitStart();
  }

  /** What the communication thread has copied on this host so far, beside what the transport moves. */
  get copiedBytes(): number {
    return this.boundary.copiedBytes;
  }

  /** It has neither failed nor left. */
  get isUsable(): boolean {
    return !this.hasLeft && !this.firstFailure;
  }

  get firstFailure(): HvdError | undefined {
    if (!this.failure && this.boundary.isPoisoned) this.drain();
    return this.failure;
  }

  /** @param copyingSinceUs for the timeline, if its data was copied. @throws the engine's first failure, if it has failed */
  submit(call: Call, byteOffset: number, bytes: number, isAwaited: boolean, copyingSinceUs?: number): Pending {
    if (this.hasLeft) throw new ShutdownError(`${call.kind} '${call.name}' came after shutdown().`);
    const failure = this.firstFailure;
    if (failure) throw failure;
    const pending = this.begin(call, isAwaited);
    const { slot } = pending;
    this.timeline?.submitted(pending.id, copyingSinceUs, nowUs());
    this.tell({ kind: 'submit', submission: { id: pending.id, slot, call, byteOffset, bytes, isAwaited } });
    return pending;
  }

  /** Who trains by servers may go on; with --keep-going also without a rank that was lost. */
  get isServed(): boolean {
    return !this.hasLeft && (this.config.keepGoing || !this.firstFailure);
  }

  /** @throws the engine's first failure; with --keep-going a lost rank is none to those who train by servers */
  submitToServers(name: string, request: ServerRequest, copyingSinceUs?: number): Pending {
    if (this.hasLeft) throw new ShutdownError(`'${name}' came after shutdown().`);
    if (!this.isServed) throw this.firstFailure!;
    const pending = this.begin({ name, processSet: 0, kind: request.kind }, true);
    if (copyingSinceUs !== undefined) this.timeline?.submitted(pending.id, copyingSinceUs, nowUs());
    this.tell({ kind: 'serve', submission: { id: pending.id, slot: pending.slot, request } });
    return pending;
  }

  isDone(pending: Pending): boolean {
    return pending.outcome !== undefined || this.boundary.slotState(pending.slot) !== 'pending';
  }

  /** Blocks until the call is complete. */
  wait(pending: Pending): Outcome {
    if (pending.outcome) return pending.outcome;
    if (!this.isDone(pending)) {
      if (!pending.isAwaited) this.tell({ kind: 'await', key: callKey(pending.call) });
      this.timeline?.blocked(pending.id);
      this.block(pending);
      this.timeline?.resumed(pending.id);
    }
    return this.settle(pending);
  }

  /** Keeps the process alive until released as often: a promise that only the communication thread settles would otherwise end it. */
  holdProcess(): void {
    if (this.holds++ === 0) this.port.ref();
    this.tell({ kind: 'flush' });
  }
  releaseProcess(): void {
    if (--this.holds === 0) this.port.unref();
  }

  report(json: string): void {
    this.tell({ kind: 'report', json });
  }

  /** From now on, into a file that holds no event yet. */
  startTimeline(file: string, marksCycles: boolean): void {
    const { rank, size, hostname } = this.config;
    const start = { rank, size, hostname, startUs: nowUs(), epochUs: epochUs(), lastId: this.nextId - 1 };
    const number = ++this.timelines;
    const timeline = new MainRecorder(number);
    this.boundary.markTimeline(number);
    this.tell({ kind: 'startTimeline', number, start, file, marksCycles, ring: timeline.ring.shared });
    this.timeline = timeline;
  }

  /** Blocks until its file is complete. Without a timeline: nothing. */
  stopTimeline(): void {
    if (!this.timeline) return;
    const { number } = this.timeline;
    this.timeline = undefined;
    const { beat } = this.boundary;
    this.tell({ kind: 'stopTimeline' });
    if (this.boundary.awaitTimelineEnd(number, STOP_TIMELINE_MS)) return;
    const why = this.boundary.beat === beat ? 'the communication thread does not answer' : 'the disk is slow';
    log('WARNING', `The file of the timeline is not complete after ${STOP_TIMELINE_MS / 1000} s: ${why}.`);
  }

  /** Leaves the job, blocking at most `LEAVE_MS`. Everything pending fails with ShutdownError. */
  leave(failed: boolean, reason: string): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    const deadlineMs = performance.now() + LEAVE_MS + LOOK_MS;
    this.tell({ kind: 'leave', failed, reason });
    while (this.boundary.threadState === 'running' && performance.now() < deadlineMs)
      this.boundary.awaitThread('running', deadlineMs - performance.now());
    awaitServing(this.boundary);
    this.drain();
    this.failPending(new ShutdownError('This rank has left the job: shutdown() was called.'));
    this.port.close();
    void this.worker.terminate();
  }

  // ───── inside ─────

  private begin(call: Pending['call'], isAwaited: boolean): Pending {
    const slot = this.freeSlots.pop() ?? this.usedSlots++;
    if (slot >= SLOT_COUNT)
      throw new HvdError(`More than ${SLOT_COUNT} collectives are in flight on this rank. Wait for some of them first.`);
    this.boundary.markPending(slot);
    const pending: Pending = { id: this.nextId++, slot, call, isAwaited };
    this.pendings.set(pending.id, pending);
    return pending;
  }

  private tell(message: ToThread): void {
    this.port.postMessage(message);
  }

  private awaitStart(): void {
    const { startTimeoutSeconds } = this.config;
    const deadlineMs = performance.now() + startTimeoutSeconds * 1000 + DEAD_THREAD_MS + (this.job ? 2 * RESOLVE_MS : 0);
    while (this.boundary.threadState === 'starting' && performance.now() < deadlineMs) this.boundary.awaitThread('starting', LOOK_MS);
    this.drain();
    if (this.boundary.threadState === 'running') return;
    this.port.close();
    void this.worker.terminate();
    throw this.failure ?? new HvdError(`The communication thread did not start within ${startTimeoutSeconds} s and said nothing.`);
  }

  private block(pending: Pending): void {
    let beat = this.boundary.beat;
    let beatMs = performance.now();
    let lookedMs = beatMs;
    while (this.boundary.awaitSlot(pending.slot, LOOK_MS) === 'pending') {
      const now = this.boundary.beat;
      // The whole process was stopped, the other thread with it.
      if (performance.now() - lookedMs > 2 * LOOK_MS) beatMs = performance.now();
      lookedMs = performance.now();
      if (now !== beat) [beat, beatMs] = [now, performance.now()];
      else if (performance.now() - beatMs > DEAD_THREAD_MS || this.boundary.threadState !== 'running') {
        this.drain();
        if (this.boundary.slotState(pending.slot) !== 'pending') return;
        this.fail(
          this.failure ??
            new HvdError(
              `The communication thread of rank ${this.config.rank} stopped while ${pending.call.kind} '${pending.call.name}' was waiting.`,
            ),
        );
        return;
      }
    }
  }

  /** Reads a call's outcome and frees its slot; again: the same outcome. */
  private settle(pending: Pending): Outcome {
    if (pending.outcome) return pending.outcome;
    let record: Omit<Outcome, 'doneAtUs'> = {};
    if (this.boundary.slotState(pending.slot) === 'told') {
      if (!this.records.has(pending.id)) this.drain();
      // The port was drained by an earlier wait or holds the record: it was posted before the word was set.
      record = this.records.get(pending.id) ?? {
        error: this.failure ?? new HvdError(`${pending.call.kind} '${pending.call.name}' ended without a record. Please report it.`),
      };
      this.records.delete(pending.id);
    }
    const outcome = { ...record, doneAtUs: this.boundary.doneAtUs(pending.slot) };
    pending.outcome = outcome;
    this.pendings.delete(pending.id);
    this.boundary.free(pending.slot);
    this.freeSlots.push(pending.slot);
    return outcome;
  }

  private drain(): void {
    for (let next = receiveMessageOnPort(this.port); next; next = receiveMessageOnPort(this.port)) this.take(next.message as FromThread);
  }

  private take(message: FromThread): void {
    switch (message.kind) {
      case 'record':
        if (this.pendings.has(message.id))
          this.records.set(message.id, {
            outputs: message.outputs,
            rows: message.rows,
            steps: message.steps,
            error: message.error && this.revive(message.error),
          });
        return;
      case 'done':
        // In a turn of their own when the port is drained by a blocking wait: user code must not run inside it.
        for (const id of message.ids) {
          const pending = this.pendings.get(id);
          if (pending?.onDone) setImmediate(pending.onDone);
        }
        return;
      case 'running':
        this.isHomogeneous = message.isHomogeneous;
        this.config = Object.freeze({ ...this.config, ...message.place });
        return;
      case 'failed':
        this.failure ??= reviveError(message.error);
        return;
    }
  }

  /** The engine's failure is one object, however many calls it ended. */
  private revive(record: ErrorRecord): HvdError {
    return this.failure && record.code === this.failure.code && record.message === this.failure.message
      ? this.failure
      : reviveError(record);
  }

  private fail(error: HvdError): void {
    this.failure ??= error;
    this.failPending(this.failure);
  }

  private failPending(error: HvdError): void {
    for (const pending of [...this.pendings.values()]) {
      if (this.boundary.slotState(pending.slot) === 'pending') {
        this.records.set(pending.id, { error });
        this.boundary.complete(pending.slot, 'told');
      }
      if (pending.onDone) setImmediate(pending.onDone);
    }
  }
}
