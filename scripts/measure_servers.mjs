// What a training step through parameter servers costs in communication, beside theory: `node scripts/measure_servers.mjs -H h1,h2,h3,h4 --servers h5,h6,h7,h8 [--counts 2,4] [--network resnet50] [--iterations 5] [--rounds 3]`
// (after `npm run build`; hosts by ssh, one worker or server each; iperf3 on the hosts of workers).
//
// Gradients of true size, no computation (throughput.js --emulate-compute none; every step is verified). For n workers, M bytes and links of B bytes a second each way:
//   ring, colocated servers   2(n − 1)M / nB
//   k servers                 max(M / B, nM / kB)
// B is iperf3's between the first two hosts, both ways at once, the slower way, in the same run. Printed: medians over steps, then over rounds (lowest … highest round), interleaved; the quotient is measured / theory.
import { emulatedSteps, hostNames, hostsOption, median, ranksOn, readOptions, ringGoodput, spread, tableText } from './measuring.mjs';

const values = readOptions({ hosts: hostsOption, servers: '', counts: '2,4', network: 'resnet50', iterations: '5', rounds: '3' });
const hosts = hostNames(values.hosts);
const servers = values.servers.split(',').filter(Boolean);
const counts = values.counts.split(',').map(Number);
if (hosts.length < Math.max(...counts) || servers.length < Math.max(...counts)) {
  process.stderr.write('-H and --servers name at least as many hosts as the largest of --counts.\n');
  process.exit(2);
}

function measure(n, { strategy, ps }) {
  const where = ps > 0 ? ['--ps', `${ps}`, '--ps-hosts', servers.slice(0, ps).join(',')] : [];
  return emulatedSteps(
    [...ranksOn(hosts.slice(0, n), 1), ...where, '--strategy', strategy],
    ['--network', values.network, '--emulate-compute', 'none', '--warmup', '1', '--iterations', values.iterations],
  );
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

const rate = Math.min(...ringGoodput(hosts.slice(0, 2), '5').flows);
process.stdout.write(`link: ${((rate * 8) / 1e6).toFixed(0)} Mbit/s by iperf3; ${values.network}\n`);
const lines = [];
for (const n of counts) {
  const rows = rowsOf(n).map((row) => ({ ...row, found: [] }));
  for (let round = 0; round < Number(values.rounds); round += 1) for (const row of rows) row.found.push(measure(n, row));
  for (const { title, theory, found } of rows) {
    const ms = found.map((one) => one.ms);
    const expected = 1000 * theory(found[0].bytes, rate);
    lines.push([n, title, spread(ms, 0), expected.toFixed(0), (median(ms) / expected).toFixed(2)]);
  }
}
process.stdout.write(tableText(['workers', 'strategy', 'measured, ms a step', 'theory, ms', 'quotient'], lines));
