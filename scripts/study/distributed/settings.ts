/** The command line of the distributed study: its own options, and those that are handed on to tsrun and to the training benchmark. Pure. */

import { splitWords } from '../../../launcher/words';
import { type NetworkName, networkNames } from '../../../src/bench/models/networks';
import { computeOf } from '../../../src/bench/profiles';
import { readThroughputArgs } from '../../../src/bench/throughput_args';
import { UsageError } from '../../../src/errors';
import { type Strategy, strategyOf } from './strategies';

export interface StudySettings {
  networks: NetworkName[];
  strategies: Strategy[];
  workers: number[];
  repeats: number;
  folder: string;
  iterations: number;
  batchSize: number;
  /** A profile whose computation is waited for; undefined: it is real. */
  emulate?: string;
  slowDown: number;
  /** Of all hosts together. */
  memoryBytes?: number;
  /** Of each host. */
  memoryPerHostBytes?: number;
  /** What the link of a host carries one way, in 10⁹ bit/s; undefined: as the runs without computation show it. */
  linkGbit?: number;
  /** Where parameter servers run that have hosts of their own; undefined: on hosts without ranks. */
  psHosts?: string;
  runsFailedAgain: boolean;
  isDryRun: boolean;
  /** Words for the benchmark, but for `--network`. */
  benchmark: string[];
  /** Words for tsrun. */
  tsrun: string[];
}
export type StudyCommand = { kind: 'help' } | { kind: 'report'; folder: string } | { kind: 'study'; settings: StudySettings };

/** Without communication and without computation stand beside every strategy. */
export const DEFAULT_STRATEGIES = ['ring', 'ps-sync@1', 'ps-async@1', 'ps-sync@colocated', 'ps-async@colocated'];
const DEFAULT_WORKERS = [1, 2, 4, 8, 16];
const DEFAULT_FOLDER = 'results/study/distributed';
/** Handed on to the benchmark as they are. */
const ofBenchmark = [
  'iterations',
  'warmup',
  'batch-size',
  'image-size',
  'classes',
  'data-workers',
  'optimizer',
  'lr',
  'seed',
  'emulate-compute',
  'slow-down',
];
const withValue = [
  'networks',
  'strategies',
  'workers',
  'repeats',
  'out',
  'memory',
  'memory-per-host',
  'link-gbit',
  'report',
  ...ofBenchmark,
];
const switches = ['again-failed', 'dry-run', 'help'];
/** What belongs to a run of the study, not to all. */
const refused: Readonly<Record<string, string>> = {
  np: 'worker counts are named by --workers',
  'num-proc': 'worker counts are named by --workers',
  strategy: 'name them by --strategies',
  ps: 'a strategy says how many servers it has: --strategies ps-sync@2',
};

export const studyHelp = `node scripts/study/distributed.mjs [options] [options of tsrun, such as -H]

  --networks A,B,…         ${networkNames.join(', ')} (all)
  --strategies A,B,…       ring; ps-sync@K, ps-async@K, ps-ssp:S@K with K servers on hosts of their own, @n: as many as workers, @colocated: one beside each worker
                           (${DEFAULT_STRATEGIES.join(',')})
  --workers 1,2,…          (${DEFAULT_WORKERS.join(',')})
  --iterations, --warmup, --batch-size, --image-size, --classes, --data-workers, --optimizer, --lr, --seed: of dist/src/bench/throughput.js (500, 10, 32, …)
  --emulate-compute P      computation is a wait as long as profile P says (k80, or a JSON file); --slow-down F: F times as long, for links that are as much slower
  --repeats R              runs of each combination (1)
  --memory GIB             of all hosts together; --memory-per-host GIB: of each. What does not fit is left out and named (of this machine alone: what is free)
  --link-gbit G            what a host's link carries one way (as the runs without computation show it)
  --ps-hosts LIST          for servers with hosts of their own (hosts without workers)
  --out DIR                where everything is kept (${DEFAULT_FOLDER}); the same command goes on with what was stopped
  --again-failed           runs that have failed are run once more
  --dry-run                what would run
  --report DIR             draws tables and figures of DIR anew`;

/** @throws UsageError, LaunchError a word is wrong; what it was and what it has to be */
export function readStudyArguments(words: readonly string[]): StudyCommand {
  const options = new Map([...withValue.map((name) => [name, true] as const), ...switches.map((name) => [name, false] as const)]);
  const { own, command } = splitWords(words, options);
  if (command.length > 0) throw new UsageError(`The study takes no '${command[0]}': it has options only (--help).`);
  const given = new Map<string, string>();
  const tsrun: string[] = [];
  for (const word of own) {
    const [, name = '', value = ''] = /^--?([^=]+)=?(.*)$/s.exec(word) ?? [];
    if (Object.hasOwn(refused, name)) throw new UsageError(`The study has no --${name}: ${refused[name]}.`);
    if (options.has(name) || name === 'ps-hosts') given.set(name, value);
    else tsrun.push(word);
  }
  if (given.has('help')) return { kind: 'help' };
  const report = given.get('report');
  if (report !== undefined) {
    if (own.length > 1) throw new UsageError('--report DIR draws what DIR holds and takes no other option.');
    return { kind: 'report', folder: report };
  }
  const networks = listOf(given, 'networks', networkNames) as NetworkName[];
  const benchmark = ofBenchmark.flatMap((name) => (given.has(name) ? [`--${name}=${given.get(name)}`] : []));
  // Before anything starts: what the benchmark would refuse for its words, of each network.
  const [first] = networks.map((network) => {
    const read = readThroughputArgs(['--network', network, ...benchmark]);
    if (read.emulate !== undefined) computeOf(read.emulate, network, { ...read, imageSize: read.size });
    return read;
  });
  const { iterations, batchSize, emulate, slowDown } = first!;
  const settings: StudySettings = {
    networks,
    strategies: ['no-communication', 'no-computation', ...listOf(given, 'strategies', DEFAULT_STRATEGIES)].map(strategyOf),
    workers: listOf(given, 'workers', DEFAULT_WORKERS.map(String))
      .map((text) => whole('--workers', text))
      .sort((a, b) => a - b),
    repeats: whole('--repeats', given.get('repeats') ?? '1'),
    folder: given.get('out') ?? DEFAULT_FOLDER,
    iterations,
    batchSize,
    emulate,
    slowDown,
    memoryBytes: gibibytes(given, 'memory'),
    memoryPerHostBytes: gibibytes(given, 'memory-per-host'),
    linkGbit: given.has('link-gbit') ? positive('--link-gbit', given.get('link-gbit')!) : undefined,
    psHosts: given.get('ps-hosts'),
    runsFailedAgain: given.has('again-failed'),
    isDryRun: given.has('dry-run'),
    benchmark,
    tsrun,
  };
  return { kind: 'study', settings };
}

function listOf(given: ReadonlyMap<string, string>, name: string, fallback: readonly string[]): string[] {
  const text = given.get(name);
  if (text === undefined) return [...fallback];
  const words = text.split(',').map((word) => word.trim());
  const twice = words.find((word, i) => words.indexOf(word) < i);
  if (words.includes('') || twice !== undefined)
    throw new UsageError(
      `--${name} is '${text}': ${twice === undefined || twice === '' ? 'something is missing beside a comma' : `${twice} is named twice`}.`,
    );
  return words;
}

function whole(option: string, text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new UsageError(`${option} is '${text}', but must be a whole number >= 1.`);
  return Number(text);
}
function positive(option: string, text: string): number {
  if (!(Number(text) > 0 && Number.isFinite(Number(text)))) throw new UsageError(`${option} is '${text}', but must be a number > 0.`);
  return Number(text);
}
const gibibytes = (given: ReadonlyMap<string, string>, name: string): number | undefined =>
  given.has(name) ? positive(`--${name}`, given.get(name)!) * 2 ** 30 : undefined;
