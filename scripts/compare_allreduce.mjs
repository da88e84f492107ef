// Allreduce by khorovod, PyTorch's Gloo and Open MPI (TCP only, and its default), in alternation on the same sizes; prints medians over the rounds, their spread and the ratios.
//   node scripts/compare_allreduce.mjs [-np 2] [--sizes 1024,65536,1048576,67108864] [--rounds 3] [--json FILE] [--install]
// --install installs the peers (Debian packages python3-torch, openmpi-bin, libopenmpi-dev, gcc); without it those that are missing are left out, and named.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(here);
const { values } = parseArgs({
  args: process.argv.slice(2).map((word) => (word === '-np' ? '--np' : word)),
  options: {
    np: { type: 'string', default: '2' },
    sizes: { type: 'string', default: '1024,65536,1048576,16777216,67108864' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'string' },
    install: { type: 'boolean', default: false },
  },
});
const np = Number(values.np);
const sizes = values.sizes.split(',').map(Number);
const rounds = Number(values.rounds);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'khorovod-compare-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

function run(command, args, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (bytes) => (out += bytes));
    child.stderr.on('data', (bytes) => (err += bytes));
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${command} ended with ${code}: ${err.slice(-500)}`))));
  });
}
const works = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

if (values.install) {
  spawnSync('apt-get', ['update'], { stdio: 'inherit' });
  spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'python3-torch', 'openmpi-bin', 'libopenmpi-dev', 'gcc', 'libc6-dev'], {
    stdio: 'inherit',
  });
}

/** Each gives bytes → { form: median µs }. */
const parsed = (name) => (out) =>
  new Map(
    out
      .trim()
      .split('\n')
      .map((line) => line.split(' ').map(Number))
      .map(([bytes, us]) => [bytes, { [name]: us }]),
  );
const contenders = [
  {
    name: 'khorovod',
    available: true,
    async run() {
      const json = path.join(folder, 'own.json');
      await run(process.execPath, [
        'dist/launcher/tsrun.js',
        'bench',
        'allreduce',
        '-np',
        String(np),
        '--sizes',
        sizes.join(','),
        '--tensors',
        '--json',
        json,
      ]);
      const found = new Map(sizes.map((bytes) => [bytes, {}]));
      for (const { bytes, form, samplesUs, wrong } of JSON.parse(fs.readFileSync(json, 'utf8')).rows) {
        if (wrong) throw new Error(`khorovod: ${wrong} wrong elements at ${bytes} bytes`);
        found.get(bytes)[`khorovod ${form}`] = samplesUs.sort((a, b) => a - b)[Math.floor(samplesUs.length / 2)];
      }
      return found;
    },
  },
  // As it comes, not bound to processors: bound it takes five times as long for small tensors and as long for large ones.
  {
    name: 'PyTorch Gloo',
    available: works('/usr/bin/python3', '-c', 'import torch.distributed'),
    async run() {
      const file = path.join(folder, `meet-${Math.random()}`);
      const env = (rank) => ({
        RANK: String(rank),
        WORLD: String(np),
        RENDEZVOUS_FILE: file,
        GLOO_SOCKET_IFNAME: 'lo',
        OMP_NUM_THREADS: '1',
      });
      const [out] = await Promise.all(
        Array.from({ length: np }, (_, rank) =>
          run('/usr/bin/python3', [path.join(here, 'peers/torch_gloo.py'), ...sizes.map(String)], env(rank)),
        ),
      );
      return parsed('PyTorch Gloo')(out);
    },
  },
  ...[
    ['Open MPI TCP', ['--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo']],
    ['Open MPI default', []],
  ].map(([name, options]) => ({
    name,
    available: works('mpicc', '--version') && works('mpirun', '--version'),
    async run() {
      const binary = path.join(folder, 'mpi_allreduce');
      if (!fs.existsSync(binary)) await run('mpicc', ['-O3', path.join(here, 'peers/mpi_allreduce.c'), '-o', binary]);
      const env = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
      return parsed(name)(
        await run(
          'mpirun',
          [
            '--oversubscribe',
            '--bind-to',
            np <= os.availableParallelism() ? 'core' : 'none',
            '-np',
            String(np),
            ...options,
            binary,
            ...sizes.map(String),
          ],
          env,
        ),
      );
    },
  })),
];

const samples = new Map(); // name → bytes → [µs a round]
for (let round = 0; round < rounds; round += 1) {
  for (const contender of contenders.filter(({ available }) => available)) {
    for (const [bytes, found] of await contender.run()) {
      for (const [name, us] of Object.entries(found)) {
        if (!samples.has(name)) samples.set(name, new Map());
        const own = samples.get(name);
        own.set(bytes, [...(own.get(bytes) ?? []), us]);
      }
    }
    console.error(`round ${round + 1} of ${rounds}: ${contender.name}`);
  }
}
for (const { name } of contenders.filter(({ available }) => !available)) console.log(`${name}: not installed (--install)`);

const base = 'khorovod in-place';
console.log(
  `\n${np} ranks, ${rounds} rounds in alternation; median µs (lowest–highest), GB/s, and how many times as fast khorovod in place is in the same round (median of the rounds)`,
);
for (const bytes of sizes) {
  console.log(`\n${bytes} bytes`);
  for (const [name, bySize] of samples) {
    const list = bySize.get(bytes) ?? [];
    const ratio = median(list.map((us, round) => us / samples.get(base).get(bytes)[round]));
    const us = median(list);
    console.log(
      `  ${name.padEnd(24)}${us.toFixed(1).padStart(12)} (${Math.min(...list).toFixed(1)}–${Math.max(...list).toFixed(1)})`.padEnd(66) +
        `${(bytes / us / 1e3).toFixed(3).padStart(9)} GB/s  ×${ratio.toFixed(2)}`,
    );
  }
}
if (values.json) {
  fs.mkdirSync(path.dirname(values.json), { recursive: true });
  fs.writeFileSync(
    values.json,
    JSON.stringify(
      {
        np,
        rounds,
        cpu: os.cpus()[0]?.model,
        cores: os.cpus().length,
        kernel: os.release(),
        node: process.version,
        samples: Object.fromEntries([...samples].map(([name, bySize]) => [name, Object.fromEntries(bySize)])),
      },
      null,
      1,
    ),
  );
}
