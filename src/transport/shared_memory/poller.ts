/**
 * Who waits for a neighbour's memory to change: looks again and again for a moment, then has the neighbour ring a bell. Communication thread.
 *
 * Nothing wakes a thread when a word of shared memory changes. To be woken through a socket costs about 50 µs, so looking for as long costs at most twice what the best choice would. Between looks
 * the event loop turns: sockets, the main thread and deadlines are served as ever. With more ranks than cores each look lets others have the core.
 *
 * Invariant: what waits is either looked at in a coming turn, or has armed its bell and found nothing new after that.
 */

/** As long as a wake-up takes, and the time a neighbour needs for a piece. */
const SPIN_MS = 0.1;
/** Looks within a turn of the event loop. */
const LOOKS = 20;

export interface Waiting {
  /** It wants something of its neighbour. */
  readonly isWaiting: boolean;
  /** It takes what comes. A bell will do, unless something is expected now. */
  readonly isListening: boolean;
  /** Goes on as far as it can. @returns whether it got anywhere */
  poll(): boolean;
  /** Has the neighbour ring. @returns false: there is news already */
  arm(): boolean;
}

export class Poller {
  private readonly all = new Set<Waiting>();
  private isTurning = false;
  private newsMs = 0;
  private isExpecting = false;

  /** @param yieldCore called between looks where ranks outnumber cores */
  constructor(private readonly yieldCore: (() => void) | undefined) {}

  add(one: Waiting): void {
    this.all.add(one);
  }
  remove(one: Waiting): void {
    this.all.delete(one);
  }

  /** Something will come soon for those who listen; or nothing that anybody waits for. */
  expect(isExpecting: boolean): void {
    this.isExpecting = isExpecting;
    if (isExpecting) this.wake();
  }

  /** One of them waits, or its bell has rung. */
  wake(): void {
    this.newsMs = performance.now();
    if (this.isTurning) return;
    this.isTurning = true;
    setImmediate(this.turn);
  }

  private readonly turn = (): void => {
    let isUrgent = false;
    for (let look = 0; look < LOOKS; look += 1) {
      let isNews = false;
      isUrgent = this.isExpecting;
      for (const one of this.all) {
        if (!one.isWaiting && !one.isListening) continue;
        isUrgent ||= one.isWaiting;
        isNews = one.poll() || isNews;
      }
      if (isNews) {
        this.newsMs = performance.now();
        break;
      }
      if (!isUrgent) break;
      this.yieldCore?.();
    }
    const isSpinning = isUrgent && performance.now() - this.newsMs < SPIN_MS;
    if (isSpinning || !this.armAll()) {
      setImmediate(this.turn);
      return;
    }
    this.isTurning = false;
  };

  private armAll(): boolean {
    let areArmed = true;
    for (const one of this.all) if ((one.isWaiting || one.isListening) && !one.arm()) areArmed = false;
    return areArmed;
  }
}
