/**
 * Where the time of a training step goes. Pure.
 *
 * Communication is hidden while the main thread computes, and exposed while it waits for it: when backpropagation is over and gradients are still under way.
 */

/** Times in µs of one clock. */
export interface Step {
  readonly begunUs: number;
  /** Backpropagation was over. */
  readonly computedUs: number;
  /** The last result was here. */
  readonly reducedUs: number;
  /** The wrapped optimizer had applied it. */
  readonly appliedUs: number;
  /** When each bucket was under way. */
  readonly buckets: ReadonlyArray<{ readonly fromUs: number; readonly toUs: number }>;
}

/** In ms. `compute` + `exposed` is the step. */
export interface StepTimes {
  readonly computeMs: number;
  readonly exposedMs: number;
  readonly hiddenMs: number;
}

export function stepTimes({ begunUs, computedUs, reducedUs, appliedUs, buckets }: Step): StepTimes {
  const end = computedUs - begunUs;
  // What is under way at the same time counts once.
  const spans = buckets
    .map(({ fromUs, toUs }): [number, number] => [fromUs - begunUs, Math.min(end, toUs - begunUs)])
    .sort(([a], [b]) => a - b);
  let hidden = 0;
  let covered = 0;
  for (const [from, to] of spans) {
    hidden += Math.max(0, to - Math.max(from, covered));
    covered = Math.max(covered, to);
  }
  const exposed = reducedUs - computedUs;
  return { computeMs: (appliedUs - begunUs - exposed) / 1000, exposedMs: exposed / 1000, hiddenMs: hidden / 1000 };
}

export const stepLine = (step: number, { computeMs, exposedMs, hiddenMs }: StepTimes): string =>
  `step ${step}: compute ${computeMs.toFixed(1)} ms, communication ${exposedMs.toFixed(1)} ms exposed, ${hiddenMs.toFixed(1)} ms hidden`;
