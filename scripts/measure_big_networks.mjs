// Two ranks train networks of the study on this machine, by SGD on synthetic images of 224×224: what memory a rank takes, and what a step. `node scripts/measure_big_networks.mjs [ROW …]` (after `npm run build`), a
// row being BACKEND,NETWORK,BATCH[,STEPS]; without rows those of docs/backends.md. Of tfjs-node in a temporary project that `tsrun install-tfjs-node` makes. Verified: losses are finite, and the ranks end with the same
// weights. `peak` is the most memory the process ever had (VmHWM), after it what is in use at the end (RSS).
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { makeProject } = createRequire(import.meta.url)(path.join(root, 'dist/test/helpers/backend_project.js'));
const usual = [
  'wasm,resnet50,1',
  'wasm,resnet50,8',
  'tfjs-node,resnet50,1',
  'tfjs-node,resnet50,8',
  'wasm,vgg16,1',
  'tfjs-node,vgg16,1',
  'tfjs-node,vgg16,8',
];
const rows = process.argv.length > 2 ? process.argv.slice(2) : usual;
const LIMIT_MS = 900_000;

const checkout = { env: {}, program: (name) => path.join(root, 'dist/test', `${name}.js`) };
let project;

function train(backend, network, batch, steps) {
  if (backend === 'tfjs-node') project ??= makeProject(backend);
  if (typeof project === 'string') throw new Error(project);
  const { env, program } = backend === 'tfjs-node' ? project : checkout;
  const words = ['-np', '2', '--no-prefix', program('workers/trains_big_network'), network, batch, steps];
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(root, 'dist/launcher/tsrun.js'), ...words], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    env: { ...process.env, ...env, TSRUN_BACKEND: backend },
  });
  if (status !== 0) throw new Error(`${backend}, ${network}, batch ${batch}: exit code ${status}\n${stderr.slice(-2000)}`);
  const ranks = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
  if (ranks.length !== 2 || ranks.some(({ losses }) => !losses.every(Number.isFinite)) || ranks[0].sum !== ranks[1].sum)
    throw new Error(`${backend}, ${network}, batch ${batch}: ${stdout}`);
  return ranks;
}

console.log('| network | batch | backend | peak and last memory a rank, MiB | s a step, of the last |\n| --- | --- | --- | --- | --- |');
for (const row of rows) {
  const [backend, network, batch = '1', steps = '3'] = row.split(',');
  const ranks = train(backend, network, batch, steps);
  const most = (name) => Math.max(...ranks.map((rank) => rank[name]));
  const seconds = Math.max(...ranks.map(({ msPerStep }) => msPerStep.at(-1))) / 1000;
  console.log(`| ${network} | ${batch} | ${backend} | ${most('peakMiB')}, ${most('rssMiB')} | ${seconds.toFixed(1)} |`);
}
