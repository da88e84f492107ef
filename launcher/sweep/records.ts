/**
 * What ranks have reported, as the numbers of one run; and what sweep.json holds. Pure.
 *
 * Of several records of a rank the last number of each name counts (all are kept). What one rank reports is the job's: rank 0 reports what is true of the whole job. Where several ranks report a
 * number of the same name, rates (names that end in PerSec, PerSecond, _per_sec, _per_second or /s) are added up, everything else is averaged.
 */
import type { Asked, Cell, Done } from './plan';

export type Value = number | string;

export interface RankRecord {
  readonly rank: number;
  readonly metrics: Readonly<Record<string, Value>>;
}

export interface RunRecord extends Done {
  readonly cell: Cell;
  readonly repeat: number;
  readonly isFailed: boolean;
  readonly exitCode: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string;
  /** From the start of tsrun to its end. */
  readonly seconds: number;
  /** File with all output, in the folder of the sweep. */
  readonly log: string;
  readonly reports: readonly RankRecord[];
  /** Of the whole job, by name. */
  readonly numbers: Readonly<Record<string, number>>;
  /** Why it has failed, in one sentence. */
  readonly cause?: string;
  /** What tsrun said of the end. */
  readonly details?: readonly string[];
}

/** One process of the sweep, from its start to its end. */
export interface Session {
  readonly startedAt: string;
  /** Of the last run. */
  readonly endedAt?: string;
  readonly commandLine: string;
  readonly cwd: string;
  readonly machine: Readonly<Record<string, Value>>;
}

/** sweep.json. */
export interface SweepFile {
  readonly format: 'khorovod sweep 1';
  readonly asked: Asked;
  readonly sessions: readonly Session[];
  readonly runs: readonly RunRecord[];
  /** Of a kind of sweep of its own: what its results need besides the runs. */
  readonly facts?: unknown;
  /** What figures and tables show; made from the runs. */
  readonly summary?: unknown;
}

const isRate = (name: string): boolean => /(PerSec(ond)?|_per_sec(ond)?|\/s)$/.test(name);

/** @returns undefined: it is no record */
export function parseReport(rank: number, json: string): RankRecord | undefined {
  try {
    const metrics: unknown = JSON.parse(json);
    return typeof metrics === 'object' && metrics !== null ? { rank, metrics: metrics as Record<string, Value> } : undefined;
  } catch {
    return undefined;
  }
}

/** In the order in which names came first. */
export function numbersOf(reports: readonly RankRecord[]): Record<string, number> {
  const byName = new Map<string, Map<number, number>>();
  for (const { rank, metrics } of reports) {
    for (const [name, value] of Object.entries(metrics)) {
      if (typeof value !== 'number') continue;
      byName.set(name, (byName.get(name) ?? new Map()).set(rank, value));
    }
  }
  return Object.fromEntries(
    [...byName].map(([name, ofRanks]) => {
      const sum = [...ofRanks.values()].reduce((total, value) => total + value, 0);
      return [name, isRate(name) ? sum : sum / ofRanks.size];
    }),
  );
}

/** Texts that ranks reported, such as the backend: each with all its values. */
export function textsOf(runs: readonly RunRecord[]): Record<string, string[]> {
  const byName = new Map<string, Set<string>>();
  for (const { metrics } of runs.flatMap(({ reports }) => reports))
    for (const [name, value] of Object.entries(metrics))
      if (typeof value === 'string') byName.set(name, (byName.get(name) ?? new Set()).add(value));
  return Object.fromEntries([...byName].map(([name, values]) => [name, [...values]]));
}

/** The number that is the throughput: the one that was asked for, imagesPerSec, or the first that was reported; undefined: nothing was. */
export function chosenMetric(asked: string | undefined, runs: readonly RunRecord[]): string | undefined {
  if (asked !== undefined) return asked;
  const names = runs.flatMap(({ numbers }) => Object.keys(numbers));
  return names.includes('imagesPerSec') ? 'imagesPerSec' : names[0];
}
