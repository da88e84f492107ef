/**
 * Keeps the communication thread awake for a moment while the main thread blocks on a call: an event loop that polls sees a peer's bytes in a few microseconds, one that sleeps is
 * woken in about fifty. Communication thread.
 *
 * Invariants: it spins only while the main thread sleeps, so a rank never needs more than one core for it; never when the host has more ranks than cores; and at most SPIN_MS
 * after the last news, so that waiting for a slow rank costs nothing.
 */

/** A turn of the loop takes microseconds: one that took so long shared its core with somebody, and spinning would only take the core from whoever is waited for. */
const CONTENDED_MS = 0.3;
/** After that it sleeps as usual for so long. */
const BACK_OFF_MS = 250;

/** Longer than a round trip between two hosts of one room, short enough to be nothing beside a step of training. */
const SPIN_MS = 0.5;

export class Spinner {
  private untilMs = 0;
  private lastTurnMs = 0;
  private notBeforeMs = 0;
  private isSpinning = false;
  private isWanted = false;

  /** @param isAllowed there is a core for every rank of this host */
  constructor(private readonly isAllowed: boolean) {}

  /** The main thread blocks, or there is news while it does. */
  begin(): void {
    const nowMs = performance.now();
    if (!this.isAllowed || nowMs < this.notBeforeMs) return;
    this.isWanted = true;
    this.untilMs = nowMs + SPIN_MS;
    if (this.isSpinning) return;
    this.isSpinning = true;
    this.lastTurnMs = nowMs;
    setImmediate(this.turn);
  }

  /** What the main thread was waiting for is there. */
  end(): void {
    this.isWanted = false;
  }

  /** A pending immediate makes the loop poll its sockets instead of sleeping in them. */
  private readonly turn = (): void => {
    const nowMs = performance.now();
    if (nowMs - this.lastTurnMs > CONTENDED_MS) this.notBeforeMs = nowMs + BACK_OFF_MS;
    this.lastTurnMs = nowMs;
    this.isSpinning = this.isWanted && nowMs < this.untilMs && nowMs >= this.notBeforeMs;
    if (this.isSpinning) setImmediate(this.turn);
  };
}
