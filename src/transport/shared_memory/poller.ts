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
/** What is asked for is looked for so long before the event loop turns, which takes some microseconds itself; and the loop turns as often as that, whatever comes. */
const LINGER_MS = 0.02;
const MOST_BETWEEN_TURNS_MS = 0.2;
/** Looks within a turn of the event loop. */
const LOOKS = 20;

/** On this host. */
export interface Crowd {
  readonly ranks: number;
  readonly cores: number;
}

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
  private isLingering = false;
  private newsMs = 0;
  private turnMs = 0;
  private isExpecting = false;

  private readonly yieldCore?: () => void;
  private readonly lingers: boolean;

  /** @param yieldCore lets another thread have this one's core */
  constructor(yieldCore: () => void, { ranks, cores }: Crowd) {
    // Each rank computes in another thread meanwhile.
    if (cores < 2 * ranks) this.yieldCore = yieldCore;
    this.lingers = cores >= ranks;
  }

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
    if (!this.isTurning) {
      this.isTurning = true;
      this.turnMs = this.newsMs;
      setImmediate(this.turn);
    }
    if (!this.lingers || this.isLingering || this.newsMs - this.turnMs > MOST_BETWEEN_TURNS_MS) return;
    this.isLingering = true;
    queueMicrotask(this.linger);
  }

  /** Where a neighbour answers within a few microseconds, a turn of the event loop would take longer than the answer. */
  private readonly linger = (): void => {
    this.isLingering = false;
    const untilMs = this.newsMs + LINGER_MS;
    do {
      let isUrgent = false;
      let isNews = false;
      for (const one of this.all) {
        if (!one.isWaiting) continue;
        isUrgent = true;
        isNews = one.poll() || isNews;
      }
      if (isNews || !isUrgent) return;
    } while (performance.now() < untilMs);
  };

  private readonly turn = (): void => {
    this.turnMs = performance.now();
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
