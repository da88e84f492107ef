// How many lines a program changes to run on many ranks: compares examples/single/NAME.ts, the program as it was, with examples/NAME.ts, and prints a table. Comments and blank lines do not
// count; where lines stand for others they count once, lines that are only added or only taken away count too.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const examples = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'examples');

/** Lines of code, without comments and indentation. A `//` counts as a comment at the start of a line or after a blank, which leaves addresses in strings alone. */
export function codeLines(text) {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .split('\n')
    .map((line) => line.replace(/(^|\s)\/\/.*$/, '').trim())
    .filter((line) => line !== '');
}

/** Lines to change in `before` to have `after`: in each gap between lines that stay (a longest common subsequence) the larger of what goes and what comes. */
export function countChanges(before, after) {
  // common[i][j]: length of a longest common subsequence of the lines from i and j on.
  const common = Array.from({ length: before.length + 1 }, () => new Array(after.length + 1).fill(0));
  for (let i = before.length - 1; i >= 0; i -= 1)
    for (let j = after.length - 1; j >= 0; j -= 1)
      common[i][j] = before[i] === after[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  let [changed, gone, come, i, j] = [0, 0, 0, 0, 0];
  const close = () => {
    changed += Math.max(gone, come);
    [gone, come] = [0, 0];
  };
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      close();
      i += 1;
      j += 1;
    } else if (j === after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1])) {
      gone += 1;
      i += 1;
    } else {
      come += 1;
      j += 1;
    }
  }
  close();
  return changed;
}

/** Of each example that has a version for one process: its name, its lines of code, and how many of them are changed. */
export function countExamples() {
  return fs
    .readdirSync(path.join(examples, 'single'))
    .filter((file) => file.endsWith('.ts'))
    .sort()
    .map((file) => {
      const [before, after] = [path.join(examples, 'single', file), path.join(examples, file)].map((name) =>
        codeLines(fs.readFileSync(name, 'utf8')),
      );
      return { name: path.basename(file, '.ts'), lines: after.length, changed: countChanges(before, after) };
    });
}

export function changesTable() {
  const rows = countExamples().map(({ name, lines, changed }) => `| [${name}](examples/${name}.ts) | ${lines} | ${changed} |`);
  return ['| example | lines | changed |', '| --- | --- | --- |', ...rows].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(changesTable());
