/** The charts of a sweep: throughput against workers beside the ideal line, and scaling efficiency. Pure. */
import path from 'node:path';
import type { LineChart, Point } from '../../src/bench/plots';
import type { Asked, Cell } from './plan';
import type { Estimate } from './statistics';
import type { CellSummary, Summary } from './summary';

/** From this ratio of the largest to the smallest worker count on, both axes are logarithmic. */
const LOG_FROM = 16;

export interface Charts {
  readonly throughput: LineChart;
  /** undefined: nothing has run at the smallest worker count. */
  readonly efficiency?: LineChart;
}

/** @returns undefined: there is nothing to draw */
export function chartsOf(asked: Asked, summary: Summary, theme: 'light' | 'dark'): Charts | undefined {
  const measured = summary.cells.filter(({ throughput }) => throughput !== undefined);
  if (measured.length === 0) return undefined;
  const { workers, command, repeats } = asked;
  const isLog = Math.max(...workers) / Math.min(...workers) >= LOG_FROM && measured.every(({ throughput }) => throughput!.mean > 0);
  const scale = isLog ? 'log' : 'linear';
  const x = { title: 'workers', scale, ticks: workers, format: 'd', ...(isLog ? {} : { min: 0 }) } as const;
  const metric = summary.metric!;
  const interval = repeats > 1 ? `mean of up to ${repeats} runs, bars: 95 % confidence` : 'one run each';
  const subtitle = `${path.basename(command[0]!)}, ${interval}`;
  const seriesOf = (value: (one: CellSummary) => Estimate | undefined) =>
    groups(measured).map(({ facet, strategy, cells }) => ({
      name: strategy,
      facet,
      points: cells.flatMap((one): Point[] => pointOf(one.cell.workers, value(one))),
    }));
  const efficiencies = seriesOf(({ efficiency }) => efficiency);
  const hasEfficiency = efficiencies.some(({ points }) => points.length > 0);
  const ends = [Math.min(...workers), Math.max(...workers)];
  const facets = [...new Set(groups(measured).map(({ facet }) => facet))];
  return {
    throughput: {
      title: `Throughput: ${metric}`,
      subtitle,
      x,
      y: isLog ? { title: metric, scale } : { title: metric, min: least(seriesOf(({ throughput }) => throughput)) },
      series: seriesOf(({ throughput }) => throughput),
      ideal: facets.flatMap((facet) => {
        const first = measured.find((one) => facetOf(one.cell) === facet && one.cell.workers === summary.base);
        return first ? [{ facet, points: ends.map((count) => ({ x: count, y: (first.throughput!.mean * count) / summary.base })) }] : [];
      }),
      idealName: 'ideal',
      theme,
    },
    efficiency: hasEfficiency
      ? {
          title: 'Scaling efficiency',
          subtitle: `${metric} per worker, relative to ${summary.base} worker${summary.base === 1 ? '' : 's'} of the same strategy`,
          x,
          y: { title: 'efficiency', format: '.0%', min: least(efficiencies), ...(isTame(efficiencies) ? { max: 1.1 } : {}) },
          series: efficiencies,
          ideal: facets.map((facet) => ({ facet, points: ends.map((count) => ({ x: count, y: 1 })) })),
          idealName: 'ideal',
          theme,
        }
      : undefined,
  };
}

const least = (series: ReadonlyArray<{ points: readonly Point[] }>): number =>
  Math.min(0, ...series.flatMap(({ points }) => points.map(({ y, low = y }) => low)));

const isTame = (series: ReadonlyArray<{ points: readonly Point[] }>): boolean =>
  series.every(({ points }) => points.every(({ y, high = y }) => high <= 1.1));

function pointOf(x: number, estimate: Estimate | undefined): Point[] {
  if (!estimate) return [];
  const { mean, halfWidth } = estimate;
  return [halfWidth === undefined ? { x, y: mean } : { x, y: mean, low: mean - halfWidth, high: mean + halfWidth }];
}

/** `batch-size 16`; undefined: there is one plot. */
const facetOf = ({ values }: Cell): string | undefined =>
  Object.keys(values).length === 0
    ? undefined
    : Object.entries(values)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ');

/** The lines: cells of one strategy and the same values, in the order of worker counts. */
function groups(cells: readonly CellSummary[]): Array<{ facet?: string; strategy: string; cells: CellSummary[] }> {
  const byKey = new Map<string, { facet?: string; strategy: string; cells: CellSummary[] }>();
  for (const one of cells) {
    const [facet, strategy] = [facetOf(one.cell), one.cell.strategy];
    const key = `${facet}\n${strategy}`;
    const group = byKey.get(key) ?? { facet, strategy, cells: [] };
    group.cells.push(one);
    byKey.set(key, group);
  }
  return [...byKey.values()];
}
