/** A sweep's result as rows of text, for the terminal and the report. Pure. */
import type { Asked } from './plan';
import type { Estimate } from './statistics';
import type { CellSummary, Summary } from './summary';

export interface TextTable {
  readonly heads: readonly string[];
  readonly rows: ReadonlyArray<readonly string[]>;
  /** Columns of numbers. */
  readonly numeric: readonly number[];
  /** Rows with failed runs. */
  readonly marked: readonly number[];
}

const NONE = '–';

/** Four significant digits, whole numbers from 1000 on. */
export function shown(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-3) return value.toExponential(3);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return value.toFixed(digits);
}

/** As many digits as the mean has. */
export function withInterval(estimate: Estimate | undefined): string {
  if (!estimate) return NONE;
  const text = shown(estimate.mean);
  if (estimate.halfWidth === undefined) return text;
  const digits = text.includes('e') ? -1 : (text.split('.')[1]?.length ?? 0);
  return `${text} ± ${digits < 0 ? estimate.halfWidth.toExponential(1) : estimate.halfWidth.toFixed(digits)}`;
}

export function percent(estimate: Estimate | undefined): string {
  if (!estimate) return NONE;
  const one = (value: number): string => (value * 100).toFixed(1);
  return estimate.halfWidth === undefined ? `${one(estimate.mean)} %` : `${one(estimate.mean)} ± ${one(estimate.halfWidth)} %`;
}

export function tableOf({ vary }: Asked, { metric, cells }: Summary): TextTable {
  const names = vary.map(({ name }) => name);
  const heads = [...names, 'strategy', 'workers', 'runs', `${metric ?? 'throughput'}, 95 %`, 'sd', 'least', 'most', 'efficiency'];
  const first = names.length + 1;
  return {
    heads,
    rows: cells.map((one) => [
      ...names.map((name) => one.cell.values[name]!),
      one.cell.strategy,
      String(one.cell.workers),
      ...figuresOf(one),
    ]),
    numeric: heads.map((_, i) => i).filter((i) => i >= first),
    marked: cells.flatMap(({ failed }, i) => (failed > 0 ? [i] : [])),
  };
}

function figuresOf({ samples, failed, open, throughput, efficiency }: CellSummary): string[] {
  const runs = [String(samples.length), failed > 0 && `${failed} failed`, open > 0 && `${open} open`]
    .filter((part) => part !== false)
    .join(', ');
  const of = (value: number | undefined): string => (value === undefined ? NONE : shown(value));
  const ends = samples.length === 0 ? [NONE, NONE] : [shown(Math.min(...samples)), shown(Math.max(...samples))];
  return [runs, withInterval(throughput), of(throughput?.sd), ...ends, percent(efficiency)];
}

/** Columns under one another. */
export function textOf({ heads, rows, numeric }: TextTable): string {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((cells) => cells[i]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((text, i) => (numeric.includes(i) ? text.padStart(widths[i]!) : text.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(heads), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}
