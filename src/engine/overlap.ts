/**
 * How much of the communication the main thread waits for. Pure; communication thread.
 *
 * Exposed: the main thread blocks on a collective. Hidden: it does not, while one is in flight, from when this rank submitted it until it is complete. The two threads' events come
 * in order, up to the moment that one takes to be told: a stretch of hidden communication begins and ends at the latest moment so far at the earliest, so that none overlaps another.
 */

export interface OverlapTotals {
  readonly exposedUs: number;
  readonly hiddenUs: number;
}

export class Overlap {
  private inFlight = 0;
  private blockedSinceUs?: number;
  private hiddenSinceUs?: number;
  private exposedUs = 0;
  private hiddenUs = 0;
  private latestUs = Number.NEGATIVE_INFINITY;

  /** @param onHidden a stretch of hidden communication has ended */
  constructor(private readonly onHidden: (fromUs: number, untilUs: number) => void) {}

  get isBlocked(): boolean {
    return this.blockedSinceUs !== undefined;
  }

  submit(us: number): void {
    this.inFlight += 1;
    this.turn(us);
  }
  complete(us: number): void {
    this.inFlight -= 1;
    this.turn(us);
  }
  block(us: number): void {
    this.blockedSinceUs = us;
    this.turn(us);
  }
  resume(us: number): void {
    this.exposedUs += since(this.blockedSinceUs, us);
    this.blockedSinceUs = undefined;
    this.turn(us);
  }

  /** Until then. */
  totals(us: number): OverlapTotals {
    return { exposedUs: this.exposedUs + since(this.blockedSinceUs, us), hiddenUs: this.hiddenUs + since(this.hiddenSinceUs, us) };
  }

  private turn(told: number): void {
    this.latestUs = Math.max(this.latestUs, told);
    const us = this.latestUs;
    const isHidden = this.inFlight > 0 && this.blockedSinceUs === undefined;
    if (isHidden === (this.hiddenSinceUs !== undefined)) return;
    const from = this.hiddenSinceUs;
    this.hiddenSinceUs = isHidden ? us : undefined;
    const hiddenUs = since(from, us);
    this.hiddenUs += hiddenUs;
    if (hiddenUs > 0) this.onHidden(from!, us);
  }
}

const since = (from: number | undefined, us: number): number => (from === undefined ? 0 : Math.max(0, us - from));
