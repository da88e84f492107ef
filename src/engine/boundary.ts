/**
 * The boundary between the main thread and the communication thread: which shared words there are, and every `Atomics` call of the package.
 *
 * | word | name | written by | meaning |
 * | --- | --- | --- | --- |
 * | 0 | thread | communication thread | starting, running, stopped, failed |
 * | 1 | beat | communication thread | grows while its event loop turns; the main thread looks at it while it waits |
 * | 2 | poison | communication thread | 1: the first failure has happened, nothing later can succeed |
 * | 16 … | slot | both | one word a call: free, pending (main), done, told (communication thread) |
 * | after the slots | done at | communication thread | one word a call: when it was complete, in µs of `nowUs` |
 *
 * Control travels by `postMessage`, bytes by shared memory, completion by one slot word. Order, always: first the record (a message on the port, or bytes in the
 * arena, and the time), then the word, then notify; a reader that sees the word therefore finds the record. `done`: the result lies where the call's data lay. `told`: a record
 * (error, or gathered output) is on the port.
 */
import { BugError } from '../errors';

export type ThreadState = 'starting' | 'running' | 'stopped' | 'failed';
const threadStates: readonly ThreadState[] = ['starting', 'running', 'stopped', 'failed'];

export const SLOT_COUNT = 1 << 16;
const THREAD = 0;
const BEAT = 1;
const POISON = 2;
const FIRST_SLOT = 16;

const FREE = 0;
const PENDING = 1;
const DONE = 2;
const TOLD = 3;
export type SlotState = 'pending' | 'done' | 'told';

/** Microseconds of the clock that all threads of a process share, in 32 bits: it turns over every 71 minutes; take differences by `elapsedUs`. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return (seconds * 1e6 + nanoseconds / 1e3) | 0;
}
/** Right for up to 35 minutes. */
export const elapsedUs = (fromUs: number, toUs: number): number => (toUs - fromUs) | 0;

export class Boundary {
  readonly words: Int32Array;

  /** Without an argument: made by the main thread; with the words of a boundary: the other side of it. */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(4 * (FIRST_SLOT + 2 * SLOT_COUNT)))) {
    this.words = words;
  }

  // ───── main thread ─────

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
  /** Of a slot that is no longer pending. */
  doneAtUs(slot: number): number {
    return this.words[FIRST_SLOT + SLOT_COUNT + slot]!;
  }
  free(slot: number): void {
    Atomics.store(this.words, FIRST_SLOT + slot, FREE);
  }

  // ───── communication thread ─────

  setThread(state: ThreadState): void {
    Atomics.store(this.words, THREAD, threadStates.indexOf(state));
    Atomics.notify(this.words, THREAD);
  }
  addBeat(): void {
    Atomics.add(this.words, BEAT, 1);
  }
  poison(): void {
    Atomics.store(this.words, POISON, 1);
  }
  complete(slot: number, state: 'done' | 'told'): void {
    this.words[FIRST_SLOT + SLOT_COUNT + slot] = nowUs();
    Atomics.store(this.words, FIRST_SLOT + slot, state === 'done' ? DONE : TOLD);
    Atomics.notify(this.words, FIRST_SLOT + slot);
  }
}
