// Writes the tables of docs/performance.md from the records of `tsrun bench … --json FILE` (and `--out DIR`): `node scripts/performance_tables.mjs RESULTS.json…` (after `npm run build`). They stand
// in the order of the command line, in place of those that were there.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sizeText, timeText } from './measuring.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const { figuresOf } = require('../dist/src/bench/collective_figures.js');
const { compareAt, ratioText, sizesOf } = require('../dist/src/bench/comparison.js');

const table = (heads, rows) => [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function machineLine({ machine, versions }) {
  const { cpu, cores, kernel, memoryBytes, congestionControl } = machine;
  const memory = memoryBytes && `${Math.round(memoryBytes / 2 ** 30)} GiB`;
  const own = [`${cpu}, ${cores} cores`, memory, kernel, congestionControl && `TCP ${congestionControl}`];
  return [...own, `Node ${versions.node}`, `khorovod ${versions.khorovod}`].filter(Boolean).join(', ');
}

/** One collective, all its forms. */
function collectiveSection(record) {
  const { collective, dtype, op, order, compression, ranks, hosts, rows } = record;
  const what = [
    collective,
    dtype,
    op,
    compression !== 'none' && compression,
    order !== 'single' && order,
    `${ranks} ranks on ${hosts} host(s)`,
  ];
  const cells = rows.map(({ bytes, form, samplesUs, wrong, copied }) => {
    const { meanUs, p50Us, p99Us, algbw, busbw } = figuresOf(samplesUs, bytes, collective, ranks);
    return [sizeText(bytes), form, ...[meanUs, p50Us, p99Us].map(timeText), algbw.toFixed(2), busbw.toFixed(2), wrong, copied.toFixed(2)];
  });
  const heads = ['size', 'form', 'time', 'p50', 'p99', 'algbw (GB/s)', 'busbw (GB/s)', '#wrong', 'copied (B/B)'];
  return [`### ${what.filter(Boolean).join(', ')}`, `${machineLine(record)}.`, '', table(heads, cells)].join('\n');
}

/** Several libraries: median of the rounds, and how many times as long as khorovod in place. */
function comparisonSection(record) {
  const { dtype, op, ranks, rounds, libraries, missing } = record;
  const spread = ({ median, lowest, highest }, text) => `${text(median)} (${text(lowest)}…${text(highest)})`;
  const rows = sizesOf(libraries).flatMap((bytes) =>
    compareAt(bytes, libraries).map(({ title, us, ratio, wrong }) => [
      sizeText(bytes),
      title,
      spread(us, timeText),
      (bytes / us.median / 1e3).toFixed(2),
      spread(ratio, ratioText),
      wrong,
    ]),
  );
  const versions = libraries.map(({ title, version }) => `${title}: ${version}`).join('; ');
  return [
    `### Allreduce beside other libraries, ${dtype}, ${op}, ${ranks} ranks on one host`,
    `${machineLine(record)}. ${versions}. Median of ${rounds} rounds in alternation (lowest…highest).${missing?.length ? ' Not installed there, and so left out:' : ''}`,
    ...(missing ?? []).map((line) => line.replace(/^# (\S+): .*$/, '- $1')),
    '',
    table(['size', 'library', 'p50', 'algbw (GB/s)', 'times as long as khorovod in place', '#wrong'], rows),
  ].join('\n');
}

const makers = { collective: collectiveSection, comparison: comparisonSection };
const files = process.argv.slice(2);
const records = files.map((file) => JSON.parse(fs.readFileSync(file, 'utf8')));
const other = records.findIndex(({ kind }) => !(kind in makers));
if (files.length === 0 || other >= 0) {
  const why = other >= 0 ? `${files[other]} is no record of tsrun bench.` : 'Which records?';
  console.error(`${why} Say node scripts/performance_tables.mjs RESULTS.json…`);
  process.exit(1);
}
const sections = records.map((record) => makers[record.kind](record));
const page = path.join(root, 'docs/performance.md');
const marked = /(<!-- tables: [^>]*-->\n)[\s\S]*?(<!-- \/tables -->)/;
fs.writeFileSync(
  page,
  fs.readFileSync(page, 'utf8').replace(marked, (_, open, close) => `${open}${sections.join('\n\n')}\n${close}`),
);
