/** A program becomes a distributed one by at most five changed lines: every example is held to it against the program it was. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';

const root = path.join(__dirname, '..', '..', '..', '..');
interface Counter {
  codeLines(text: string): string[];
  countChanges(before: string[], after: string[]): number;
  countExamples(): Array<{ name: string; lines: number; changed: number }>;
}
const counter = import(pathToFileURL(path.join(root, 'scripts', 'count_changes.mjs')).href) as Promise<Counter>;

t.test('comments, blank lines and indentation are no code', async (t) => {
  const { codeLines } = await counter;
  t.same(codeLines("/** a\n * b */\n// c\n\n  const url = 'http://d'; // e\n  f();\n"), ["const url = 'http://d';", 'f();']);
});

t.test('lines that come, go or stand for others are counted once', async (t) => {
  const { countChanges } = await counter;
  const before = ['a', 'b', 'c', 'd'];
  for (const [after, changed] of [
    [before, 0],
    [['a', 'x', 'b', 'c', 'd'], 1],
    [['a', 'c', 'd'], 1],
    [['a', 'x', 'c', 'd'], 1],
    [['a', 'x', 'y', 'c', 'd'], 2],
    [['x', 'a', 'b', 'c', 'd', 'y'], 2],
    [['x'], 4],
    [[], 4],
  ] as Array<[string[], number]>)
    t.equal(countChanges(before, after), changed, after.join());
  t.equal(countChanges([], before), 4);
});

t.test('each example changes at least two lines of the program for one process, and at most five', async (t) => {
  const counts = await (await counter).countExamples();
  t.same(
    counts.map(({ name }) => name),
    readdirSync(path.join(root, 'examples'))
      .filter((file) => file.endsWith('.ts') && file !== 'cifar10.ts')
      .map((file) => file.slice(0, -3))
      .sort(),
  );
  for (const { name, lines, changed } of counts) {
    t.ok(changed >= 2 && changed <= 5, `${name}: ${changed} lines changed`);
    t.ok(lines <= 120, `${name}: ${lines} lines`);
  }
});

t.test('the programs for one process know nothing of this package', async (t) => {
  for (const file of readdirSync(path.join(root, 'examples', 'single')))
    t.notMatch(readFileSync(path.join(root, 'examples', 'single', file), 'utf8'), /hvd|khorovod|tsrun/, file);
});
