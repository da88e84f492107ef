/** docs/guarantees.md: every guarantee names assumptions and a test, and the tests are there. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..', '..');
const page = readFileSync(path.join(root, 'docs', 'guarantees.md'), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (guarantee|---) /.test(line))
  .map((line) => line.slice(1, -1).split('|'))
  .map(([guarantee = '', assumes = '', tests = '', ...rest]) => ({ guarantee: guarantee.trim(), assumes: assumes.trim(), tests, rest }));

t.test('every guarantee names its assumptions and the tests that hold it', async (t) => {
  t.ok(rows.length > 30, `${rows.length} rows`);
  for (const { guarantee, assumes, tests, rest } of rows) {
    t.same(rest, [], `three columns: ${guarantee}`);
    t.not(assumes, '', guarantee);
    t.match(tests, /^ (`test\/[^`]+\.test\.ts` ?)+$/, guarantee);
  }
});

t.test('these tests are there', async (t) => {
  const named = new Set([...page.matchAll(/`(test\/[^`]+\.ts)`/g)].map(([, file]) => file!));
  t.ok(named.size > 20, `${named.size} files`);
  for (const file of named) t.ok(existsSync(path.join(root, file)), file);
});
