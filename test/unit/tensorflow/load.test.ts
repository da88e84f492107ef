/** One copy of TensorFlow.js: the user's, however it is imported; a second copy of tfjs-core is found and explained. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { copiesOfCore } from '../../../src/tensorflow/load';

const root = path.join(__dirname, '..', '..', '..', '..');
const folder = mkdtempSync(path.join(root, 'dist', 'load-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const entry = path.join(root, 'dist/src/index.js');

/** What a script of that name prints, run as a rank of tsrun would be where it is TypeScript. */
function run(name: string, text: string): { out: string; err: string } {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  const loader = name.endsWith('ts') ? ['--import', require.resolve('tsx')] : [];
  const { stdout, stderr } = spawnSync(process.execPath, [...loader, file], { encoding: 'utf8', timeout: 60_000 });
  return { out: stdout, err: stderr };
}

t.test('copies are told by their files', async (t) => {
  const one = '/a/node_modules/@tensorflow/tfjs-core/dist/tf-core.node.js';
  const other = '/b/node_modules/@tensorflow/tfjs-core/dist/tf-core.node.js';
  t.same(copiesOfCore([one, '/a/node_modules/@tensorflow/tfjs-layers/dist/tf-layers.node.js', '/a/my-tf-core.json']), [
    '/a/node_modules/@tensorflow/tfjs-core',
  ]);
  t.equal(copiesOfCore([one, other]).length, 2);
  t.same(copiesOfCore([]), []);
});

const check =
  'hvd.selectBackend("cpu").then((selected) => console.log("same:", selected.tf.engine() === tf.engine() && selected.tf.Tensor === tf.Tensor));';
const scripts: Record<string, string> = {
  'imports.mjs': `import * as tf from '@tensorflow/tfjs'; import * as hvd from ${JSON.stringify(entry)}; ${check}`,
  'requires.cjs': `const hvd = require(${JSON.stringify(entry)}); const tf = require('@tensorflow/tfjs'); ${check}`,
  'imports_late.mjs': `const hvd = await import(${JSON.stringify(entry)}); const tf = await import('@tensorflow/tfjs'); ${check}`,
  'typed.ts': `import * as tf from '@tensorflow/tfjs'; import * as hvd from ${JSON.stringify(entry)}; ${check}`,
};
for (const [name, text] of Object.entries(scripts))
  t.test(`${name} gets the very TensorFlow.js that this package works with`, async (t) => {
    const { out, err } = run(name, text);
    t.match(out, /same: true/, err);
  });

t.test('importing the package loads no TensorFlow.js', async (t) => {
  const { out, err } = run(
    'plain.cjs',
    `require(${JSON.stringify(entry)}); console.log(Object.keys(require.cache).filter((file) => file.includes('@tensorflow')).length);`,
  );
  t.equal(out.trim(), '0', err);
});

t.test('a second copy of tfjs-core is named with what to do, wherever models come in', async (t) => {
  const core = path.dirname(require.resolve('@tensorflow/tfjs-core/package.json'));
  const second = path.join(folder, 'second', 'tfjs-core');
  mkdirSync(path.join(second, 'dist'), { recursive: true });
  const main = JSON.parse(readFileSync(path.join(core, 'package.json'), 'utf8')).main as string;
  for (const file of ['package.json', main]) cpSync(path.join(core, file), path.join(second, file));
  const { out, err } = run(
    'two.cjs',
    `const hvd = require(${JSON.stringify(entry)}); const tf = require('@tensorflow/tfjs'); require(${JSON.stringify(second)});
     try { hvd.DistributedOptimizer(tf.train.sgd(1)); } catch (error) { console.log(error.code, error.message); }
     hvd.selectBackend('cpu').catch((error) => console.log(error.code));`,
  );
  t.match(
    out,
    /^ERR_HVD_BACKEND Two copies of tfjs-core .*tfjs-core and .*second.*npm ls @tensorflow\/tfjs-core.*\nERR_HVD_BACKEND\n$/,
    err,
  );
});
