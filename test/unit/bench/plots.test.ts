import { inflateSync } from 'node:zlib';
import t from 'tap';
import { type LineChart, lineChart, toPng } from '../../../src/bench/plots';
import { htmlReport } from '../../../src/bench/report';
import { UsageError } from '../../../src/errors';

const points = [1, 2, 4].map((x) => ({ x, y: 10 * x, low: 9 * x, high: 11 * x }));
const chart: LineChart = {
  title: 'Throughput <&>',
  x: { title: 'workers', ticks: [1, 2, 4] },
  y: { title: 'images per second', min: 0 },
  series: [
    { name: 'ring', points },
    { name: 'ps-sync', points: points.map(({ x }) => ({ x, y: 8 * x })) },
    { name: 'ring, simulated', companionOf: 'ring', points },
  ],
  ideal: [
    {
      points: [
        { x: 1, y: 10 },
        { x: 4, y: 40 },
      ],
    },
  ],
};
const count = (svg: string, pattern: RegExp): number => [...svg.matchAll(pattern)].length;

t.test('a chart as SVG: titles, series, ideal, error bars; the same bytes again', async (t) => {
  const svg = await lineChart(chart);
  t.match(svg, /^<svg [^>]*viewBox="0 0 \d+/);
  for (const text of ['Throughput &lt;&amp;&gt;', 'workers', 'images per second', 'ring', 'ps-sync', 'ring, simulated', 'ideal'])
    t.ok(svg.includes(text), text);
  t.equal(count(svg, /aria-roledescription="point"/g), 6, 'a marker for each measured point');
  t.equal(count(svg, /id="/g), 0, 'several stand in one page');
  t.equal(await lineChart(chart), svg);
  t.not(await lineChart({ ...chart, theme: 'dark' }), svg);
});

t.test('facets, logarithmic axes, bands of long curves, what was emulated', async (t) => {
  const curve = Array.from({ length: 100 }, (_, i) => ({ x: i + 1, y: 1 / (i + 1), low: -1, high: 2 / (i + 1) }));
  const svg = await lineChart({
    ...{ title: 'Loss', x: { title: 'epoch', scale: 'log' }, y: { title: 'loss', scale: 'log' }, emulated: '1 Gbit/s' },
    series: ['a', 'b'].flatMap((facet) => ['sgd', 'adam'].map((name) => ({ name, facet, points: curve }))),
  });
  t.equal(count(svg, /EMULATED/g) >= 2, true, 'in each plot');
  t.ok(svg.includes('Emulated: 1 Gbit/s'));
  t.equal(count(svg, /aria-roledescription="point"/g) < 60, true, 'long curves have few markers');
  t.notMatch(svg, /NaN/);
});

t.test('numbers that cannot be drawn', async (t) => {
  const series = (y: number) => [{ name: 'a', points: [{ x: 1, y }] }];
  await t.rejects(lineChart({ ...chart, series: series(Number.NaN) }), UsageError);
  await t.rejects(
    lineChart({ ...chart, series: series(0), y: { title: 'y', scale: 'log' } }),
    /'a' of the chart .* y 0; a logarithmic axis/,
  );
  await t.rejects(lineChart({ ...chart, series: [] }), /no point to draw/);
});

t.test('PNG has the text in it, whatever fonts there are', async (t) => {
  const named = (text: string) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><rect width="200" height="40" fill="white"/><text x="5" y="25" font-size="20" font-family="'No Such Font', sans-serif">${text}</text></svg>`;
  const [blank, text] = [await toPng(named('')), await toPng(named('Workers ± 5'))];
  t.same([...text.slice(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
  t.not(Buffer.compare(pixels(text), pixels(blank)), 0, 'letters are drawn');
});

/** The picture's bytes, still filtered. */
function pixels(png: Uint8Array): Buffer {
  const parts: Buffer[] = [];
  const all = Buffer.from(png);
  for (let at = 8; at < all.length; at += 12 + all.readUInt32BE(at))
    if (all.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(all.subarray(at + 8, at + 8 + all.readUInt32BE(at)));
  return inflateSync(Buffer.concat(parts));
}

t.test('a report stands alone, and what it is given is text', async (t) => {
  const evil = '<script>alert("x")</script>';
  const html = htmlReport({
    ...{ title: evil, subtitle: evil, warnings: [evil], cards: [{ value: evil, label: evil }], footer: evil },
    sections: [
      {
        heading: evil,
        text: evil,
        table: { heads: [evil], rows: [[evil]], numeric: [0], marked: [0] },
        facts: [[evil, evil]],
        code: evil,
        figures: [{ label: evil, light: '<svg></svg>', dark: '<svg></svg>', note: evil }],
      },
    ],
  });
  t.notMatch(html, /<script/);
  t.equal(count(html, /&lt;script&gt;/g) >= 12, true);
  t.notMatch(html, /(src|href)=|url\(|@import/, 'nothing is loaded');
  t.match(html, /prefers-color-scheme:dark/);
});
