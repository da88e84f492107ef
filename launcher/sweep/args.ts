/**
 * The command line of `tsrun sweep`. Pure.
 *
 * -np and --strategy are lists here, the sweep's own options stand among a job's, and all other options are handed on to each job. Every job of the sweep is parsed, and its hosts are asked for
 * slots, before any is started: what a job would refuse for its words, the sweep refuses at once.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { knobs, readConfig } from '../../src/config';
import { quoted } from '../agent_command';
import { LaunchError } from '../errors';
import { assign } from '../hosts';
import type { RunRequest } from '../request';
import type { Outside } from '../settings';
import { splitWords } from '../words';
import { type Asked, cellsOf, jobWords, type Vary } from './plan';

export interface SweepRequest {
  readonly asked: Asked;
  /** Whose number is the throughput; undefined: chosen when there are some. */
  readonly metric?: string;
  readonly folder: string;
  readonly runsFailedAgain: boolean;
  readonly isDryRun: boolean;
  /** For the record. */
  readonly commandLine: string;
  readonly cwd: string;
}

/** Option → what its value is; undefined: a switch. */
const own: Readonly<Record<string, string | undefined>> = {
  repeats: 'a whole number >= 1',
  out: 'a folder',
  vary: "NAME=V1,V2,…: an option of the script's, without dashes, and its values",
  metric: 'the name of a number that ranks report',
  'again-failed': undefined,
};
const DEFAULT_REPEATS = 5;
/** Options of a job that one job after the other would write over, or that a sweep cannot start. */
const refused: Readonly<Record<string, string>> = {
  'output-filename': 'each run has its log in the folder of the sweep',
  'timeline-filename': 'one run would write over the other: trace a job alone',
  nnodes: 'a sweep starts its jobs from here: name the hosts with -H',
  'check-build': 'it belongs to tsrun alone',
  version: 'it belongs to tsrun alone',
};

export const sweepHelp = `tsrun sweep -np N1,N2,… [options] script.ts [arguments of the script]
tsrun sweep -np N1,N2,… [options] -- any command

Runs the same job at each worker count (and strategy, and value of an option), several times, interleaved; collects what
the ranks report with hvd.report({ imagesPerSec }), and writes into one folder: sweep.json, throughput and
scaling efficiency as SVG and PNG, report.html, and a log of each run. Stopped by Ctrl-C or killed, the same command
goes on where it was. A run that fails is recorded, and the sweep goes on.

  -np N1,N2,…          worker counts
  --strategy S1,S2,…   ring, ps-sync, ps-async, ps-ssp:S (what the jobs choose themselves)
  --vary NAME=V1,V2,…  the script gets --NAME V1, --NAME V2, …; repeatable: all combinations
  --repeats R          runs of each combination (${DEFAULT_REPEATS})
  --out DIR            where everything is kept (sweep-<script>)
  --metric NAME        which reported number is the throughput (imagesPerSec, else the first number)
  --again-failed       runs that have failed are run once more
  --dry-run            print what would run, start nothing
All other options of tsrun are handed on to each job. Exit code: 0, 1 where a run has failed, 2 where something is refused.`;

/** @throws LaunchError (exit 2, or 4: too few slots) anything that a job of it, or the sweep itself, would refuse */
export function parseSweep(
  words: readonly string[],
  outside: Outside,
  parseJob: (words: readonly string[]) => RunRequest,
): { kind: 'help'; text: string } | { kind: 'sweep'; request: SweepRequest } {
  const split = splitWords(words, new Map(Object.entries(own).map(([name, expects]) => [name, expects !== undefined])));
  const given = new Map<string, string[]>();
  const options: string[] = [];
  for (const word of split.own) {
    const [, name = '', value = ''] = /^--?([^=]+)=?(.*)$/s.exec(word) ?? [];
    const key = name === 'num-proc' ? 'np' : name;
    if (Object.hasOwn(refused, key)) throw new LaunchError(`tsrun sweep has no --${key}: ${refused[key]}`);
    if (Object.hasOwn(own, key) || ['np', 'strategy', 'dry-run', 'help'].includes(key)) given.set(key, [...(given.get(key) ?? []), value]);
    else options.push(word);
  }
  if (given.has('help')) return { kind: 'help', text: sweepHelp };
  const last = (name: string): string | undefined => given.get(name)?.at(-1);
  const { command, isAny } = split;
  const vary = (given.get('vary') ?? []).map((text) => varyOf(text));
  distinct(
    '--vary',
    vary.map(({ name }) => name),
  );
  for (const { name } of vary)
    if (command.some((word) => word.replace(/^--?/, '').split('=', 1)[0] === name && word.startsWith('-')))
      throw new LaunchError(`--vary ${name}: the script is given --${name} besides; leave it out there`);
  const partial = {
    workers: workersOf(last('np')),
    strategies: list('--strategy', last('strategy') ?? knobs.strategy.fallback),
    isStrategyGiven: given.has('strategy'),
    vary,
    repeats: repeatsOf(last('repeats')),
    options,
    command,
    isAnyCommand: isAny,
    scriptSha256: '',
    hosts: [],
    knobs: {},
  } satisfies Asked;
  const jobs = cellsOf(partial).map((cell) => {
    const job = parseJob(jobWords(partial, cell));
    // As the job does: too few slots are an error of their own.
    assign(job.np, job.hosts ?? [{ host: 'localhost', slots: job.np }], { oversubscribe: job.oversubscribe });
    return job;
  });
  const asked: Asked = { ...partial, ...factsOf(jobs[0]!, partial, outside) };
  const script = path.basename(command[0]!).replace(/\.[^.]+$/, '');
  const request: SweepRequest = {
    asked,
    metric: last('metric') || undefined,
    folder: path.resolve(outside.cwd, last('out') ?? `sweep-${script}`),
    runsFailedAgain: given.has('again-failed'),
    isDryRun: given.has('dry-run'),
    commandLine: ['tsrun', 'sweep', ...words].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : quoted(word))).join(' '),
    cwd: outside.cwd,
  };
  return { kind: 'sweep', request };
}

/** What the jobs make of their options. @throws LaunchError a variable that does not parse */
function factsOf(job: RunRequest, { isStrategyGiven, strategies }: Asked, outside: Outside): Partial<Asked> {
  let config: Record<string, unknown>;
  try {
    config = readConfig(job.env) as unknown as Record<string, unknown>;
  } catch (error) {
    throw new LaunchError((error as Error).message);
  }
  const ofUsers = Object.entries(knobs).filter(([name, knob]) => !('setByTsrun' in knob && knob.setByTsrun) && name !== 'strategy');
  const values = ofUsers.map(([name, { env }]) => [env, config[name] ?? ''] as const);
  return {
    strategies: isStrategyGiven ? strategies : [String(config.strategy)],
    knobs: Object.fromEntries(values),
    hosts: (job.hosts ?? []).map(({ host, slots }) => (slots === undefined ? host : `${host}:${slots}`)),
    scriptSha256: job.isScript ? textHash(path.resolve(job.wdir, job.command[0]!), outside) : '',
  };
}

/** @throws LaunchError it cannot be read */
function textHash(script: string, outside: Outside): string {
  try {
    return createHash('sha256').update(outside.readText(script)).digest('hex');
  } catch (error) {
    throw new LaunchError(`the script ${script} cannot be read: ${(error as Error).message}`);
  }
}

function workersOf(text: string | undefined): number[] {
  if (text === undefined) throw new LaunchError('how many processes? A sweep has a list of them: tsrun sweep -np 1,2,4 script.ts');
  const counts = list('-np', text).map((word) => {
    if (!/^[1-9]\d{0,6}$/.test(word)) throw new LaunchError(`-np is '${text}', but must be a list of whole numbers >= 1, as in 1,2,4`);
    return Number(word);
  });
  return counts.sort((a, b) => a - b);
}

function repeatsOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_REPEATS;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new LaunchError(`--repeats is '${text}', but must be ${own.repeats}`);
  return Number(text);
}

function varyOf(text: string): Vary {
  const [, name, values] = /^(?:--?)?([A-Za-z0-9_][\w.-]*)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || values === undefined) throw new LaunchError(`--vary is '${text}', but must be ${own.vary}`);
  return { name, values: list(`--vary ${name}`, values) };
}

function list(option: string, text: string): string[] {
  const words = text.split(',').map((word) => word.trim());
  if (words.includes('')) throw new LaunchError(`${option} is '${text}': something is missing beside a comma`);
  return distinct(option, words);
}

function distinct(option: string, words: string[]): string[] {
  const twice = words.find((word, i) => words.indexOf(word) < i);
  if (twice !== undefined) throw new LaunchError(`${option} names ${twice} twice`);
  return words;
}
