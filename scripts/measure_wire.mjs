// Allreduce over hosts with shaped links beside the bound: `node scripts/measure_wire.mjs -H h1,h2,h3,h4 [--rates 1,2.5 --shape 'COMMAND {}'] [--sizes 16M,64M,256M] [--per-host 1,2] [--rounds 3] [--iterations N] [--seconds 5] [--json FILE]`
// (after `npm run build`; hosts by ssh; iperf3 on all of them).
//
// A round, at each rate (Gbit/s; COMMAND sets the links before, with the rate in place of {} as tc writes it, 2500mbit; without --rates links are as they are):
//   goodput: iperf3, one TCP stream from each host to the next and from the last to the first, all at once, what the receivers got; of the flows the lowest and the median
//   time:    `tsrun bench allreduce` in place, with so many ranks a host, by turns; of a call the slowest rank counts, of the calls the median. Every element is verified: a wrong one ends the script with an error
// bound = 2(N − 1)/N · bytes / goodput for N hosts, however many ranks they have. Its share of the time is of one round, by the median flow, and by the lowest, which is what a ring can reach at most.
// Printed: medians over the rounds (lowest … highest); --json: all samples, machine, kernel, versions.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { allreduceBoundMs } from './link_bounds.mjs';
import {
  hostNames,
  hostsOption,
  median,
  ranksOn,
  ratesOf,
  rateText,
  readOptions,
  ringGoodput,
  shapeLinks,
  sizeText,
  spread,
  tableText,
  tsrun,
} from './measuring.mjs';

const values = readOptions({
  hosts: hostsOption,
  rates: '',
  shape: '',
  sizes: '16M,64M,256M',
  'per-host': '1,2',
  rounds: '3',
  iterations: '',
  seconds: '5',
  json: '',
});
const hosts = hostNames(values.hosts);

/** The benchmark's record, which rank 0 writes on its own host. @throws Error an element is wrong */
function benchmark(perHost) {
  const record = path.join(os.tmpdir(), `measure_wire-${process.pid}.json`);
  const iterations = values.iterations ? ['--iterations', values.iterations] : [];
  tsrun(['bench', 'allreduce', ...ranksOn(hosts, perHost), '--sizes', values.sizes, ...iterations, '--json', record]);
  const read = [...ranksOn(hosts.slice(0, 1), 1), '--no-prefix', '--', 'sh', '-c', `cat ${record}; rm ${record}`];
  const { rows, ...about } = JSON.parse(tsrun(read));
  const wrong = rows.reduce((sum, row) => sum + row.wrong, 0);
  if (wrong !== 0) throw new Error(`${wrong} elements are wrong with ${perHost} rank(s) a host`);
  return { ...about, rows: rows.filter(({ form }) => form === 'in-place') };
}

function drive() {
  const rates = values.rates ? ratesOf(values.rates) : [undefined];
  const perHosts = values['per-host'].split(',').map(Number);
  const found = [];
  let about;
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const rate of rates) {
      shapeLinks(values.shape, rate);
      const { flows, version } = ringGoodput(hosts, values.seconds);
      const times = [];
      for (let i = 0; i < perHosts.length; i += 1) {
        const perHost = perHosts[(round + i) % perHosts.length];
        const { rows, machine, versions, knobs, dtype, op } = benchmark(perHost);
        about = { machine, versions: { ...versions, iperf3: version }, knobs, dtype, op };
        times.push({ perHost, rows });
      }
      found.push({ round, rate, flows, times, load: os.loadavg()[0] });
      process.stderr.write(`round ${round + 1} of ${values.rounds}, links ${rateText(rate)}: done\n`);
    }
  }
  show(found, about, rates, perHosts);
  if (!values.json) return;
  const settings = { hosts: hosts.length, seconds: Number(values.seconds), rounds: Number(values.rounds) };
  writeFileSync(values.json, JSON.stringify({ kind: 'wire', collective: 'allreduce', form: 'in-place', ...settings, ...about, found }));
}

function show(found, { machine, versions, dtype, op }, rates, perHosts) {
  console.log(
    `Allreduce in place, ${dtype}, ${op}, over ${hosts.length} hosts; medians of ${values.rounds} rounds (lowest … highest). ${machine.cpu}, ${machine.cores} cores, ${machine.kernel}, TCP ${machine.congestionControl}; khorovod ${versions.khorovod}, Node ${versions.node}, ${versions.iperf3}. Every element verified.`,
  );
  const mbit = (bytes) => (8 * bytes) / 1e6;
  const flowRows = [];
  const rows = [];
  for (const rate of rates) {
    const rounds = found.filter((one) => one.rate === rate);
    const goodputs = rounds.map(({ flows }) => ({ lowest: Math.min(...flows), middle: median(flows) }));
    flowRows.push([
      rateText(rate),
      spread(
        goodputs.map(({ lowest }) => mbit(lowest)),
        1,
      ),
      spread(
        goodputs.map(({ middle }) => mbit(middle)),
        1,
      ),
    ]);
    const msOf = (perHost, i) => rounds.map(({ times }) => median(times.find((one) => one.perHost === perHost).rows[i].samplesUs) / 1000);
    for (const [i, { bytes }] of rounds[0].times[0].rows.entries()) {
      const bounds = (which) => goodputs.map((goodput) => allreduceBoundMs(hosts.length, bytes, goodput[which]));
      for (const perHost of perHosts) {
        const ms = msOf(perHost, i);
        const share = (which) =>
          spread(
            bounds(which).map((bound, round) => bound / ms[round]),
            3,
          );
        const single = perHost !== 1 && perHosts.includes(1) ? msOf(1, i) : undefined;
        const relative = single
          ? spread(
              ms.map((one, round) => one / single[round]),
              3,
            )
          : '';
        rows.push([
          rateText(rate),
          sizeText(bytes),
          perHost,
          median(bounds('middle')).toFixed(1),
          spread(ms, 1),
          share('middle'),
          share('lowest'),
          relative,
        ]);
      }
    }
  }
  console.log(tableText(['links', 'goodput, lowest flow (Mbit/s)', 'goodput, median flow (Mbit/s)'], flowRows));
  console.log(
    tableText(
      ['links', 'size', 'ranks a host', 'bound (ms)', 'time (ms)', 'bound / time', 'by the lowest flow', 'time / that of one rank a host'],
      rows,
    ),
  );
}

drive();
