/** Random numbers of data, the same everywhere for the same seed. Pure. */

/** Any number of integers as one of 32 bits, well mixed (MurmurHash3's finalizer after each). */
export function mixed(...parts: readonly number[]): number {
  let hash = 0x9e3779b9;
  for (const part of parts) {
    hash = (Math.imul(hash ^ part, 0x85ebca6b) + 0x6d2b79f5) | 0;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

/** Marsaglia's xorshift32 (2003, shifts 13, 17, 5). */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0 || 1;
  }

  /** 0 … 2³² − 1 (never 0). */
  word(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state;
  }
  /** 0 … below − 1. */
  below(below: number): number {
    return Math.floor((this.word() / 2 ** 32) * below);
  }
}

/** 0 … count − 1 in a random order. */
export function permutation(count: number, random: Random): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
