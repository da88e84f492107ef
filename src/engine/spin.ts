/**
 * Keeps the communication thread awake for a moment while the main thread blocks on a call: an event loop that polls sees a peer's bytes in a few microseconds, one that sleeps is
 * woken in about fifty. Communication thread.
 *
 * Invariants: it spins only while the main thread sleeps, so a rank never needs more than one core for it; never when the host has more ranks than cores; and at most SPIN_MS
 * after the last news, so that waiting for a slow rank costs nothing.
 */

/** A turn of the loop takes microseconds: one that took so long shared its core with somebody, and spinning would only take the core from whoever is waited for. */
const CONTENDED_MS = 0.3;
/**
 * After that it sleeps as usual for so long: twice as long as the last time, half as long after each wait that came to its end undisturbed. A single turn may be long for V8's sake, who collects garbage in it:
 * after 250 ms each time, most calls of a loop over sockets were slept through (measured, 2 ranks, TCP, 1 KiB 190 µs a call, with 2 ms 95).
 */
const LEAST_BACK_OFF_MS = 1;
const MOST_BACK_OFF_MS = 250;

/** Longer than a round trip between two hosts of one room, short enough to be nothing beside a step of training. */
const SPIN_MS = 0.5;

export class Spinner {
  private untilMs = 0;
  private lastTurnMs = 0;
  private notBeforeMs = 0;
  private backOffMs = LEAST_BACK_OFF_MS;
  private isSpinning = false;
  private isWanted = false;

  /** @param isAllowed there is a core for every rank of this host @param soon calls back in the next turn of the event loop */
  constructor(
    private readonly isAllowed: boolean,
    private readonly now: () => number = () => performance.now(),
    private readonly soon: (call: () => void) => void = setImmediate,
  ) {}

  /** The main thread blocks, or there is news while it does. */
  begin(): void {
    const nowMs = this.now();
    if (!this.isAllowed || nowMs < this.notBeforeMs) return;
    this.isWanted = true;
    this.untilMs = nowMs + SPIN_MS;
    if (this.isSpinning) return;
    this.isSpinning = true;
    this.lastTurnMs = nowMs;
    this.soon(this.turn);
  }

  /** What the main thread was waiting for is there. */
  end(): void {
    if (this.isWanted && this.isSpinning) this.backOffMs = Math.max(LEAST_BACK_OFF_MS, this.backOffMs / 2);
    this.isWanted = false;
  }

  /** A pending immediate makes the loop poll its sockets instead of sleeping in them. */
  private readonly turn = (): void => {
    const nowMs = this.now();
    if (nowMs - this.lastTurnMs > CONTENDED_MS) {
      this.notBeforeMs = nowMs + this.backOffMs;
      this.backOffMs = Math.min(MOST_BACK_OFF_MS, 2 * this.backOffMs);
    }
    this.lastTurnMs = nowMs;
    this.isSpinning = this.isWanted && nowMs < this.untilMs && nowMs >= this.notBeforeMs;
    if (this.isSpinning) this.soon(this.turn);
  };
}
