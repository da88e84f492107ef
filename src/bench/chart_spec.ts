/**
 * From a chart's numbers to its Vega-Lite specification: what it looks like. Pure.
 *
 * Series differ by colour, marker and dash at once, so that they are told apart without colours too; the colours are Okabe and Ito's, made for all kinds of colour vision. A series has the same
 * looks in every facet. Where a chart has companions (a simulated curve beside what was measured), they alone are dashed.
 */
import { UsageError } from '../errors';
import { configOf, looksOf, themes } from './chart_looks';

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Both ends of the confidence interval, in units of y. */
  readonly low?: number;
  readonly high?: number;
}

export interface Series {
  /** Shown in the legend; series of one name in several facets are one entry. */
  readonly name: string;
  readonly points: readonly Point[];
  /** In which of the small multiples it stands. */
  readonly facet?: string;
  /** The name of another series: drawn in that one's colour, dashed, without markers. */
  readonly companionOf?: string;
}

export interface Axis {
  readonly title: string;
  readonly scale?: 'linear' | 'log';
  /** Where numbers stand; otherwise chosen. */
  readonly ticks?: readonly number[];
  /** In d3-format's language: '.0%', ',.0f', '~s'. */
  readonly format?: string;
  readonly min?: number;
  readonly max?: number;
}

export interface LineChart {
  readonly title: string;
  readonly subtitle?: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** Grey and dotted beneath the series, for each facet that has one. */
  readonly ideal?: ReadonlyArray<{ readonly points: readonly Point[]; readonly facet?: string }>;
  readonly idealName?: string;
  /** Facets in a row (3). */
  readonly columns?: number;
  /** Each facet has its own y axis. */
  readonly ownY?: boolean;
  /** What was emulated, if anything: written across the plot and under the title. */
  readonly emulated?: string;
  readonly theme?: 'light' | 'dark';
  /** Pixels of one plot without axes and titles (560 × 340; facets 300 × 220). */
  readonly width?: number;
  readonly height?: number;
}

const IDEAL = 'ideal';
/** Longer curves get so many markers, and a band instead of bars. */
const MARKERS = 10;

interface Row {
  series: string;
  facet: string;
  kind: 'ideal' | 'line' | 'companion';
  x: number;
  y: number;
  low?: number;
  high?: number;
  isMarked: boolean;
  isLong: boolean;
}

/** @throws UsageError nothing to draw, a number that is not finite, or one that is not above 0 on a logarithmic axis */
export function chartSpec(chart: LineChart): Record<string, unknown> {
  const { series, ideal = [], idealName = IDEAL } = chart;
  if (!series.some(({ points }) => points.length > 0)) throw new UsageError(`The chart '${chart.title}' has no point to draw.`);
  const rows = [
    ...series.flatMap((one, i) => rowsOf(one, i, chart)),
    ...ideal.flatMap(({ points, facet = '' }) => points.map((point) => plainRow(point, { series: idealName, facet, kind: 'ideal' }))),
  ];
  for (const row of rows) check(row, chart);
  const colours = themes[chart.theme ?? 'light'];
  const facets = [...new Set(series.map(({ facet = '' }) => facet))];
  const isFaceted = facets.length > 1 || facets[0] !== '';
  const size = { width: chart.width ?? (isFaceted ? 300 : 560), height: chart.height ?? (isFaceted ? 220 : 340) };
  const layers = layersOf(chart, ideal.length > 0 ? idealName : undefined, size);
  const { title, subtitle, emulated } = chart;
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: colours.paper,
    padding: 16,
    title: { text: title, subtitle: [subtitle, emulated && `Emulated: ${emulated}`].filter((line) => line !== undefined && line !== '') },
    data: { values: rows },
    config: configOf(colours),
    ...(isFaceted
      ? {
          facet: { field: 'facet', type: 'nominal', sort: facets, title: null },
          columns: Math.min(chart.columns ?? 3, facets.length),
          spacing: 28,
          spec: { ...size, layer: layers },
          resolve: { scale: { y: chart.ownY ? 'independent' : 'shared' }, axis: { x: 'independent', y: 'independent' } },
        }
      : { ...size, layer: layers }),
  };
}

// ───── rows ─────

const plainRow = ({ x, y, low, high }: Point, rest: Pick<Row, 'series' | 'facet' | 'kind'>): Row => ({
  ...rest,
  x,
  y,
  low,
  high,
  isMarked: false,
  isLong: false,
});

function rowsOf({ name, points, facet = '', companionOf }: Series, index: number, { y: { scale } }: LineChart): Row[] {
  const kind = companionOf === undefined ? 'line' : 'companion';
  const isLong = points.length > 2 * MARKERS;
  const every = isLong ? Math.ceil(points.length / MARKERS) : 1;
  return points.map((point, i) => ({
    ...plainRow(point, { series: name, facet, kind }),
    // A logarithmic axis has no place for an end at or below 0: that bar ends a decade below its point.
    low: scale === 'log' && point.low !== undefined ? Math.max(point.low, point.y / 10) : point.low,
    // Markers of several long curves do not all stand above one another.
    isMarked: kind === 'line' && (i % every === (index * 3) % every || i === points.length - 1),
    isLong,
  }));
}

function check({ series, x, y, low = y, high = y }: Row, { title, x: xAxis, y: yAxis }: LineChart): void {
  for (const [what, value, scale] of [
    ['x', x, xAxis.scale],
    ['y', y, yAxis.scale],
    ['low', low, yAxis.scale],
    ['high', high, yAxis.scale],
  ] as const) {
    const where = `'${series}' of the chart '${title}' has a point with ${what} ${value}`;
    if (!Number.isFinite(value)) throw new UsageError(`${where}; it must be a finite number.`);
    if (scale === 'log' && value <= 0)
      throw new UsageError(`${where}; a logarithmic axis has numbers above 0 only. Choose scale 'linear'.`);
  }
}

// ───── looks ─────

interface Size {
  width: number;
  height: number;
}

/** The dash of a legend's symbols, as Vega's expression: what has a marker gets it with a whole outline. Vega-Lite would dash that as the line. */
export function legendDash(chart: LineChart): string {
  const companions = chart.series.filter(({ companionOf }) => companionOf !== undefined).map(({ name }) => name);
  return `indexof(${JSON.stringify([...companions, chart.idealName ?? IDEAL])}, datum.value) < 0 ? [1, 0] : [3, 3]`;
}

function layersOf(chart: LineChart, idealName: string | undefined, size: Size): unknown[] {
  const looks = looksOf(chart, idealName);
  const domain = looks.map(({ name }) => name);
  const legend = { title: null, symbolSize: 150, symbolStrokeWidth: 2, symbolOpacity: 1 };
  const by = (range: readonly unknown[]) => ({ field: 'series', type: 'nominal', scale: { domain, range }, legend, sort: null });
  const color = by(looks.map(({ colour }) => colour));
  const strokeDash = by(looks.map(({ dash }) => dash));
  const shape = by(looks.map(({ shape }) => shape));
  const x = { field: 'x', type: 'quantitative', ...positionOf(chart.x) };
  const y = { field: 'y', type: 'quantitative', ...positionOf(chart.y) };
  const range = { y: { ...y, field: 'low' }, y2: { field: 'high' } };
  const only = (filter: string) => ({ transform: [{ filter }] });
  const hasRange = 'isValid(datum.low) && isValid(datum.high)';
  return [
    ...(chart.emulated === undefined ? [] : [watermark(chart, size)]),
    { ...only("datum.kind === 'ideal'"), mark: { type: 'line', strokeWidth: 1.5 }, encoding: { x, y, color, strokeDash } },
    { ...only(`datum.isLong && ${hasRange}`), mark: { type: 'area', opacity: 0.18 }, encoding: { x, ...range, color } },
    {
      ...only(`!datum.isLong && ${hasRange}`),
      mark: { type: 'errorbar', ticks: { size: 9, thickness: 1.5 }, thickness: 1.5 },
      encoding: { x, ...range, color },
    },
    { ...only("datum.kind !== 'ideal'"), mark: { type: 'line', strokeWidth: 2 }, encoding: { x, y, color, strokeDash } },
    { ...only('datum.isMarked'), mark: { type: 'point', filled: true, size: 64, opacity: 1 }, encoding: { x, y, color, shape } },
  ];
}

function positionOf({ title, scale = 'linear', ticks, format, min, max }: Axis): Record<string, unknown> {
  const isLog = scale === 'log';
  return {
    title,
    scale: {
      type: scale,
      ...(isLog ? {} : { zero: false }),
      nice: min === undefined && max === undefined && ticks === undefined,
      domainMin: min,
      domainMax: max,
    },
    axis: { ...(ticks ? { values: ticks } : {}), ...(format === undefined ? {} : { format }) },
  };
}

function watermark({ theme = 'light' }: LineChart, { width, height }: Size): unknown {
  return {
    data: { values: [{}] },
    mark: {
      type: 'text',
      text: 'EMULATED',
      fontSize: Math.round(width / 8),
      fontWeight: 'bold',
      angle: -24,
      opacity: 0.13,
      color: themes[theme].ink,
    },
    encoding: { x: { value: width / 2 }, y: { value: height / 2 } },
  };
}
