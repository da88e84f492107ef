/** Writes what the distributed study has found: results.json, tables.md and the figures. The plots' packages are loaded here, when the runs are over. */

import type { SweepFile } from '../../../launcher/sweep/records';
import type { SweepFolder } from '../../../launcher/sweep/store';
import { lineChart, toPng } from '../../../src/bench/plots';
import { studyCharts } from './figures';
import { type Facts, studySummary } from './summary';
import { markdownOf } from './tables';

/** @returns the file as it was written, and the tables for the terminal */
export async function writeStudy(store: SweepFolder, file: SweepFile): Promise<{ file: SweepFile; text: string }> {
  const facts = file.facts as Facts;
  const summary = studySummary(file, facts);
  const { emulated, slowDown } = facts;
  const mark = emulated === undefined ? {} : { emulated, slowDown };
  const machines = file.sessions.map(({ machine }) => machine);
  const rows = summary.rows.map((row) => ({ ...mark, ...row }));
  store.write(
    'results.json',
    `${JSON.stringify({ format: 'khorovod study 1', ...mark, facts, links: summary.links, machines, rows }, null, 1)}\n`,
  );
  for (const [name, chart] of Object.entries(studyCharts(file.asked, summary, facts))) {
    if (!chart) continue;
    const svg = await lineChart(chart);
    store.write(`${name}.svg`, svg);
    store.write(`${name}.png`, await toPng(svg));
  }
  const text = markdownOf(file, summary, facts);
  store.write('tables.md', `${text}\n`);
  return { file: { ...file, summary }, text };
}
