// How fast networks would train on more hosts than there are: `node scripts/simulate.mjs [--network resnet50,vgg16] [--strategy ring,ps-sync,ps-sync:4] [--workers 1,2,4,8,16] [--rate 25gbit] [--latency 20us] [--ranks-per-host 8]
//   [--profile k80] [--batch-size 32] [--cores 32] [--switch RATE] [--json FILE] [--figure DIR/NAME [--kind throughput|efficiency] [--png]]` (after `npm run build`).
//
// A table on the terminal; with --json all figures, with --figure a chart. Model, parameters and what it leaves out: docs/simulation.md.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const built = (name) => require(path.join(root, 'dist/src', name));
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    network: option('resnet50'),
    strategy: option('ring,ps-sync,ps-sync:1'),
    workers: option('1,2,4,8,16'),
    rate: option('25gbit'),
    latency: option('20us'),
    'ranks-per-host': option('8'),
    cores: option('32'),
    switch: option(''),
    profile: option('k80'),
    'batch-size': option('32'),
    json: option(''),
    figure: option(''),
    kind: option('throughput'),
    png: { type: 'boolean', default: false },
  },
});

const { simulateTraining, strategyOf } = built('simulate/training.js');
const { defaultNetwork, ETHERNET_SHARE, rateOf, secondsOf } = built('simulate/settings.js');
const { findNetwork, shapesOf, CLASSES } = built('bench/models/networks.js');
const { computeOf } = built('bench/profiles.js');

const batchSize = Number(values['batch-size']);
const network = {
  ...defaultNetwork,
  rate: rateOf(values.rate) * ETHERNET_SHARE,
  latency: secondsOf(values.latency),
  ranksPerHost: Number(values['ranks-per-host']),
  cores: Number(values.cores),
  ...(values.switch ? { switchRate: rateOf(values.switch) * ETHERNET_SHARE } : {}),
};
const list = (text) => text.split(',').filter((word) => word !== '');
const rows = list(values.network).flatMap((name) => {
  const { title, size } = findNetwork(name);
  const sizes = shapesOf(name).map(({ shape }) => shape.reduce((all, one) => all * one, 1));
  const profile = computeOf(values.profile, name, { batchSize, imageSize: size, classes: CLASSES });
  console.log(
    `\n# ${title}, simulated: ${(4e-6 * sizes.reduce((all, one) => all + one, 0)).toFixed(1)} MB of gradients, ${profile.source}`,
  );
  console.log('# strategy     workers   step ms   bound ms    images/s  efficiency     events  simulated in');
  return list(values.strategy).flatMap((strategy) =>
    list(values.workers).map((count) => {
      const workers = Number(count);
      const sinceMs = performance.now();
      const found = simulateTraining({ profile, sizes, batchSize, workers, network, strategy: strategyOf(strategy) });
      const seconds = (performance.now() - sinceMs) / 1000;
      const { stepSeconds, boundSeconds, imagesPerSec, efficiency, events, isOneHost, aloneSeconds } = found;
      console.log(
        `${strategy.padEnd(12)} ${String(workers).padStart(9)} ${(1000 * stepSeconds).toFixed(1).padStart(9)} ${(1000 * boundSeconds).toFixed(1).padStart(10)} ` +
          `${imagesPerSec.toFixed(1).padStart(11)} ${(100 * efficiency).toFixed(1).padStart(10)}% ${String(events).padStart(10)} ${seconds.toFixed(1).padStart(8)} s${isOneHost ? ', one host for all' : ''}`,
      );
      return {
        network: name,
        title,
        strategy,
        workers,
        stepSeconds,
        boundSeconds,
        aloneSeconds,
        imagesPerSec,
        efficiency,
        source: profile.source,
      };
    }),
  );
});

if (values.json) {
  mkdirSync(path.dirname(values.json), { recursive: true });
  writeFileSync(values.json, `${JSON.stringify({ simulated: true, profile: values.profile, batchSize, spec: network, rows }, null, 1)}\n`);
}
if (values.figure) await draw();

async function draw() {
  const { lineChart, toPng } = built('bench/plots.js');
  const isEfficiency = values.kind === 'efficiency';
  const titles = [...new Set(rows.map(({ title }) => title))];
  const facetOf = (title) => (titles.length > 1 ? title : undefined);
  const of = (title, strategy) => rows.filter((row) => row.title === title && row.strategy === strategy);
  const workers = list(values.workers).map(Number);
  const series = titles.flatMap((title) =>
    list(values.strategy).map((strategy) => ({
      name: `${strategy}, simulated`,
      facet: facetOf(title),
      points: of(title, strategy).map((row) => ({ x: row.workers, y: isEfficiency ? row.efficiency : row.imagesPerSec })),
    })),
  );
  const ideal = titles.map((title) => {
    const [{ aloneSeconds }] = rows.filter((row) => row.title === title);
    return { facet: facetOf(title), points: workers.map((x) => ({ x, y: isEfficiency ? 1 : (x * batchSize) / aloneSeconds })) };
  });
  const svg = await lineChart({
    title: isEfficiency
      ? `Simulated scaling efficiency, 1 to ${Math.max(...workers)} workers`
      : `Simulated throughput, 1 to ${Math.max(...workers)} workers`,
    subtitle: `${titles.length > 1 ? '' : `${titles[0]}, `}${values.rate} a host, ${values.latency}, ${values['ranks-per-host']} workers a host, profile ${values.profile}, batch ${batchSize} a worker. A model, not a measurement`,
    x: { title: 'workers', ticks: workers, ...(isEfficiency ? { scale: 'log' } : {}) },
    y: isEfficiency ? { title: 'efficiency', scale: 'log' } : { title: 'images per second' },
    series,
    ideal,
    ownY: !isEfficiency,
  });
  mkdirSync(path.dirname(values.figure), { recursive: true });
  writeFileSync(`${values.figure}.svg`, svg);
  if (values.png) writeFileSync(`${values.figure}.png`, await toPng(svg));
}
