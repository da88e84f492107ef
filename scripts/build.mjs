// Builds dist/: protobuf static code, TypeScript, what ranks load, the executable bits. Run by `npm ci` (prepare) and `npm run build`.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const bin = (name) => path.join(root, 'node_modules', '.bin', name);
const newest = (...files) => Math.max(...files.map((file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0));

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const proto = 'src/wire/messages.proto';
const generated = 'src/wire/generated';
const [js, types] = [`${generated}/messages.js`, `${generated}/messages.d.ts`];
if (newest(path.join(root, js)) <= newest(path.join(root, proto))) {
  fs.mkdirSync(path.join(root, generated), { recursive: true });
  // --force-number without 64-bit fields: no Long objects (a uint64 would decode to one although typed `number`).
  run(
    bin('pbjs'),
    '-t',
    'static-module',
    '-w',
    'commonjs',
    '--dts',
    '--force-number',
    '--no-service',
    '--no-verify',
    '--no-delimited',
    '--no-convert',
    '-o',
    js,
    proto,
  );
}
run(bin('tsc'), '-p', '.');
// tsc does not copy hand-placed JavaScript, nor the fonts of the plots and the programs that other libraries are measured by.
fs.mkdirSync(path.join(root, 'dist', generated), { recursive: true });
for (const file of [js, types]) fs.copyFileSync(path.join(root, file), path.join(root, 'dist', file));

for (const name of ['allreduce_mpi.c', 'allreduce_gloo.cc', 'allreduce_torch.py'])
  fs.copyFileSync(path.join(root, 'src/bench/peers', name), path.join(root, 'dist/src/bench/peers', name));
fs.cpSync(path.join(root, 'src/bench/fonts'), path.join(root, 'dist/src/bench/fonts'), { recursive: true });

// A rank loads one file a thread instead of some hundred and fifty: 64 ranks on two cores reach their first barrier a fifth sooner.
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    main_thread: 'src/index.ts',
    comm_thread: 'src/engine/comm_thread.ts',
    server_thread: 'src/engine/server_thread.ts',
    pool_thread: 'src/tensorflow/backends/wasm/simd/pool_thread.ts',
  },
  outdir: 'dist/rank',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // koffi has a binary of its own for each system.
  external: ['@tensorflow/*', 'koffi'],
  metafile: true,
  logLevel: 'warning',
});
// `import` of a CommonJS file has Node search its whole text for the names it exports, 40 ms here; in this one they are all there is to read.
const names = Object.keys(createRequire(import.meta.url)('../dist/rank/main_thread.js'));
fs.writeFileSync(
  path.join(root, 'dist/rank/index.js'),
  `"use strict";\nconst khorovod = require('./main_thread.js');\nmodule.exports = khorovod;\n0 && (module.exports = { ${names.join(', ')} });\n`,
);
const bundled = new Set(Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []));
const licenses = [...bundled]
  .sort()
  .map((name) => `${name}\n\n${fs.readFileSync(path.join(root, 'node_modules', name, 'LICENSE'), 'utf8')}`);
fs.writeFileSync(path.join(root, 'dist/rank/LICENSES.txt'), licenses.join('\n\n'));

fs.chmodSync(path.join(root, 'dist/launcher/tsrun.js'), 0o755);
// npm links the programs of a package's dependencies, not its own: without this `npx tsrun` in a checkout first installs the checkout into npx's cache, half a minute.
const link = path.join(root, 'node_modules/.bin/tsrun');
fs.rmSync(link, { force: true });
fs.symlinkSync('../../dist/launcher/tsrun.js', link);
