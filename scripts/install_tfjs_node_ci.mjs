// Packs the package, installs it into an empty project, runs `tsrun install-tfjs-node` there and trains two ranks on tfjs-node and on wasm: `node scripts/install_tfjs_node_ci.mjs [--tensorflow 2.20.0]`.
// All of it by the Node that runs this, with the size and the time of the installation; later runs take the wheel from the cache. Where no index of Python's packages is reached the rest is skipped. The last line is
// `N passed, N failed[, N skipped]`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const args = process.argv.slice(2);
const version = args.includes('--tensorflow') ? args[args.indexOf('--tensorflow') + 1] : '2.20.0';
const project = fs.mkdtempSync(path.join(os.tmpdir(), 'khorovod-tfjs-node-'));
process.on('exit', () => fs.rmSync(project, { recursive: true, force: true }));
// npx and npm take the Node that they find first.
const env = { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`, TF_CPP_MIN_LOG_LEVEL: '2' };
let [passed, failed, skipped] = [0, 0, 0];

function check(title, ok, detail = '') {
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok' : 'not ok'} ${title}${ok ? '' : `\n${detail}`}`);
  return ok;
}

/** @param seen what of its output is told */
function step(title, command, words, holds = () => true, seen = () => '') {
  const from = performance.now();
  const { status, stdout, stderr } = spawnSync(command, words, { cwd: project, env, encoding: 'utf8', timeout: 580_000 });
  const time = `${((performance.now() - from) / 1000).toFixed(1)} s`;
  const text = `${title} (${[time, seen(stdout ?? '')].filter(Boolean).join(', ')})`;
  const unreached = /could not be read: (connect|getaddrinfo) .*/.exec(stderr ?? '')?.[0];
  if (status !== 0 && unreached) {
    console.log(`skipped: ${title}: the index ${unreached}`);
    skipped += 1;
    finish();
  }
  const ok = check(text, status === 0 && holds(stdout), `  exit ${status}\n${stdout?.slice(-2000)}\n${stderr?.slice(-2000)}`);
  if (!ok) finish();
  return stdout;
}

function finish() {
  console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
  process.exit(failed > 0 || passed === 0 ? 1 : 0);
}

/** What each rank has at the end of the same ten steps. */
function train(backend) {
  const out = step(`two ranks train on ${backend}`, 'npx', ['tsrun', '-np', '2', '--no-prefix', 'train.js', backend]);
  return [...out.matchAll(/^RESULT (.*)$/gm)].map(([, json]) => JSON.parse(json)).sort((a, b) => a.rank - b.rank);
}

const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], { cwd: root, encoding: 'utf8' });
const tarball = path.join(project, packed.stdout.trim().split('\n').at(-1));
fs.writeFileSync(path.join(project, 'package.json'), '{"name": "project", "private": true}\n');
fs.copyFileSync(path.join(root, 'scripts', 'install_tfjs_node_ci_train.js'), path.join(project, 'train.js'));
step('npm install without install scripts', 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball]);
const from = ['--tensorflow', version];
const works = (out) => out.includes(`works: TensorFlow ${version}`);
const size = (out) => /deps: (\d+ MB)/.exec(out)?.[1] ?? '';
step(`npx tsrun install-tfjs-node on Node ${process.version}`, 'npx', ['tsrun', 'install-tfjs-node', ...from], works, size);
step('again: nothing to do', 'npx', ['tsrun', 'install-tfjs-node', ...from], (out) => works(out) && out.includes('nothing to do'));
const [wasm, node] = [train('wasm'), train('tensorflow')];
check('two ranks each', wasm.length === 2 && node.length === 2, JSON.stringify({ wasm, node }));
check('the ranks of tfjs-node end with the same bits', node[0].bits === node[1].bits);
check('it is tfjs-node', node.every(({ backend }) => backend === 'tensorflow') && wasm.every(({ backend }) => backend === 'wasm'));
const difference = Math.max(...node[0].weights.map((weight, i) => Math.abs(weight - wasm[0].weights[i])));
check(`its weights are those of wasm within 1e-4 (largest difference ${difference.toExponential(1)})`, difference < 1e-4);
finish();
