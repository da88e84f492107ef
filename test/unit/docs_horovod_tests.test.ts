/** Every test that docs/horovod-tests.md names exists. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..', '..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

t.test('each file that docs/horovod-tests.md names holds the title beside it', async (t) => {
  const named = [...read('docs/horovod-tests.md').matchAll(/`(test\/[\w/.]+\.test\.ts)`(?:: ([^|\n]+?))?(?=\)? \|$|\)|, and)/gm)];
  t.ok(named.length > 50, 'tests are named');
  for (const [, file, title] of named) {
    const text = read(file!);
    if (title) t.ok(text.includes(title), `${file}: ${title}`);
  }
});
