// Writes the tables of README.md that come from elsewhere: settings from src/config.ts (compiled), speed from docs/measurements, changed lines from examples/. `--check`: exit 1 when README.md is not up to date.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { changesTable } from './count_changes.mjs';
import { median } from './measuring.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const { knobs } = require('../dist/src/config.js');

function knobTable() {
  const rows = Object.values(knobs)
    .filter(({ setByTsrun }) => !setByTsrun)
    .map(
      ({ env, expects, fallback, help }) => `| \`${env}\` | ${expects} | ${fallback === undefined ? '–' : String(fallback)} | ${help} |`,
    );
  return ['| variable | value | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

const size = (bytes) => (bytes >= 1 << 20 ? `${bytes >> 20} MiB` : bytes >= 1024 ? `${bytes >> 10} KiB` : `${bytes} B`);
const time = (us) => (us >= 1000 ? `${(us / 1000).toFixed(us >= 10_000 ? 1 : 2)} ms` : `${us.toFixed(0)} µs`);

function speedTable() {
  const file = path.join(root, 'docs/measurements/allreduce.json');
  if (!fs.existsSync(file)) return '(not measured yet)';
  const { np, rounds, cpu, cores, node, samples } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const names = Object.keys(samples);
  const sizes = Object.keys(samples[names[0]]).map(Number);
  const head = `Allreduce of float32 over TCP on one host, ${np} ranks, ${cores} cores (${cpu}), Node ${node}: median over ${rounds} rounds in alternation, every result verified.`;
  const rows = sizes.map((bytes) => `| ${size(bytes)} | ${names.map((name) => time(median(samples[name][bytes]))).join(' | ')} |`);
  return [head, '', `| size | ${names.join(' | ')} |`, `| --- |${' --- |'.repeat(names.length)}`, ...rows].join('\n');
}

const file = path.join(root, 'README.md');
const before = fs.readFileSync(file, 'utf8');
let after = before;
for (const [name, make] of [
  ['knobs', knobTable],
  ['speed', speedTable],
  ['changes', changesTable],
]) {
  after = after.replace(
    new RegExp(`(<!-- ${name}: [^>]*-->\\n)[\\s\\S]*?(<!-- /${name} -->)`),
    (_, open, close) => `${open}${make()}\n${close}`,
  );
}
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('README.md is not up to date: run node scripts/readme_tables.mjs');
    process.exit(1);
  }
} else fs.writeFileSync(file, after);
