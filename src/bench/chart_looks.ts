/** Colours, markers, dashes and type of charts, in both themes. Pure. The colours are Okabe and Ito's, made for all kinds of colour vision. */
import type { LineChart } from './chart_spec';

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, "DejaVu Sans", sans-serif';
export const themes = {
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
interface Look {
  name: string;
  colour: string;
  shape: string;
  dash: readonly number[];
}

/** In the legend's order: series, companions, the ideal line. */
export function looksOf({ series, theme = 'light' }: LineChart, idealName: string | undefined): Look[] {
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

/** Vega-Lite's defaults in that theme. */
export function configOf({ ink, soft, grid }: (typeof themes)['light' | 'dark']): Record<string, unknown> {
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
