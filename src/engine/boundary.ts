/**
 * The boundary between the main thread and the communication thread: which shared words there are, and every `Atomics` call of the package (those of the threads that compute beside the main one, too).
 *
 * | word | name | written by | meaning |
 * | --- | --- | --- | --- |
 * | 0 | thread | communication thread | starting, running, serving, stopped, failed |
 * | 1 | beat | communication thread | grows while its event loop turns; the main thread looks at it while it waits |
 * | 2 | poison | communication thread | 1: the first failure has happened, nothing later can succeed |
 * | 3 | timeline | both | the number of the timeline that is recorded (main), from 1 on; 0: its file is complete (communication thread) |
 * | 4, 5 | copied | communication thread | bytes that it has copied inside shared memory or out of it for results: one number of 64 bits |
 * | 16 … | slot | both | one word a call: free, pending (main), done, told (communication thread) |
 * | after the slots | done at | communication thread | one word a call: when it was complete, the lowest 32 bits of `nowUs` |
 *
 * Control travels by `postMessage`, bytes by shared memory, completion by one slot word. Order, always: first the record (a message on the port, or bytes in the
 * arena, and the time), then the word, then notify; a reader that sees the word therefore finds the record. `done`: the result lies where the call's data lay. `told`: a record
 * (error, or gathered output) is on the port. Beside the words there is one ring of events, while a timeline is recorded.
 */
import { BugError } from '../errors';
import { nowUs } from './clock';

/** `serving`: the job is left, but for the share of a parameter server that others still train with. */
export type ThreadState = 'starting' | 'running' | 'serving' | 'stopped' | 'failed';
const threadStates: readonly ThreadState[] = ['starting', 'running', 'serving', 'stopped', 'failed'];

export const SLOT_COUNT = 1 << 16;
const THREAD = 0;
const BEAT = 1;
const POISON = 2;
const TIMELINE = 3;
/** Of the words as numbers of 64 bits. */
const COPIED = 2;
const FIRST_SLOT = 16;

const FREE = 0;
const PENDING = 1;
const DONE = 2;
const TOLD = 3;
export type SlotState = 'pending' | 'done' | 'told';

const nobody = new Int32Array(new SharedArrayBuffer(4));
/** Blocks this thread for so long: for what can only be polled. */
export function pause(ms: number): void {
  Atomics.wait(nobody, 0, 0, ms);
}

export class Boundary {
  readonly words: Int32Array;
  private readonly longs: BigInt64Array;

  /** Without an argument: made by the main thread; with the words of a boundary: the other side of it. */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(4 * (FIRST_SLOT + 2 * SLOT_COUNT)))) {
    this.words = words;
    this.longs = new BigInt64Array(words.buffer, words.byteOffset, FIRST_SLOT / 2);
  }

  // ───── main thread ─────

  /** All of a call's are counted when its slot is no longer pending. */
  get copiedBytes(): number {
    return Number(Atomics.load(this.longs, COPIED));
  }

  get threadState(): ThreadState {
    return threadStates[Atomics.load(this.words, THREAD)]!;
  }
  get isPoisoned(): boolean {
    return Atomics.load(this.words, POISON) === 1;
  }
  get beat(): number {
    return Atomics.load(this.words, BEAT);
  }

  /** Blocks until the thread has left that state, at most so long. */
  awaitThread(state: ThreadState, timeoutMs: number): ThreadState {
    // `wait` compares before it sleeps: a change between the caller's look and this call is not missed.
    Atomics.wait(this.words, THREAD, threadStates.indexOf(state), timeoutMs);
    return this.threadState;
  }

  markPending(slot: number): void {
    const was = Atomics.exchange(this.words, FIRST_SLOT + slot, PENDING);
    if (was !== FREE) throw new BugError(`Slot ${slot} was taken while in use (state ${was}). Please report it.`);
  }
  slotState(slot: number): SlotState {
    const state = Atomics.load(this.words, FIRST_SLOT + slot);
    return state === DONE ? 'done' : state === TOLD ? 'told' : 'pending';
  }
  /** Blocks until the slot is no longer pending, at most so long. */
  awaitSlot(slot: number, timeoutMs: number): SlotState {
    Atomics.wait(this.words, FIRST_SLOT + slot, PENDING, timeoutMs);
    return this.slotState(slot);
  }
  /** Of a slot that is no longer pending, and was not for more than half an hour: 32 bits of µs turn over every 71 minutes. */
  doneAtUs(slot: number): number {
    const us = nowUs();
    return us - ((us - this.words[FIRST_SLOT + SLOT_COUNT + slot]!) | 0);
  }
  free(slot: number): void {
    Atomics.store(this.words, FIRST_SLOT + slot, FREE);
  }

  markTimeline(number: number): void {
    Atomics.store(this.words, TIMELINE, number);
  }
  /** Blocks until that timeline's file is complete, at most so long. @returns whether it is */
  awaitTimelineEnd(number: number, timeoutMs: number): boolean {
    return Atomics.wait(this.words, TIMELINE, number, timeoutMs) !== 'timed-out';
  }

  // ───── communication thread ─────

  setThread(state: ThreadState): void {
    Atomics.store(this.words, THREAD, threadStates.indexOf(state));
    Atomics.notify(this.words, THREAD);
  }
  addCopied(bytes: number): void {
    Atomics.add(this.longs, COPIED, BigInt(bytes));
  }
  addBeat(): void {
    Atomics.add(this.words, BEAT, 1);
  }
  poison(): void {
    Atomics.store(this.words, POISON, 1);
  }
  /** Of one that nobody waits for any longer, and after which the next has begun: nothing. */
  endTimeline(number: number): void {
    Atomics.compareExchange(this.words, TIMELINE, number, 0);
    Atomics.notify(this.words, TIMELINE);
  }
  complete(slot: number, state: 'done' | 'told'): void {
    this.words[FIRST_SLOT + SLOT_COUNT + slot] = nowUs() | 0;
    Atomics.store(this.words, FIRST_SLOT + slot, state === 'done' ? DONE : TOLD);
    Atomics.notify(this.words, FIRST_SLOT + slot);
  }
}

/** 1 MiB: more than the main thread does while the communication thread is busy with the longest piece of its work. A power of two. */
const RING_EVENTS = 1 << 15;
const NUMBERS_PER_EVENT = 4;
const WRITTEN = 0;
const READ = 1;
const LOST = 2;
const HEAD_BYTES = 16;

/**
 * What the main thread does, on its way into the timeline, in the order in which it happened: four numbers an event, written by the main thread, read by the communication
 * thread. Nothing is allocated and nobody is woken. What does not fit is lost, and counted.
 */
export class EventRing {
  private readonly counts: Int32Array;
  private readonly cells: Float64Array;

  /** Without an argument: made by the main thread; with the memory of a ring: the other side of it. */
  constructor(readonly shared = new SharedArrayBuffer(HEAD_BYTES + RING_EVENTS * NUMBERS_PER_EVENT * Float64Array.BYTES_PER_ELEMENT)) {
    this.counts = new Int32Array(shared, 0, 3);
    this.cells = new Float64Array(shared, HEAD_BYTES);
  }

  /** Main thread. */
  put(code: number, from: number, until: number, id: number): void {
    const written = this.counts[WRITTEN]!;
    // The counts go round; their difference does not.
    if (((written - Atomics.load(this.counts, READ)) | 0) >= RING_EVENTS) {
      Atomics.add(this.counts, LOST, 1);
      return;
    }
    const at = (written & (RING_EVENTS - 1)) * NUMBERS_PER_EVENT;
    this.cells[at] = code;
    this.cells[at + 1] = from;
    this.cells[at + 2] = until;
    this.cells[at + 3] = id;
    Atomics.store(this.counts, WRITTEN, written + 1);
  }

  /** Communication thread: hands over what is there. `take` returns false for an event that is to stay, with all after it. */
  drain(take: (code: number, from: number, until: number, id: number) => boolean): void {
    const written = Atomics.load(this.counts, WRITTEN);
    for (let read = this.counts[READ]!; read !== written; read = (read + 1) | 0) {
      const at = (read & (RING_EVENTS - 1)) * NUMBERS_PER_EVENT;
      if (!take(this.cells[at]!, this.cells[at + 1]!, this.cells[at + 2]!, this.cells[at + 3]!)) return;
      Atomics.store(this.counts, READ, (read + 1) | 0);
    }
  }

  /** Communication thread: how many were lost since the last time. */
  takeLost(): number {
    return Atomics.exchange(this.counts, LOST, 0);
  }
}

/** About as many as fit into the time that it takes to wake a thread. */
const LOOKS = 5_000;
const TURN_MS = 1_000;
const ROUND = 0;
const OPEN = 1;
const FAILED = 2;
const FIRST_WORD = 16;
const BOARD_WORDS = 64;

/**
 * Rounds of work that the main thread divides among itself and helpers: what is to be done as words, and the count of the helpers that are not yet done with it. Every helper takes part in every round,
 * if with nothing: so none reads the words of one while the next is written. Order: first the words and the count, then the round, then notify.
 */
export class WorkBoard {
  private readonly cells: Int32Array;

  /** Without an argument: made by the main thread; with the memory of a board: a helper's side of it. */
  constructor(readonly shared = new SharedArrayBuffer(4 * (FIRST_WORD + BOARD_WORDS))) {
    this.cells = new Int32Array(shared);
  }

  /** Main thread; the round before is done. */
  post(helpers: number, words: readonly number[]): void {
    if (words.length > BOARD_WORDS) throw new BugError(`${words.length} words of work. Please report it.`);
    this.cells.set(words, FIRST_WORD);
    this.cells[OPEN] = helpers;
    Atomics.add(this.cells, ROUND, 1);
    Atomics.notify(this.cells, ROUND);
  }
  /** Main thread: blocks until all helpers are done, at most about so long. @returns whether they are */
  awaitDone(timeoutMs: number): boolean {
    for (let look = 0; look < LOOKS; look += 1) if (Atomics.load(this.cells, OPEN) === 0) return true;
    // Turns are counted, not time: while a job is stopped (Ctrl-Z) only the clock goes on.
    for (let turn = 0; turn < timeoutMs / TURN_MS; turn += 1) {
      const open = Atomics.load(this.cells, OPEN);
      if (open === 0) return true;
      Atomics.wait(this.cells, OPEN, open, TURN_MS);
    }
    return Atomics.load(this.cells, OPEN) === 0;
  }
  /** Main thread: whether a helper has ever failed. */
  get hasFailed(): boolean {
    return Atomics.load(this.cells, FAILED) === 1;
  }

  /** Helper: blocks until there is another round than that one, for ever: the thread is ended from outside. @returns its number */
  awaitRound(seen: number): number {
    Atomics.wait(this.cells, ROUND, seen);
    return Atomics.load(this.cells, ROUND);
  }
  /** Helper, during a round. */
  word(index: number): number {
    return this.cells[FIRST_WORD + index]!;
  }
  /** Helper: is done with the round. */
  finish(isFailed: boolean): void {
    if (isFailed) Atomics.store(this.cells, FAILED, 1);
    if (Atomics.sub(this.cells, OPEN, 1) === 1) Atomics.notify(this.cells, OPEN);
  }
}
