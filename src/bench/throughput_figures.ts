/** Figures of a training benchmark from the times of its steps. Pure. */
import { BugError } from '../errors';

export interface ThroughputFigures {
  /** Of all ranks together, each by the time of all its steps. */
  imagesPerSec: number;
  /** Standard deviation over the steps: of step i, all ranks together. */
  imagesPerSecSd: number;
  /** Of all steps of all ranks, in ms. */
  msPerStepMedian: number;
  msPerStepMean: number;
  msPerStepSd: number;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
/** Of a sample; 0 of one value. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}

/** @param stepMs of each rank, equally many, in ms @param batchSize images a rank takes at a step */
export function throughputFigures(stepMs: ReadonlyArray<readonly number[]>, batchSize: number): ThroughputFigures {
  const steps = stepMs[0]?.length ?? 0;
  if (steps === 0 || stepMs.some(({ length }) => length !== steps)) throw new BugError('Ranks have different numbers of steps, or none.');
  const all = stepMs.flat();
  const perSec = (ms: number): number => (batchSize * 1000) / ms;
  const ofStep = (i: number): number => stepMs.reduce((sum, times) => sum + perSec(times[i]!), 0);
  return {
    imagesPerSec: stepMs.reduce((sum, times) => sum + perSec(mean(times)), 0),
    imagesPerSecSd: standardDeviation(Array.from({ length: steps }, (_, i) => ofStep(i))),
    msPerStepMedian: median(all),
    msPerStepMean: mean(all),
    msPerStepSd: standardDeviation(all),
  };
}
