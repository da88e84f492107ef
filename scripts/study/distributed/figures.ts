/** The charts of the distributed study: images per second against workers beside the ideal line, and efficiency; networks side by side, strategies as lines. Pure. */

import path from 'node:path';
import type { Asked } from '../../../launcher/sweep/plan';
import type { Estimate } from '../../../launcher/sweep/statistics';
import { findNetwork, type NetworkName } from '../../../src/bench/models/networks';
import type { LineChart, Point } from '../../../src/bench/plots';
import type { Facts, Row, StudySummary } from './summary';

/** Said wherever something is shown; undefined: computation is real. */
export function emulationOf({ emulated, slowDown }: Facts): string | undefined {
  if (emulated === undefined) return undefined;
  const name = emulated === 'k80' ? 'K80' : path.basename(emulated, '.json');
  return `computation (${name}${slowDown === 1 ? '' : `, slowed ${slowDown}×`})`;
}

const isDrawn = ({ strategy, state }: Row): boolean => state === 'measured' && strategy !== 'no-computation';

export function studyCharts(asked: Asked, { rows }: StudySummary, facts: Facts): { throughput?: LineChart; efficiency?: LineChart } {
  const drawn = rows.filter(isDrawn);
  if (drawn.length === 0) return {};
  const emulation = emulationOf(facts);
  const title = (text: string): string => (emulation === undefined ? text : `${text}: emulated ${emulation}`);
  const interval = asked.repeats > 1 ? `mean of up to ${asked.repeats} runs` : 'one run';
  const subtitle = `batch ${facts.batchSize} a worker; ${interval}, bars: 95 % confidence of the mean ${asked.repeats > 1 ? 'of runs' : 'of steps'}`;
  const ends = [Math.min(...asked.workers), Math.max(...asked.workers)];
  const networks = [...new Set(drawn.map(({ network }) => network))];
  const x = { title: 'workers', ticks: asked.workers, format: 'd', min: 0 };
  const common = { subtitle, x, idealName: 'ideal', ownY: true, ...(emulation === undefined ? {} : { emulated: emulation }) };
  const seriesOf = (value: (row: Row) => Estimate | undefined): LineChart['series'] =>
    networks.flatMap((network) =>
      asked.strategies
        .map((strategy) => ({
          name: strategy,
          facet: titleOf(network),
          points: drawn
            .filter((row) => row.network === network && row.strategy === strategy)
            .flatMap((row) => pointOf(row.workers, value(row))),
        }))
        .filter(({ points }) => points.length > 0),
    );
  const efficiencies = seriesOf(({ efficiency }) => efficiency);
  return {
    throughput: {
      ...common,
      title: title('Images per second'),
      y: { title: 'images/s', min: 0 },
      series: seriesOf(({ imagesPerSec }) => imagesPerSec),
      ideal: networks.flatMap((network) => {
        const base = drawn.find((row) => row.network === network && row.strategy === 'no-communication');
        return base
          ? [{ facet: titleOf(network), points: ends.map((count) => ({ x: count, y: (base.imagesPerSec!.mean * count) / base.workers })) }]
          : [];
      }),
    },
    efficiency:
      efficiencies.length === 0
        ? undefined
        : {
            ...common,
            title: title('Scaling efficiency'),
            subtitle: `images/s of a worker, relative to one that trains alone; ${subtitle}`,
            ownY: false,
            y: { title: 'efficiency', format: '.0%', min: 0 },
            series: efficiencies,
            ideal: networks.map((network) => ({ facet: titleOf(network), points: ends.map((count) => ({ x: count, y: 1 })) })),
          },
  };
}

const titleOf = (network: NetworkName): string => findNetwork(network).title;

function pointOf(x: number, found: Estimate | undefined): Point[] {
  if (!found) return [];
  const { mean, halfWidth } = found;
  return [halfWidth === undefined ? { x, y: mean } : { x, y: mean, low: Math.max(0, mean - halfWidth), high: mean + halfWidth }];
}
