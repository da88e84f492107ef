/** The lines that `tsrun bench` prints: nccl-tests' columns for each form, with p50, p99 and the bytes copied. Pure. */
import type { CollectiveArgs } from './collective_args';
import { figuresOf, mean } from './collective_figures';
import type { Row } from './measure';

interface Column {
  readonly name: string;
  readonly unit: string;
  readonly width: number;
}
const column = (name: string, unit: string, width: number): Column => ({ name, unit, width });
const shared = [column('size', '(B)', 12), column('count', '(elements)', 12), column('type', '', 9), column('redop', '', 9)];
const own = [
  column('time', '(us)', 11),
  column('p50', '(us)', 11),
  column('p99', '(us)', 11),
  column('algbw', '(GB/s)', 8),
  column('busbw', '(GB/s)', 8),
  column('#wrong', '', 8),
  column('copied', '(B/B)', 8),
];
/** With --tls. */
const compared = [column('plain', '(us)', 11), column('ratio', '', 8)];

const widthOf = (columns: readonly Column[]): number => columns.reduce((sum, { width }) => sum + width, 0);
const line = (columns: readonly Column[], cells: readonly (string | number)[]): string =>
  columns.map(({ width }, i) => String(cells[i]).padStart(width)).join('');

/** Three lines. */
export function headLines(forms: readonly string[], isCompared: boolean): string[] {
  const each = isCompared ? [...own, ...compared] : own;
  const all = [...shared, ...forms.flatMap(() => each)];
  const marked = (text: string): string => `#${text.slice(1)}`;
  return [
    marked(`${' '.repeat(widthOf(shared))}${forms.map((name) => name.padStart(widthOf(each))).join('')}`),
    marked(
      line(
        all,
        all.map(({ name }) => name),
      ),
    ),
    marked(
      line(
        all,
        all.map(({ unit }) => unit),
      ),
    ),
  ];
}

/** All forms of one size. */
export function rowLine(rows: readonly Row[], { collective, dtype, op }: CollectiveArgs, ranks: number): string {
  const [{ bytes, count }] = rows as [Row];
  const left = line(shared, [bytes, count, bytes === 0 ? '-' : dtype, op ?? 'none']);
  return left + rows.map((row) => cellsOf(row, collective, ranks)).join('');
}

function cellsOf({ bytes, samplesUs, plainUs, wrong, copied }: Row, collective: CollectiveArgs['collective'], ranks: number): string {
  const { meanUs, p50Us, p99Us, algbw, busbw } = figuresOf(samplesUs, bytes, collective, ranks);
  const rates = [algbw, busbw].map((rate) => rate.toFixed(2));
  const cells = line(own, [meanUs.toFixed(1), p50Us.toFixed(1), p99Us.toFixed(1), ...rates, wrong, copied.toFixed(2)]);
  return plainUs ? cells + line(compared, [mean(plainUs).toFixed(1), (meanUs / mean(plainUs)).toFixed(2)]) : cells;
}
