/** The distributed study's results as Markdown, a table for each network. Pure. */

import { cellsOf } from '../../../launcher/sweep/plan';
import type { SweepFile } from '../../../launcher/sweep/records';
import { percent, shown, withInterval } from '../../../launcher/sweep/table';
import { findNetwork } from '../../../src/bench/models/networks';
import { emulationOf } from './figures';
import type { Facts, Row, StudySummary } from './summary';

const NONE = '–';
const heads = [
  'strategy',
  'workers',
  'images/s, 95 %',
  'sd of steps',
  'exposed ms a step',
  'efficiency',
  'of the control',
  'roofline, images/s',
  'of the roofline',
];

const meanOf = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
const figure = (value: number | undefined): string => (value === undefined ? NONE : shown(value));

function cellsOfRow(row: Row, slowDown: number): string[] {
  const { strategy, workers, samples, imagesPerSec, efficiency, ofControl, roofline, ofRoofline } = row;
  const of = (name: string): number | undefined => meanOf(samples.map((numbers) => numbers[name]).filter((value) => value !== undefined));
  const exposedMs = of('exposedMs');
  return [
    strategy,
    String(workers),
    withInterval(imagesPerSec),
    figure(of('imagesPerSecSd')),
    // Reported as it was waited for.
    figure(exposedMs === undefined ? undefined : exposedMs / slowDown),
    percent(efficiency),
    percent(ofControl),
    figure(roofline),
    ofRoofline === undefined ? NONE : `${(100 * ofRoofline).toFixed(1)} %`,
  ];
}

const lineOf = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** What of the communication alone shows: how long a ring takes for the gradients. */
function wireLines(rows: readonly Row[]): string[] {
  const found = rows.filter(({ strategy, state }) => strategy === 'no-computation' && state === 'measured');
  if (found.length === 0) return [];
  const times = found.map(
    ({ workers, samples }) => `${shown(meanOf(samples.map(({ msPerStepMedian }) => msPerStepMedian!))!)} ms on ${workers}`,
  );
  return ['', `A ring that computes nothing: ${times.join(', ')} workers.`];
}

export function markdownOf({ asked, runs }: Pick<SweepFile, 'asked' | 'runs'>, { rows, links }: StudySummary, facts: Facts): string {
  const emulation = emulationOf(facts);
  const parts = asked.vary[0]!.values.flatMap((network) => {
    const own = rows.filter((row) => row.network === network);
    const measured = own.filter(({ state, strategy }) => state === 'measured' && strategy !== 'no-computation');
    const missing = own.filter(({ state, why }) => (state === 'failed' || state === 'left out') && why !== undefined && !isPlain(why));
    const link = links[network];
    return [
      `### ${findNetwork(network).title}${emulation === undefined ? '' : `, emulated ${emulation}`}`,
      ...(measured.length === 0
        ? ['Nothing was measured.']
        : [lineOf(heads), lineOf(heads.map(() => '---')), ...measured.map((row) => lineOf(cellsOfRow(row, facts.slowDown)))]),
      ...wireLines(own),
      ...(link
        ? [
            '',
            `Link of a host, one way, ${link.from}: ${shown(link.gbit)} Gbit/s${facts.slowDown === 1 ? '' : ` (${shown(link.gbit / facts.slowDown)} Gbit/s, slowed ${facts.slowDown}×)`}.`,
          ]
        : []),
      ...missing.map(
        ({ strategy, workers, state, why }, i) =>
          `${i === 0 ? '\n' : ''}- ${strategy} on ${workers} worker${workers === 1 ? '' : 's'} ${state === 'failed' ? 'failed' : 'was left out'}: ${why}`,
      ),
      '',
    ];
  });
  const all = cellsOf(asked).length - facts.leftOut.length;
  const done = rows.filter(({ state }) => state === 'measured' || state === 'failed').length;
  return [...parts, `${done} of ${all} combinations are done, ${runs.length} of ${all * asked.repeats} runs.`].join('\n');
}

/** That one worker exchanges nothing needs no line. */
const isPlain = (why: string): boolean => why.startsWith('one worker');
