/** The two scripts of docs/from-horovod.md, put together from their lines, run as they stand. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { runJob } from '../helpers/tsrun';

const root = path.join(__dirname, '..', '..', '..');
const page = readFileSync(path.join(root, 'docs', 'from-horovod.md'), 'utf8');

/** The second column of the section's table. */
function scriptOf(title: string): string {
  const from = page.indexOf(`\n## ${title}\n`);
  const rows = page.slice(from, page.indexOf('\n## ', from + 1)).split('\n');
  const cells = rows.filter((row) => row.startsWith('| ')).map((row) => row.split(' | ')[1] ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, line]) => line!)).join('\n');
}

for (const title of ['A Keras script, line by line', 'A loop of your own, line by line'])
  t.test(title, async (t) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-translated-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(root, path.join(folder, 'node_modules', 'khorovod'));
    symlinkSync(path.join(root, 'node_modules', '@tensorflow'), path.join(folder, 'node_modules', '@tensorflow'));
    const script = scriptOf(title);
    t.match(script, /hvd\.(DistributedOptimizer|variableGrads)\(/);
    writeFileSync(path.join(folder, 'train.ts'), script);
    const { status, out, err, left } = await runJob(['-np', '2', '--no-prefix', 'train.ts'], { cwd: folder }, 120_000);
    t.equal(status, 0, err);
    t.same(out.match(/^done \d$/gm)?.sort(), ['done 0', 'done 1'], out);
    t.notMatch(out + err, /NaN/);
    t.same(left, []);
  });
