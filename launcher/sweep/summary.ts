/** What a sweep has found, cell by cell: throughput and scaling efficiency, each with its interval. Pure. */
import { type Asked, type Cell, cellsOf, nameOf } from './plan';
import { chosenMetric, type RunRecord } from './records';
import { type Estimate, estimate, ratio } from './statistics';

export interface CellSummary {
  readonly cell: Cell;
  /** Runs that ended well and reported the throughput. */
  readonly samples: readonly number[];
  readonly failed: number;
  /** Still to be run. */
  readonly open: number;
  readonly throughput?: Estimate;
  /** throughput(n) / (n / base · throughput(base)); undefined: one of both is not there. */
  readonly efficiency?: Estimate;
}

export interface Summary {
  /** undefined: nothing was reported. */
  readonly metric?: string;
  /** The smallest worker count: what efficiency is measured by. */
  readonly base: number;
  readonly cells: readonly CellSummary[];
}

/** @param metric the one that was asked for */
export function summaryOf(asked: Asked, runs: readonly RunRecord[], metric?: string): Summary {
  const chosen = chosenMetric(metric, runs);
  const base = Math.min(...asked.workers);
  const ofCell = new Map<string, RunRecord[]>();
  for (const run of runs) ofCell.set(nameOf(run.cell), [...(ofCell.get(nameOf(run.cell)) ?? []), run]);
  const plain = cellsOf(asked).map((cell): CellSummary => {
    const own = ofCell.get(nameOf(cell)) ?? [];
    const samples = own.flatMap(({ isFailed, numbers }) => (isFailed || chosen === undefined ? [] : (numbers[chosen] ?? [])));
    const failed = own.filter(({ isFailed }) => isFailed).length;
    return { cell, samples, failed, open: asked.repeats - own.length, throughput: estimate(samples) };
  });
  const throughputOf = new Map(plain.map(({ cell, throughput }) => [nameOf(cell), throughput]));
  const cells = plain.map((one): CellSummary => {
    const atBase = throughputOf.get(nameOf({ ...one.cell, workers: base }));
    if (!one.throughput || !atBase) return one;
    // By itself it is 1, whatever its samples say.
    const efficiency = one.cell.workers === base ? { n: atBase.n, mean: 1 } : ratio(one.throughput, atBase, one.cell.workers / base);
    return { ...one, efficiency };
  });
  return { metric: chosen, base, cells };
}
