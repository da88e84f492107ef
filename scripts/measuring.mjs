// What the measuring scripts share: options, jobs and what rank 0 finds in them, the rates of links, medians, tables, how sizes and times are written, and the study's network with a batch for it.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const LIMIT_MS = 3_600_000;

/** What was built of `src/index.js`, say. */
export const built = async (name) => (await import(path.join(root, 'dist', name))).default;

/** @param defaults by option: its text, or the options of parseArgs. `-np` is --np. */
export function readOptions(defaults) {
  const options = Object.entries(defaults).map(([name, value]) => [
    name,
    typeof value === 'string' ? { type: 'string', default: value } : value,
  ]);
  const words = process.argv.slice(2).map((word) => (word === '-np' ? '--np' : word));
  return parseArgs({ args: words, options: Object.fromEntries(options) }).values;
}
export const hostsOption = { type: 'string', short: 'H', default: '' };

/** tsrun's words. @param hosts as for -H; none: this machine, however few its cores */
export const ranksOf = ({ np, hosts }) => ['-np', np, ...(hosts ? ['-H', hosts] : ['--oversubscribe'])];

/** Options again as words for a worker. */
export const wordsOf = (values) => Object.entries(values).map(([name, value]) => `--${name}=${value}`);

/** Standard output of a run of tsrun; standard error is shown. @throws Error its exit code is not 0 */
export function tsrun(words) {
  const { stdout, status, signal } = spawnSync(process.execPath, [path.join(root, 'dist/launcher/tsrun.js'), ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: LIMIT_MS,
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`tsrun ${words.join(' ')} ended with ${signal ?? `exit code ${status}`}: ${stdout?.slice(-2000)}`);
  return stdout;
}

/** What rank 0 has told with `tellResult`. @param where tsrun's words */
export function jobResult(where, program) {
  const stdout = tsrun([...where, ...program]);
  const line = /RESULT (.*)/.exec(stdout)?.[1];
  if (!line) throw new Error(`the job has no result: ${stdout.slice(-2000)}`);
  return JSON.parse(line);
}
export const tellResult = (hvd, result) => hvd.rank() === 0 && console.log(`RESULT ${JSON.stringify(result)}`);

/** The hosts of -H without their slots. @throws Error there are fewer than two */
export function hostNames(text) {
  const hosts = text.split(',').filter(Boolean);
  if (hosts.length < 2) throw new Error(`-H '${text}': it names two hosts or more, like -H h1,h2,h3,h4`);
  return hosts.map((host) => host.replace(/:\d+$/, ''));
}
/** tsrun's words for so many ranks on each of them. */
export const ranksOn = (hosts, perHost) => ['-np', `${hosts.length * perHost}`, '-H', hosts.map((host) => `${host}:${perHost}`).join(',')];

/** Bytes a second of a TCP stream from each host to the next, all at once (iperf3_ring.mjs), by the host that sends. */
export const ringGoodput = (hosts, seconds) =>
  jobResult(ranksOn(hosts, 1), [path.join(root, 'scripts/iperf3_ring.mjs'), hosts.join(','), seconds]);

/** Steps of true gradients whose computation is a wait (src/bench/throughput.ts). Of the steps of all ranks the median in ms, what of rank 0's was exposed communication, and bytes of gradients. @param where tsrun's words @param words the benchmark's */
export function emulatedSteps(where, words) {
  const stdout = tsrun([...where, path.join(root, 'dist/src/bench/throughput.js'), ...words]);
  const ms = /measured ([\d.]+) ms a step/.exec(stdout)?.[1];
  const megabytes = /, (\d+) MB of gradients/.exec(stdout)?.[1];
  if (!ms || !megabytes) throw new Error(`the training benchmark has told no times: ${stdout.slice(-2000)}`);
  const exposed = [...stdout.matchAll(/ (\d+) ms of it exposed/g)].map(([, found]) => Number(found));
  return { ms: Number(ms), exposedMs: median(exposed), bytes: Number(megabytes) * 1e6 };
}

/** Gbit/s. @throws Error one is no number > 0 */
export function ratesOf(text) {
  const rates = text.split(',').filter(Boolean).map(Number);
  if (rates.some((rate) => !(rate > 0))) throw new Error(`--rates '${text}': it is a list of numbers > 0, in Gbit/s, like 1,2.5`);
  return rates;
}
export const rateText = (rate) => (rate === undefined ? 'as they are' : `${rate} Gbit/s`);

/** Runs the command that sets the links, with the rate in the place of {}, as tc writes it (2500mbit). @param rate Gbit/s; undefined: links stay as they are @throws Error it fails */
export function shapeLinks(command, rate) {
  if (rate === undefined || !command) return;
  const { status } = spawnSync('sh', ['-c', command.replaceAll('{}', `${Math.round(1000 * rate)}mbit`)], {
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: LIMIT_MS,
  });
  if (status !== 0) throw new Error(`'${command}' ended with exit code ${status} at ${rateText(rate)}`);
}

/** Of an even number of figures the upper of the two in the middle. */
export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Median and range. */
export const spread = (numbers, digits) =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} … ${Math.max(...numbers).toFixed(digits)})`;

/** In Markdown, with an empty line before and after. */
export const tableText = (heads, rows) =>
  ['', ...[heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`), ''].join('\n');

export const sizeText = (bytes) => (bytes >= 1 << 20 ? `${bytes / 2 ** 20} MiB` : bytes >= 1024 ? `${bytes / 1024} KiB` : `${bytes} B`);
export const timeText = (us) => (us >= 1000 ? `${(us / 1000).toFixed(us >= 10_000 ? 1 : 2)} ms` : `${us.toFixed(us >= 10 ? 0 : 1)} µs`);

/** The network, its images and labels, on the backend that is in use. */
export async function studyTraining(tf, batch) {
  const { cifarNetwork } = await built('examples/cifar10/network.js');
  const { CLASSES, IMAGE_ELEMS, makeGratings, SIDE } = await built('examples/cifar10/data.js');
  const { pixels, labels } = makeGratings(batch, 1);
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [batch, SIDE, SIDE, IMAGE_ELEMS / (SIDE * SIDE)],
  );
  const ys = tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES).toFloat();
  return { model: cifarNetwork(1), xs, ys };
}
