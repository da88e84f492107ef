// What a training step through parameter servers costs in communication, beside theory: `node scripts/measure_servers.mjs -H h1,h2,h3,h4 --servers h5,h6,h7,h8 [--counts 2,4] [--network resnet50] [--iterations 5] [--rounds 3]`
// (after `npm run build`; hosts by ssh, one worker or server each; iperf3 on the hosts of workers).
//
// Gradients of true size, no computation (throughput.js --emulate-compute none; every step is verified). For n workers, M bytes and links of B bytes a second each way:
//   ring, colocated servers   2(n − 1)M / nB
//   k servers                 max(M / B, nM / kB)
// B is iperf3's between the first two hosts, in the same run. Printed: medians over steps, then over rounds (lowest … highest round), interleaved; the quotient is measured / theory.
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median } from './measuring.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const tsrun = path.join(root, 'dist/launcher/tsrun.js');
const option = (value) => ({ type: 'string', default: value });
const { values } = parseArgs({
  options: {
    hosts: { ...option(''), short: 'H' },
    servers: option(''),
    counts: option('2,4'),
    network: option('resnet50'),
    iterations: option('5'),
    rounds: option('3'),
  },
});
const hosts = values.hosts.split(',').filter(Boolean);
const servers = values.servers.split(',').filter(Boolean);
const counts = values.counts.split(',').map(Number);
if (hosts.length < Math.max(...counts) || servers.length < Math.max(...counts)) {
  process.stderr.write('-H and --servers name at least as many hosts as the largest of --counts.\n');
  process.exit(2);
}
const PORT = '5391';
const LIMIT_MS = 600_000;
const run = (...words) => spawnSync(process.execPath, [tsrun, ...words], { encoding: 'utf8', timeout: LIMIT_MS, maxBuffer: 1 << 26 });

/** Bytes a second one way between the first two hosts. */
async function goodput() {
  const server = spawn(process.execPath, [tsrun, '-np', '1', '-H', hosts[0], '--', 'iperf3', '-s', '-1', '-p', PORT], { stdio: 'ignore' });
  await setTimeout(3000);
  const { stdout, stderr } = run(
    '-np',
    '1',
    '-H',
    hosts[1],
    '--no-prefix',
    '--',
    'iperf3',
    '-c',
    hosts[0],
    '-p',
    PORT,
    '-t',
    '4',
    '-O',
    '1',
    '-J',
  );
  server.kill();
  try {
    return JSON.parse(stdout).end.sum_received.bits_per_second / 8;
  } catch {
    throw new Error(`iperf3 between ${hosts[1]} and ${hosts[0]}: ${stdout.slice(-500)}${stderr.slice(-1000)}`);
  }
}

function measure(n, { strategy, ps }) {
  const where = ps > 0 ? ['--ps', String(ps), '--ps-hosts', servers.slice(0, ps).join(',')] : [];
  const words = [
    '-np',
    String(n),
    '-H',
    hosts
      .slice(0, n)
      .map((host) => `${host}:1`)
      .join(','),
    ...where,
    '--strategy',
    strategy,
  ];
  const program = [path.join(root, 'dist/src/bench/throughput.js'), '--network', values.network, '--emulate-compute', 'none'];
  const { status, stdout, stderr } = run(...words, ...program, '--warmup', '1', '--iterations', values.iterations);
  const ms = /measured ([\d.]+) ms a step/.exec(stdout)?.[1];
  const megabytes = /, (\d+) MB of gradients/.exec(stdout)?.[1];
  if (status !== 0 || !ms) throw new Error(`${strategy}, ${n} workers, ${ps} servers: exit code ${status}\n${stderr.slice(-2000)}`);
  return { ms: Number(ms), bytes: Number(megabytes) * 1e6 };
}

const rowsOf = (n) => {
  const all = (bytes, rate) => (2 * (n - 1) * bytes) / (n * rate);
  const dedicated = (k) => (bytes, rate) => Math.max(bytes / rate, (n * bytes) / (k * rate));
  return [
    { title: 'ring', strategy: 'ring', ps: 0, theory: all },
    { title: 'colocated servers, sync', strategy: 'ps-sync', ps: 0, theory: all },
    { title: 'one server, sync', strategy: 'ps-sync', ps: 1, theory: dedicated(1) },
    { title: `${n} servers, sync`, strategy: 'ps-sync', ps: n, theory: dedicated(n) },
    { title: `${n} servers, async`, strategy: 'ps-async', ps: n, theory: dedicated(n) },
  ];
};

const rate = await goodput();
process.stdout.write(`link: ${((rate * 8) / 1e6).toFixed(0)} Mbit/s by iperf3; ${values.network}\n\n`);
process.stdout.write('| workers | strategy | measured, ms a step | theory, ms | quotient |\n| --- | --- | --- | --- | --- |\n');
for (const n of counts) {
  const rows = rowsOf(n).map((row) => ({ ...row, found: [] }));
  for (let round = 0; round < Number(values.rounds); round += 1) for (const row of rows) row.found.push(measure(n, row));
  for (const { title, theory, found } of rows) {
    const ms = found.map((one) => one.ms);
    const expected = 1000 * theory(found[0].bytes, rate);
    const text = `${median(ms).toFixed(0)} (${Math.min(...ms).toFixed(0)} … ${Math.max(...ms).toFixed(0)})`;
    process.stdout.write(`| ${n} | ${title} | ${text} | ${expected.toFixed(0)} | ${(median(ms) / expected).toFixed(2)} |\n`);
  }
}
