// Writes the tables of README.md that come from elsewhere: settings from src/config.ts (compiled), speed from docs/measurements, changed lines from examples/. `--check`: exit 1 when README.md is not up to date.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { changesTable } from './count_changes.mjs';
import { median, sizeText, timeText } from './measuring.mjs';

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

function speedTable() {
  const file = path.join(root, 'docs/measurements/allreduce.json');
  if (!fs.existsSync(file)) return '(not measured yet)';
  const { ranks, rounds, machine, versions, libraries } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const head = `Allreduce of float32 on one host, ${ranks} ranks, ${machine.cores} cores (${machine.cpu}), Node ${versions.node}: median over ${rounds} rounds in alternation, every result verified.`;
  const cell = ({ sizes }, bytes) => timeText(median(sizes.find((size) => size.bytes === bytes).rounds.map(median)));
  const rows = libraries[0].sizes.map(
    ({ bytes }) => `| ${sizeText(bytes)} | ${libraries.map((library) => cell(library, bytes)).join(' | ')} |`,
  );
  const titles = libraries.map(({ title }) => title);
  return [head, '', `| size | ${titles.join(' | ')} |`, `| --- |${' --- |'.repeat(titles.length)}`, ...rows].join('\n');
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
