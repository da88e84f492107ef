// Runs those tests of the built package under other Node versions, taken from the registry's `node` package, that depend on Node itself: threads and shared memory, sockets, files that a thread writes, processes and
// signals, how scripts and packages are loaded: `node scripts/other_nodes.mjs 22 26`. On the last version models are trained besides, and tsrun installs tfjs-node. The parallel tests on two ranks.
// The last line is `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const versions = process.argv.slice(2);
const suitesOf = (version) => {
  const isLast = version === versions.at(-1);
  const parallel = ['collectives', 'threads', 'timeline', ...(isLast ? ['training'] : [])].join('|');
  const only = `parallel/(${parallel})|integration/life|unit/launcher/script|unit/tensorflow/(select|load)|unit/transport/(tls|unix)`;
  return [
    ['scripts/run_tests.mjs', 'unit', 'parallel', 'integration', '--np', '2', '--only', only],
    ...(isLast ? [['scripts/install_tfjs_node_ci.mjs']] : []),
  ];
};
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'khorovod-nodes-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
let [passed, failed] = [0, 0];

for (const version of versions) {
  const place = path.join(folder, version);
  fs.mkdirSync(place);
  fs.writeFileSync(path.join(place, 'package.json'), '{"private": true}\n');
  spawnSync('npm', ['install', '--no-audit', '--no-fund', '--silent', `node@${version}`], { cwd: place, stdio: 'inherit' });
  const node = path.join(place, 'node_modules', 'node', 'bin', 'node');
  const found = spawnSync(node, ['--version'], { encoding: 'utf8' });
  console.log(`── Node ${version}: ${found.stdout?.trim() || 'not to be had'}`);
  for (const words of suitesOf(version)) {
    const { stdout = '' } = spawnSync(node, words, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
    process.stdout.write(stdout);
    const counts = /^(\d+) passed, (\d+) failed/m.exec(stdout);
    passed += Number(counts?.[1] ?? 0);
    failed += Number(counts?.[2] ?? 1);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
