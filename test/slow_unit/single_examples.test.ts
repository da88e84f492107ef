/** The programs for one process, which the examples' changed lines are counted from, run by themselves, and come to a right result too. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';

const root = path.join(__dirname, '..', '..', '..');
const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-single-'));
t.teardown(() => rmSync(folder, { recursive: true }));

for (const file of readdirSync(path.join(root, 'examples', 'single')))
  t.test(`single/${file}`, async (t) => {
    const program = path.join(root, 'examples', 'single', file);
    // In a folder of its own: one of them leaves a file.
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', require.resolve('tsx'), program], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 180_000,
    });
    t.equal(status, 0, stderr.slice(-2000));
    t.match(stdout, new RegExp(`^${path.basename(file, '.ts')}: .*\n$`, 'm'));
  });
