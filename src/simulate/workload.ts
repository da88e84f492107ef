/**
 * What the ranks do in a step, and when: the same for all strategies. Pure; seconds.
 */
export interface TimedBucket {
  /** Of float32, flags included. */
  readonly elems: number;
  /** From the beginning of the step until it leaves. */
  readonly readyAt: number;
}

/** Every rank's. */
export interface Workload {
  readonly buckets: readonly TimedBucket[];
  /** From the beginning of the step until backpropagation is over. */
  readonly computeSeconds: number;
  /** After the last result. */
  readonly updateSeconds: number;
  readonly steps: number;
}

export interface StepTimes {
  /** Of one step of a long training. */
  readonly stepSeconds: number;
  /** When the last rank has ended each. */
  readonly ends: readonly number[];
  readonly events: number;
  /** The ranks of one host stood for all. */
  readonly isOneHost: boolean;
}

/** Without the first, which begins with an idle network, if there are more. @param ends of each step */
export function stepSeconds(ends: readonly number[]): number {
  const last = ends.at(-1)!;
  return ends.length === 1 ? last : (last - ends[0]!) / (ends.length - 1);
}
