/**
 * From a chart's numbers to its Vega-Lite specification: what it looks like. Pure.
 *
 * Series differ by colour, marker and dash at once, so that they are told apart without colours too; the colours are Okabe and Ito's, made for all kinds of colour vision. A series has the same
 * looks in every facet. Where a chart has companions (a simulated curve beside what was measured), they alone are dashed.
 */
import { UsageError } from '../errors';

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

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, "DejaVu Sans", sans-serif';
const themes = {
  light: {
    colours: ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#444444', '#8C6D31'],
    ink: '#1d2433',
    soft: '#5b6475',
    grid: '#e4e7ec',
    paper: '#ffffff',
  },
  dark: {
    colours: ['#4FB3F0', '#FF8A3D', '#2FD0A2', '#E79CC6', '#9BDCFF', '#FFC24D', '#C8CCD4', '#D9BC7A'],
    ink: '#e8ebf1',
    soft: '#a3abba',
    grid: '#313846',
    paper: '#171b23',
  },
} as const;
const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'triangle-down', 'cross', 'triangle-right', 'triangle-left'];
const DASHES = [
  [1, 0],
  [9, 3],
  [2, 2],
  [9, 3, 2, 3],
  [5, 2],
  [14, 4],
  [4, 2, 1, 2],
  [12, 2, 2, 2],
];
/** A line without a marker. */
const NO_MARKER = 'stroke';
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

interface Look {
  name: string;
  colour: string;
  shape: string;
  dash: readonly number[];
}

function looksOf({ series, theme = 'light' }: LineChart, idealName: string | undefined): Look[] {
  const { colours, soft } = themes[theme];
  const mains = [...new Set(series.filter(({ companionOf }) => companionOf === undefined).map(({ name }) => name))];
  const companions = new Map(series.flatMap(({ name, companionOf }) => (companionOf === undefined ? [] : [[name, companionOf] as const])));
  const colourOf = (name: string): string => colours[Math.max(0, mains.indexOf(name)) % colours.length]!;
  return [
    ...mains.map((name, i) => ({
      name,
      colour: colourOf(name),
      shape: SHAPES[i % SHAPES.length]!,
      dash: companions.size > 0 ? DASHES[0]! : DASHES[i % DASHES.length]!,
    })),
    ...[...companions].map(([name, of]) => ({ name, colour: colourOf(of), shape: NO_MARKER, dash: [5, 3] })),
    ...(idealName === undefined ? [] : [{ name: idealName, colour: soft, shape: NO_MARKER, dash: [2, 3] }]),
  ];
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

function configOf({ ink, soft, grid }: (typeof themes)['light' | 'dark']): Record<string, unknown> {
  return {
    font: FONT,
    view: { stroke: null },
    title: {
      anchor: 'start',
      color: ink,
      fontSize: 17,
      fontWeight: 600,
      subtitleColor: soft,
      subtitleFontSize: 12.5,
      subtitlePadding: 6,
      offset: 16,
    },
    axis: {
      labelColor: soft,
      titleColor: ink,
      labelFontSize: 12,
      titleFontSize: 12.5,
      titleFontWeight: 500,
      titlePadding: 10,
      gridColor: grid,
      domainColor: soft,
      tickColor: soft,
      labelPadding: 5,
      labelFlush: false,
    },
    header: { labelColor: ink, labelFontSize: 13.5, labelFontWeight: 600, labelAnchor: 'start', labelPadding: 8 },
    legend: {
      orient: 'bottom',
      labelColor: ink,
      labelFontSize: 12.5,
      labelLimit: 320,
      columns: 4,
      columnPadding: 22,
      rowPadding: 6,
      offset: 14,
    },
  };
}
