/** Which backend is chosen, and what is said when it cannot be. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';

t.test('wasm unless told otherwise, with what training needs', async (t) => {
  const { name, device, tf: own } = await hvd.selectBackend();
  t.same([name, tf.getBackend()], ['wasm', 'wasm']);
  t.match(device, /WebAssembly/);
  t.equal(own.engine(), tf.engine());
  for (const kernel of [
    'Conv2DBackpropFilter',
    'DepthwiseConv2dNativeBackpropFilter',
    'DepthwiseConv2dNativeBackpropInput',
    'UnsortedSegmentSum',
  ])
    t.ok(tf.getKernel(kernel, 'wasm'), kernel);
});

t.test('an error of the user ends the process as ever, though the wasm backend throws it again', async (t) => {
  const core = require.resolve('@tensorflow/tfjs');
  const entry = path.join(__dirname, '..', '..', '..', 'src', 'index.js');
  const run = (start: string, ending: string): { status: number | null; stderr: string } =>
    spawnSync(
      process.execPath,
      ['-e', `const tf = require(${JSON.stringify(core)}), hvd = require(${JSON.stringify(entry)}); ${start}.then(() => { ${ending} })`],
      { encoding: 'utf8', timeout: 60_000 },
    );
  for (const ending of ['Promise.reject(new Error("my bug"))', 'setImmediate(() => { throw new Error("my bug") })']) {
    const { status, stderr } = run('hvd.selectBackend("wasm")', ending);
    t.equal(status, 1);
    t.match(stderr, /Error: my bug/);
    t.ok(stderr.length < 2000, `${stderr.length} characters`);
  }
  const handled = run('hvd.selectBackend("wasm")', 'process.on("uncaughtException", () => process.exit(3)); throw new Error("my bug")');
  t.equal(handled.status, 3, 'a listener of the user stays');
});

t.test('cpu when asked for, and back', async (t) => {
  t.equal((await hvd.selectBackend('cpu')).name, 'cpu');
  t.equal(tf.getBackend(), 'cpu');
  t.equal((await hvd.selectBackend('wasm')).name, 'wasm');
});

t.test('a backend that is not installed, or none at all', async (t) => {
  for (const [name, missing, mend] of [
    ['webgpu', 'webgpu and @tensorflow/tfjs-backend-webgpu are', 'npm install webgpu'],
    ['tfjs-node', '@tensorflow/tfjs-node is', 'npx tsrun install-tfjs-node'],
    ['tfjs-node-gpu', '@tensorflow/tfjs-node-gpu is', 'npx tsrun install-tfjs-node --gpu'],
  ] as const)
    await t.rejects(hvd.selectBackend(name), {
      code: 'ERR_HVD_BACKEND',
      message: new RegExp(`'${name}' was asked for \\(selectBackend\\).*${missing} not installed\\. To install it: ${mend}`),
    });
  await t.rejects(hvd.selectBackend('abacus' as 'wasm'), {
    code: 'ERR_HVD_BACKEND',
    message: /no backend 'abacus'.*tfjs-node-gpu, tfjs-node, webgpu, wasm, cpu/,
  });
});

t.test('TSRUN_BACKEND forces one; selectBackend with a name wins; a wrong one is said', async (t) => {
  const run = (backend: string, call: string): { out: string; err: string } => {
    const entry = path.join(__dirname, '..', '..', '..', 'src', 'index.js');
    const text = `require(${JSON.stringify(entry)}).selectBackend(${call}).then(({ name }) => console.log(name), (error) => console.log(error.code, error.message))`;
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', text], {
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, TSRUN_BACKEND: backend },
    });
    return { out: stdout.trim(), err: stderr };
  };
  t.equal(run('cpu', '').out, 'cpu');
  t.equal(run('cpu', '"wasm"').out, 'wasm');
  t.match(run('webgpu', '').out, /^ERR_HVD_BACKEND .*\(TSRUN_BACKEND\)/);
  t.match(run('abacus', '').out, /^ERR_HVD_USAGE TSRUN_BACKEND is 'abacus'/);
});
