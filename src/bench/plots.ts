/**
 * Line charts as SVG and PNG: throughput and efficiency against workers, loss against epochs. Main thread; vega, vega-lite and resvg are loaded by the first chart.
 *
 * What a chart looks like is chart_spec.ts (pure). A chart reads nothing but what it is given: no file, no network. The same chart gives the same SVG bytes. SVG names fonts that every
 * system has some of; PNG is drawn with DejaVu Sans, which lies beside this file, so that it looks alike everywhere, on machines without fonts too. Only where a text has
 * characters that the reduced font lacks (Chinese, say) are the system's fonts looked through besides.
 */
import path from 'node:path';
import { chartSpec, type LineChart, legendDash } from './chart_spec';

export type { Axis, LineChart, Point, Series } from './chart_spec';

const FONTS = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf'].map((name) => path.join(__dirname, 'fonts', name));
/** What the fonts beside this file were reduced to: Latin, Greek, Cyrillic, punctuation and signs. */
const BEYOND_FONT = /[^\x00-\u017f\u0370-\u045f\u2010-\u22ff\u25a0-\u25cf]/;

/** @returns a whole SVG document, as large as its `viewBox` says in pixels @throws UsageError nothing to draw, a number that is not finite, or one that is not above 0 on a logarithmic axis */
export async function lineChart(chart: LineChart): Promise<string> {
  const spec = chartSpec(chart);
  const [vega, lite] = await Promise.all([import('vega'), import('vega-lite')]);
  const compiled = lite.compile(spec as never).spec;
  const dash = { symbols: { update: { strokeDash: { signal: legendDash(chart) } } } };
  const legends = (compiled.legends ?? []).map((legend) => ({ ...legend, encode: { ...legend.encode, ...dash } }));
  const view = new vega.View(vega.parse({ ...compiled, legends }), { renderer: 'none', loader: nothing });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** @param scale pixels of the picture for each of the SVG's */
export async function toPng(svg: string, scale = 2): Promise<Uint8Array> {
  const { Resvg } = await import('@resvg/resvg-js');
  const drawn = new Resvg(svg, {
    fitTo: { mode: 'zoom', value: scale },
    font: { fontFiles: FONTS, loadSystemFonts: BEYOND_FONT.test(svg), defaultFontFamily: 'DejaVu Sans', sansSerifFamily: 'DejaVu Sans' },
  });
  return drawn.render().asPng();
}

/** Charts load no data. */
const nothing = {
  load: () => Promise.reject(new Error('a chart loads nothing')),
  sanitize: () => Promise.reject(new Error('a chart has no links')),
  http: () => Promise.reject(new Error('a chart loads nothing')),
  file: () => Promise.reject(new Error('a chart loads nothing')),
} as never;
