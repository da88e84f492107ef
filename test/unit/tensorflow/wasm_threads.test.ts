/** The threads of the wasm backend: the same numbers with any number of them, and programs that end as if there were none. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { deviceOf } from '../../../src/tensorflow/backends/wasm/backend';
import { largestDifference } from '../../helpers/small_network';

const LIMIT_MS = 300_000;
const dist = path.join(__dirname, '..', '..', '..');
const PACKAGE = '@tensorflow/tfjs-backend-wasm';
const prelude = `
const tf = require(${JSON.stringify(require.resolve('@tensorflow/tfjs'))});
const hvd = require(${JSON.stringify(path.join(dist, 'src', 'index.js'))});
const threadFile = ${JSON.stringify(require.resolve(`${PACKAGE}/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js`))};
const product = () => tf.tidy(() => tf.matMul(tf.ones([200, 200]), tf.ones([200, 200])).sum().dataSync()[0]);
`;
const environmentWith = (more: Record<string, string>): NodeJS.ProcessEnv => ({ ...process.env, TSRUN_BACKEND: 'wasm', ...more });

/** The words that a program prints, and how it ended. */
function run(program: string, more: Record<string, string> = {}, args: string[] = []) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args, '-e', `${prelude}(async () => {${program}})()`], {
    encoding: 'utf8',
    timeout: LIMIT_MS,
    env: environmentWith({ TSRUN_THREADS_PER_PROCESS: '3', ...more }),
  });
  return { status, out: stdout.trim(), err: stderr };
}

t.test('training gives the same bits with any number of threads, and what the cpu backend gives', async (t) => {
  const train = (backend: string, threads: number): { device: string; small: number[]; study?: string } => {
    const { stdout } = spawnSync(process.execPath, [path.join(dist, 'test', 'helpers', 'trained_on_wasm.js')], {
      encoding: 'utf8',
      timeout: LIMIT_MS,
      env: environmentWith({ TSRUN_BACKEND: backend, TSRUN_THREADS_PER_PROCESS: String(threads) }),
    });
    return JSON.parse(stdout);
  };
  const single = train('wasm', 1);
  t.equal(single.device, 'CPU (WebAssembly SIMD, 1 thread)');
  for (const threads of [2, 2, 3, 8]) {
    const found = train('wasm', threads);
    t.equal(found.device, `CPU (WebAssembly SIMD, ${threads} threads)`);
    t.same([found.study, found.small], [single.study, single.small], `${threads} threads: the same bits`);
  }
  const off = largestDifference(train('cpu', 1).small, single.small);
  t.ok(off < 5e-5, `off by ${off} from the cpu backend`);
});

t.test('more threads than the module has are as many as it has', async (t) => {
  t.equal(
    run('console.log((await hvd.selectBackend()).device)', { TSRUN_THREADS_PER_PROCESS: '20' }).out,
    'CPU (WebAssembly SIMD, 8 threads)',
  );
});

t.test('a program with threads ends by itself, by process.exit and by an error as one without', async (t) => {
  const start = 'await hvd.selectBackend(); product();';
  t.equal(run(start).status, 0);
  t.equal(run(`${start} process.exit(5)`).status, 5);
  t.equal(run(`process.on('exit', () => product()); ${start} setImmediate(() => process.exit(6))`).status, 6);
  const { status, err } = run(`${start} setImmediate(() => { throw new Error('my bug') })`);
  t.equal(status, 1);
  t.match(err, /Error: my bug/);
  t.ok(err.length < 2000, `${err.length} characters`);
});

t.test('nothing is left in this process or in a folder, not even by SIGKILL', async (t) => {
  const folder = t.testdir();
  const program = `${prelude}(async () => {
    const before = [typeof Worker, process.listenerCount('uncaughtException'), require('os').cpus().length].join();
    await hvd.selectBackend();
    console.log(before === [typeof Worker, process.listenerCount('uncaughtException'), require('os').cpus().length].join());
    setInterval(product, 1);
  })()`;
  const child: ChildProcess = spawn(process.execPath, ['-e', program], {
    env: environmentWith({ TSRUN_THREADS_PER_PROCESS: '3', TMPDIR: folder }),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'close');
  const [line] = await once(child.stdout!, 'data');
  t.equal(String(line).trim(), 'true', 'globals, listeners and os are as before');
  child.kill('SIGKILL');
  t.same(await ended, [null, 'SIGKILL']);
  t.same(fs.readdirSync(folder), []);
});

t.test("no loader of the user's runs in the threads", async (t) => {
  const folder = t.testdir({ 'hook.cjs': `require('fs').appendFileSync(process.env.HOOKED, 'x')` });
  const hook = path.join(folder, 'hook.cjs');
  const HOOKED = path.join(folder, 'hooked');
  const program = 'console.log((await hvd.selectBackend()).device)';
  t.match(run(program, { HOOKED }, ['--require', hook]).out, /3 threads/);
  t.equal(fs.readFileSync(HOOKED, 'utf8'), 'x', 'an option');
  t.match(run(program, { HOOKED, NODE_OPTIONS: `--require ${hook}` }).out, /3 threads/);
  t.equal(fs.readFileSync(HOOKED, 'utf8'), 'xx', 'an environment');
});

t.test('where the threads cannot start there is one, and the device says why', async (t) => {
  const withThread = (exported: string): string =>
    run(`require.cache[threadFile] = { id: threadFile, filename: threadFile, loaded: true, exports: ${exported} };
      console.log((await hvd.selectBackend()).device, product())`).out;
  t.equal(
    withThread('{}'),
    `CPU (WebAssembly SIMD, 1 thread: this version of ${PACKAGE} has no threaded module) ${200 ** 3}`,
    'a version without',
  );
  t.equal(
    withThread(`{ wasmWorkerContents: 'throw new Error("no thread today")' }`),
    `CPU (WebAssembly SIMD, 1 thread: no thread today) ${200 ** 3}`,
    'a thread that fails',
  );
});

t.test('a backend that the user has started: replaced where nothing lies in it, else kept', async (t) => {
  const own = `require(${JSON.stringify(require.resolve(PACKAGE))}); await tf.setBackend('wasm');`;
  t.equal(run(`${own} console.log((await hvd.selectBackend()).device)`).out, 'CPU (WebAssembly SIMD, 3 threads)');
  t.equal(
    run(`${own} const x = tf.tensor([4, 2]); console.log((await hvd.selectBackend()).device, x.dataSync().join())`).out,
    'CPU (WebAssembly SIMD, 1 thread: tensors were made on it before selectBackend was called) 4,2',
  );
});

t.test('selected again it stays; after a reset of the engine it starts anew', async (t) => {
  const { out } = run(`await hvd.selectBackend();
    const x = tf.tensor([4, 2]);
    console.log((await hvd.selectBackend()).device, x.dataSync().join());
    tf.engine().reset();
    await tf.setBackend('wasm');
    console.log(product(), (await hvd.selectBackend()).device)`);
  const device = 'CPU (WebAssembly SIMD, 3 threads)';
  t.same(out.split('\n'), [`${device} 4,2`, `${200 ** 3} ${device}`]);
});

t.test('the device in words', async (t) => {
  t.equal(deviceOf(1), 'CPU (WebAssembly SIMD, 1 thread)');
  t.equal(deviceOf(2), 'CPU (WebAssembly SIMD, 2 threads)');
  t.equal(deviceOf(1, 'no memory'), 'CPU (WebAssembly SIMD, 1 thread: no memory)');
});
