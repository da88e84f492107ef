/** Writes what a sweep has found: sweep.json with its summary, the plots, the report. tsrun's process. The plots' packages are loaded here, when the runs are over. */
import { lineChart, toPng } from '../../src/bench/plots';
import { htmlReport } from '../../src/bench/report';
import { chartsOf } from './figures';
import { type DrawnFigure, pageOf } from './page';
import type { SweepFile } from './records';
import type { SweepFolder } from './store';
import { summaryOf } from './summary';
import { tableOf, textOf } from './table';

/** @param metric the one that was asked for @returns the file as it was written, and the table for the terminal */
export async function writeResults(
  store: SweepFolder,
  file: SweepFile,
  metric: string | undefined,
  warnings: readonly string[],
): Promise<{ file: SweepFile; text: string }> {
  const summary = summaryOf(file.asked, file.runs, metric);
  const whole = { ...file, summary };
  store.save(whole);
  const [light, dark] = [chartsOf(file.asked, summary, 'light'), chartsOf(file.asked, summary, 'dark')];
  const figures: DrawnFigure[] = [];
  for (const name of ['throughput', 'efficiency'] as const) {
    const [day, night] = [light?.[name], dark?.[name]];
    if (!day || !night) continue;
    const figure = {
      name,
      light: await lineChart(day),
      dark: await lineChart(night),
      isWide: new Set(day.series.map(({ facet }) => facet)).size > 1,
    };
    store.write(`${name}.svg`, figure.light);
    store.write(`${name}.png`, await toPng(figure.light));
    figures.push(figure);
  }
  const open = summary.cells.reduce((sum, cell) => sum + cell.open, 0);
  const unfinished = open > 0 ? [`This sweep is not finished: ${open} runs are still to be done.`] : [];
  const table = tableOf(file.asked, summary);
  store.write('report.html', htmlReport(pageOf(whole, summary, table, figures, [...unfinished, ...warnings])));
  return { file: whole, text: textOf(table) };
}
