/**
 * From the words of the command line to what is to be done. Pure: files and environment are given.
 *
 * tsrun's own options end at the first word that is no option: that is the script, and everything behind it is the script's, whatever it looks like. So the words are split
 * first, by the table of options; yargs sees tsrun's own only. What is wrong is a LaunchError (exit 2) of one line that says what was given and what is expected.
 */
import path from 'node:path';
import yargs from 'yargs';
import { type Knob, knobs } from '../src/config';
import { interfaceFilter } from '../src/rendezvous/interfaces';
import { MAKE_KEY } from '../src/rendezvous/key_file';
import { splitCommand } from './agent_command';
import { assignment, parseEnvFile } from './assignments';
import { collectives, splitBench, splitCalibrate } from './bench_words';
import { readConfigFile } from './config_file';
import { LaunchError } from './errors';
import { type HostSpec, parseHostfile, parseHosts } from './hosts';
import { type InstallRequest, parseInstall } from './install_tfjs_node/request';
import type { NodesOptions } from './nodes';
import { type Option, spellings } from './options';
import type { PinningOptions } from './pinning';
import type { ReachOptions } from './reach';
import { hostsOfMpiOperator } from './schedulers/kubernetes';
import { hostsOfAllocation, srunCommand } from './schedulers/slurm';
import { parseSweep, type SweepRequest } from './sweep/args';
import { RUN_OF_SWEEP } from './sweep/messages';
import { dashed, splitWords } from './words';

/** What the parser sees of the world. */
export interface Outside {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** @throws the system's error */
  readText(file: string): string;
  isFile(file: string): boolean;
}

export interface RunRequest {
  readonly np: number;
  /** undefined: this machine, as many slots as are needed. */
  readonly hosts?: readonly HostSpec[];
  readonly oversubscribe: boolean;
  /** Parameter servers. */
  readonly ps: number;
  /** undefined: those of the job. */
  readonly psHosts?: readonly HostSpec[];
  readonly command: readonly string[];
  /** The command is a script that node runs; otherwise any command. */
  readonly isScript: boolean;
  /** A script of this package. */
  readonly isOwn: boolean;
  readonly isDryRun: boolean;
  readonly isVerbose: boolean;
  readonly timeoutSeconds?: number;
  readonly startTimeoutSeconds: number;
  readonly peerTimeoutSeconds: number;
  readonly networkInterface?: string;
  readonly tls: boolean;
  readonly portRange?: { first: number; last: number };
  readonly wdir: string;
  readonly pinning: PinningOptions;
  readonly keepsGoing: boolean;
  readonly forwardsStdin: boolean;
  readonly outputFolder?: string;
  readonly hasPrefix: boolean;
  readonly hasTimestamp: boolean;
  /** The environment of this machine's ranks, but for who they are. */
  readonly env: Record<string, string>;
  /** What another host's own environment lacks: what options set, and Horovod's and our variables. */
  readonly addedEnv: Record<string, string>;
  readonly ssh: ReachOptions['ssh'];
  /** One tsrun a host. */
  readonly nodes?: NodesOptions;
  readonly rsh?: ReachOptions['rsh'];
  readonly awaitsHosts: boolean;
  /** To be said once, before the job. */
  readonly notices: readonly string[];
}

export type CommandLine =
  | { readonly kind: 'version' | 'check-build' }
  /** Of a subcommand that has options of its own. */
  | { readonly kind: 'help'; readonly text?: string }
  /** `isOfSweep`: the process that started this one is told what ranks report, and how it ends. */
  | { readonly kind: 'run'; readonly request: RunRequest; readonly isOfSweep: boolean }
  | { readonly kind: 'sweep'; readonly request: SweepRequest }
  /** A program of ours that runs as the job. */
  | { readonly kind: 'bench'; readonly request: RunRequest }
  /** A program of ours that starts such jobs, and those of other libraries by turns with them. */
  | { readonly kind: 'compare'; readonly words: readonly string[] }
  /** Would a job with these options start? */
  | { readonly kind: 'doctor'; readonly request: RunRequest; readonly isJson: boolean }
  /** Makes tfjs-node work in the project of this folder. */
  | { readonly kind: 'install-tfjs-node'; readonly request: InstallRequest };

const scriptKinds = ['.ts', '.mts', '.cts', '.tsx', '.js', '.mjs', '.cjs'];
const laterCommands = ['analyze'];

/** @throws LaunchError */
export function parseCommandLine(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  const [first] = words;
  if (first !== undefined && laterCommands.includes(first) && !outside.isFile(path.resolve(outside.cwd, first)))
    throw new LaunchError(`tsrun ${first} comes with a later version of khorovod`);
  if (first === 'sweep') return parseSweep(words.slice(1), outside, (job) => runRequestOf(job, outside));
  if (first === RUN_OF_SWEEP) return { kind: 'run', request: runRequestOf(words.slice(1), outside), isOfSweep: true };
  if (first === 'bench') return parseBench(words.slice(1), outside, benchScript);
  if (first === 'doctor') return parseDoctor(words.slice(1), outside);
  if (first === 'install-tfjs-node') {
    const request = parseInstall(words.slice(1), outside.cwd);
    return request ? { kind: 'install-tfjs-node', request } : { kind: 'help' };
  }
  return parseRun(words.slice(first === 'run' ? 1 : 0), outside);
}

function parseRun(words: readonly string[], outside: Outside): CommandLine {
  const { own, command, isAny } = splitWords(words);
  const given = parseOwn(own);
  for (const kind of ['help', 'version', 'check-build'] as const) if (given.get(optionOf(kind))?.at(-1) === 'true') return { kind };
  return { kind: 'run', request: jobOf(given, command, isAny, outside), isOfSweep: false };
}

/** A job alone: what asks for help or the version has no meaning there. */
function runRequestOf(words: readonly string[], outside: Outside): RunRequest {
  const { own, command, isAny } = splitWords(words);
  return jobOf(parseOwn(own), command, isAny, outside);
}

function jobOf(given: ReadonlyMap<Option, string[]>, command: readonly string[], isAny: boolean, outside: Outside): RunRequest {
  const settings = checkedSettings(given, outside);
  const wdir = path.resolve(outside.cwd, settings.text('wdir') ?? '.');
  return requestOf(settings, { command, isScript: isScript(command, isAny, wdir, outside), isOwn: false, wdir }, outside);
}

/** Rank 0 alone prints: no prefixes. */
function setBenchDefaults(given: Map<Option, string[]>): void {
  if (!given.has(optionOf('np'))) given.set(optionOf('np'), ['2']);
  if (!given.has(optionOf('prefix'))) given.set(optionOf('prefix'), ['false']);
}

/** The benchmark's options may stand among tsrun's. */
function parseBench(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  if (words.some((word) => /^--calibrate(=|$)/.test(word))) return parseCalibrate(words, outside, benchScript);
  const { collective, own, ofBench, isComparison } = splitBench(words);
  const split = splitWords(own);
  if (split.command.length > 0) throw new LaunchError(`tsrun bench ${collective ?? ''}: '${split.command[0]}' is no option of it`);
  const given = parseOwn(split.own);
  if (given.get(optionOf('help'))?.at(-1) === 'true') return { kind: 'help' };
  if (collective === undefined) throw new LaunchError(`tsrun bench measures one of ${collectives.join(', ')}: which?`);
  setBenchDefaults(given);
  const settings = checkedSettings(given, outside);
  const what = { command: [benchScript, collective, ...ofBench], isScript: true, isOwn: true, wdir: outside.cwd };
  const request = requestOf(settings, what, outside);
  if (!isComparison) return { kind: 'bench', request };
  if (request.hosts !== undefined || request.nodes !== undefined || request.tls)
    throw new LaunchError('tsrun bench --compare measures on this machine alone, in the clear: leave out hosts, --nnodes and --tls');
  const others = split.own.filter((word) => !word.startsWith('--np='));
  return { kind: 'compare', words: [collective, ...ofBench, `--np=${request.np}`, '--', ...others] };
}

/** Its job is made for measuring: no other algorithm has one message each way. */
function parseCalibrate(words: readonly string[], outside: Outside, benchScript: string): CommandLine {
  const { own, ofBench } = splitCalibrate(words);
  const split = splitWords(own);
  if (split.command.length > 0) throw new LaunchError(`tsrun bench --calibrate: '${split.command[0]}' is no option of it`);
  const given = parseOwn(split.own);
  for (const name of ['algorithm', 'cost-model', 'hierarchical-allreduce'])
    if (given.has(optionOf(name))) throw new LaunchError(`tsrun bench --calibrate: --${name} has no meaning there`);
  given.set(optionOf('algorithm'), ['recursive-doubling']);
  setBenchDefaults(given);
  const program = path.join(path.dirname(benchScript), 'calibrate.js');
  const what = { command: [program, ...ofBench], isScript: true, isOwn: true, wdir: outside.cwd };
  return { kind: 'bench', request: requestOf(checkedSettings(given, outside), what, outside) };
}

/** A job's options, and no command. Without -np, every slot counts. */
function parseDoctor(words: readonly string[], outside: Outside): CommandLine {
  const { own, command } = splitWords(words.filter((word) => word !== '--json'));
  if (command.length > 0) throw new LaunchError(`tsrun doctor: '${command[0]}' is no option of it; it runs nothing`);
  const given = parseOwn(own);
  if (given.get(optionOf('help'))?.at(-1) === 'true') return { kind: 'help' };
  const settings = checkedSettings(given, outside);
  if (settings.number('nnodes') !== undefined)
    throw new LaunchError('tsrun doctor looks at hosts from here: with --nnodes, run it on each host without that option');
  const wdir = path.resolve(outside.cwd, settings.text('wdir') ?? '.');
  const what = { command: [], isScript: false, isOwn: false, wdir, takesEverySlot: true };
  return { kind: 'doctor', request: requestOf(settings, what, outside), isJson: words.includes('--json') };
}

// ───── what yargs makes of tsrun's own words ─────

function parser() {
  const made = yargs([])
    .scriptName('tsrun')
    .usage(
      'tsrun -np N [options] script.ts [arguments of the script]\ntsrun -np N [options] -- any command\ntsrun sweep -np 1,2,4 [--strategy S,T] [--vary NAME=V,W] [--repeats 5] [--out DIR] script.ts (tsrun sweep --help)\ntsrun bench allreduce|allgather|broadcast|… -np N [--sizes 1K..64M] [--dtype float32] [--op sum] [--compare gloo,openmpi]\ntsrun bench --calibrate FILE [-np N] [-H hosts] [--iterations 50]\ntsrun doctor [-H hosts] [options] [--json]\ntsrun install-tfjs-node [--gpu] [--from official|FILE|URL] [--tensorflow VERSION] [--index-url URL] [--sha256 HEX] [--force]',
    )
    .exitProcess(false)
    .help(false)
    .version(false)
    .wrap(Math.min(140, process.stdout.columns || 100))
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'short-option-groups': false,
      'strip-aliased': true,
    })
    .strictOptions()
    .fail((message, error) => {
      throw error ?? new LaunchError(message);
    });
  for (const [name, { option }] of spellings) {
    if (option.aliases?.includes(name)) continue;
    const isNegation = name !== option.name;
    made.option(name, {
      alias: isNegation ? undefined : option.aliases,
      type: option.value === undefined ? 'boolean' : 'string',
      group: `${option.group}:`,
      describe: `${isNegation ? `not --${option.name}` : option.help}${option.value ? ` [${option.value}]` : ''}${option.isLater ? ' (no effect in this version)' : ''}`,
    });
  }
  return made;
}

export async function helpText(): Promise<string> {
  return `${await parser().getHelp()}\n\n-np N is --np N. Every option can also stand in a --config-file; the environment of the ranks is described in the README.`;
}

const optionOf = (name: string): Option => spellings.get(name)!.option;

/** Texts of each given option, in their order. */
function parseOwn(own: readonly string[]): Map<Option, string[]> {
  let parsed: Record<string, unknown>;
  try {
    parsed = parser().parseSync([...own]) as Record<string, unknown>;
  } catch (error) {
    const unknown = /^Unknown arguments?: (.*)$/.exec((error as Error).message)?.[1];
    throw new LaunchError(
      unknown ? `unknown option ${unknown.split(', ').map(dashed).join(', ')}; tsrun --help lists them` : (error as Error).message,
    );
  }
  const given = new Map<Option, string[]>();
  for (const [name, value] of Object.entries(parsed)) {
    const spelling = spellings.get(name);
    if (!spelling || value === undefined || name === '_' || name === '$0') continue;
    const texts = [value].flat().map((one) => (spelling.option.value === undefined ? String(one === spelling.isOn) : String(one)));
    if (given.has(spelling.option) && given.get(spelling.option)!.at(-1) !== texts.at(-1))
      throw new LaunchError(`--${spelling.option.name} and --no-${spelling.option.name} contradict each other`);
    given.set(spelling.option, texts);
  }
  return given;
}

// ───── settings ─────

interface Settings {
  number(name: string): number | undefined;
  text(name: string): string | undefined;
  texts(name: string): string[];
  isOn(name: string, fallback?: boolean): boolean;
  value<T>(name: string): T | undefined;
  /** The ranks' variables that the options set. */
  readonly env: Record<string, string>;
  readonly notices: string[];
}

/** Command line over config file, each text checked. @throws LaunchError */
function checkedSettings(onLine: ReadonlyMap<Option, string[]>, outside: Outside): Settings {
  const file = onLine.get(optionOf('config-file'))?.at(-1);
  const fromFile =
    file === undefined
      ? { given: new Map<Option, string[]>(), meaningless: [] }
      : readConfigFile(file, readText(outside, file, 'config file'));
  const values = new Map<string, unknown>();
  const env: Record<string, string> = {};
  const take = (option: Option, texts: readonly string[], where: string): void => {
    const name = `${where}${dashed(option.name)}`;
    const parsed = texts.map((text) => {
      const value = option.parse(text);
      if (value === undefined) throw new LaunchError(`${name} is '${text}', but must be ${option.expects}`);
      return value;
    });
    values.set(option.name, option.isRepeatable ? parsed : parsed.at(-1));
    if (option.env !== undefined) env[option.env] = option.isRepeatable ? parsed.join(',') : spell(option, parsed.at(-1));
  };
  for (const [option, texts] of fromFile.given) if (!onLine.has(option)) take(option, texts, `config file ${file}: `);
  for (const [option, texts] of onLine) take(option, texts, '');
  const all = [...new Set([...fromFile.given.keys(), ...onLine.keys()])];
  return {
    number: (name) => values.get(name) as number | undefined,
    text: (name) => values.get(name) as string | undefined,
    texts: (name) => (values.get(name) as string[] | undefined) ?? [],
    isOn: (name, fallback = false) => (values.get(name) as boolean | undefined) ?? fallback,
    value: <T>(name: string) => values.get(name) as T | undefined,
    env,
    notices: noticesOf(all, fromFile.meaningless),
  };
}

function spell(option: Option, value: unknown): string {
  if (option.toEnv) return option.toEnv(value as never);
  return typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
}

function noticesOf(given: readonly Option[], meaninglessKeys: readonly string[]): string[] {
  const meaningless = [...given.filter(({ isMeaningless }) => isMeaningless).map(({ name }) => dashed(name)), ...meaninglessKeys];
  const later = given.filter(({ isLater }) => isLater).map(({ name }) => dashed(name));
  const are = (list: readonly string[]): string => (list.length > 1 ? 'have' : 'has');
  return [
    ...(meaningless.length > 0
      ? [`${meaningless.join(', ')} ${are(meaningless)} no meaning in khorovod and ${meaningless.length > 1 ? 'are' : 'is'} ignored`]
      : []),
    ...(later.length > 0 ? [`${later.join(', ')} ${are(later)} no effect in this version`] : []),
  ];
}

function readText(outside: Outside, file: string, what: string): string {
  try {
    return outside.readText(path.resolve(outside.cwd, file));
  } catch (error) {
    throw new LaunchError(`the ${what} ${file} cannot be read: ${(error as Error).message}`);
  }
}

// ───── the request ─────

function requestOf(
  settings: Settings,
  {
    takesEverySlot = false,
    ...what
  }: { command: readonly string[]; isScript: boolean; isOwn: boolean; wdir: string; takesEverySlot?: boolean },
  outside: Outside,
): RunRequest {
  const [list, file] = [settings.text('hosts'), settings.text('hostfile')];
  if (list !== undefined && file !== undefined) throw new LaunchError('-H and --hostfile exclude each other');
  const named =
    list !== undefined ? parseHosts(list) : file !== undefined ? parseHostfile(readText(outside, file, 'hostfile'), file) : undefined;
  const nodes = nodesOf(settings, outside);
  if (nodes && (list !== undefined || file !== undefined))
    throw new LaunchError('--nnodes starts nothing on other hosts: -H and --hostfile have no place beside it');
  const found = nodes ? undefined : scheduled(outside);
  const hosts = nodes ? Array.from({ length: nodes.nodes }, (_, node) => ({ host: `node${node}` })) : (named ?? found?.hosts);
  const slotsOf = (list: readonly HostSpec[] | undefined) => list?.reduce((sum, { slots = 1 }) => sum + slots, 0);
  const slots = named || nodes ? undefined : slotsOf(found?.hosts);
  const np = settings.number('np') ?? slots ?? (takesEverySlot ? (slotsOf(named) ?? 1) : undefined);
  if (np === undefined) throw new LaunchError('how many processes? Say -np N');
  const rsh = settings.text('rsh');
  const added = addedEnvironment(settings, outside);
  // A variable that the caller has set already survives an option that is not given.
  const ofCaller = ({ env, parse, fallback }: Knob<number>): number => parse(outside.env[env] ?? '') ?? fallback;
  return {
    ...what,
    np,
    hosts,
    nodes,
    oversubscribe: settings.isOn('oversubscribe'),
    ps: settings.number('ps') ?? 0,
    psHosts: serverHostsOf(settings, nodes),
    isDryRun: settings.isOn('dry-run'),
    isVerbose: settings.isOn('verbose'),
    timeoutSeconds: settings.number('timeout'),
    startTimeoutSeconds: settings.number('start-timeout') ?? ofCaller(knobs.startTimeoutSeconds),
    peerTimeoutSeconds: settings.number('peer-timeout') ?? ofCaller(knobs.peerTimeoutSeconds),
    tls: settings.value<boolean>('tls') ?? knobs.tls.parse(outside.env[knobs.tls.env] ?? '') ?? false,
    networkInterface: networkInterfaceOf(settings, outside),
    portRange: settings.value('port-range'),
    pinning: {
      gpusPerProcess: settings.number('gpus-per-process'),
      pinsGpus: settings.isOn('gpu-pinning', true),
      bindTo: settings.value('bind-to'),
      oversubscribe: settings.isOn('oversubscribe'),
    },
    keepsGoing: settings.isOn('keep-going'),
    forwardsStdin: (settings.text('stdin') ?? '0') === '0',
    outputFolder: settings.text('output-filename') === undefined ? undefined : path.resolve(outside.cwd, settings.text('output-filename')!),
    hasPrefix: settings.isOn('prefix', true),
    hasTimestamp: settings.isOn('prefix-timestamp'),
    ssh: {
      port: settings.number('ssh-port'),
      user: settings.text('ssh-user'),
      identityFile: settings.text('ssh-identity-file'),
      configFile: settings.text('ssh-config'),
      acceptsNewKeys: settings.isOn('accept-new-host-keys'),
      agentSocket: outside.env.SSH_AUTH_SOCK,
    },
    rsh: rsh === undefined ? found?.rsh : rshOf(rsh),
    awaitsHosts: found?.awaitsHosts ?? false,
    env: { ...outside.env, ...added },
    addedEnv: { ...Object.fromEntries(Object.entries(outside.env).filter(([name]) => /^(HOROVOD|TSRUN)_/.test(name))), ...added },
    notices: settings.notices,
  };
}

/** One tsrun a host: on that of node 0, which serves until all others have ended. @throws LaunchError */
function serverHostsOf(settings: Settings, nodes: NodesOptions | undefined): readonly HostSpec[] | undefined {
  const list = settings.text('ps-hosts');
  if (list === undefined) return nodes && [{ host: 'node0' }];
  if (nodes) throw new LaunchError('--nnodes starts nothing on other hosts: --ps-hosts has no place beside it, servers run on node 0');
  if (settings.number('ps') === undefined) throw new LaunchError(`--ps-hosts is '${list}', but how many parameter servers? Say --ps N`);
  try {
    return parseHosts(list);
  } catch (error) {
    throw new LaunchError(`--ps-hosts: ${(error as Error).message}`);
  }
}

const rshOf = (text: string): ReachOptions['rsh'] => {
  const words = splitCommand(text);
  return (host) => [...words, host];
};

/** Hosts, and the way to them, that a scheduler has given. */
interface Scheduled {
  readonly hosts: readonly HostSpec[];
  readonly rsh?: ReachOptions['rsh'];
  readonly awaitsHosts?: boolean;
}

function scheduled({ env, readText: read }: Outside): Scheduled | undefined {
  const allocated = hostsOfAllocation(env);
  if (allocated) {
    const own = new Set(allocated.map(({ host }) => host));
    return { hosts: allocated, rsh: (host) => (own.has(host) ? [...srunCommand(host), '/bin/sh', '-c'] : undefined) };
  }
  const operator = hostsOfMpiOperator(env, read);
  return operator && { hosts: operator.hosts, rsh: operator.rsh === undefined ? undefined : rshOf(operator.rsh), awaitsHosts: true };
}

/** @throws LaunchError some of the four are missing */
function nodesOf(settings: Settings, outside: Outside): NodesOptions | undefined {
  const [nodes, nodeRank, endpoint] = [settings.number('nnodes'), settings.number('node-rank'), settings.text('rdzv-endpoint')];
  const keyFile = settings.text('key-file') ?? (outside.env[knobs.keyFile.env] || undefined);
  if (nodes === undefined && nodeRank === undefined && endpoint === undefined) return undefined;
  if (nodes === undefined || nodeRank === undefined || endpoint === undefined)
    throw new LaunchError('one tsrun a host needs all of --nnodes, --node-rank and --rdzv-endpoint');
  if (nodeRank >= nodes) throw new LaunchError(`--node-rank is ${nodeRank}, but must be 0 to ${nodes - 1} with --nnodes ${nodes}`);
  if (keyFile === undefined)
    throw new LaunchError(`one tsrun a host needs --key-file, the same on every host. Make it once and copy it: ${MAKE_KEY}`);
  const found = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(endpoint);
  const port = Number(found?.[3]);
  if (!found || port < 1 || port > 65_535) throw new LaunchError(`--rdzv-endpoint is '${endpoint}', but must be HOST:PORT`);
  const isInPod = Boolean(outside.env.KUBERNETES_SERVICE_HOST);
  return { nodes, nodeRank, host: found[1] ?? found[2]!, port, keyFile: path.resolve(outside.cwd, keyFile), isInPod };
}

/** @throws LaunchError a network that is none */
function networkInterfaceOf(settings: Settings, outside: Outside): string | undefined {
  const text = settings.texts('network-interface').join(',') || outside.env[knobs.networkInterface.env] || undefined;
  try {
    if (text !== undefined) interfaceFilter(text);
  } catch (error) {
    throw new LaunchError(`--network-interface: ${(error as Error).message}`);
  }
  return text;
}

/** @throws LaunchError there is none, or it is not there */
function isScript(command: readonly string[], isAny: boolean, wdir: string, outside: Outside): boolean {
  const [first] = command;
  if (first === undefined || first === '')
    throw new LaunchError(isAny ? "no command behind '--'" : 'which script? Say tsrun -np N script.ts');
  if (isAny) return false;
  const isThere = outside.isFile(path.resolve(wdir, first));
  if (isThere && (scriptKinds.includes(path.extname(first).toLowerCase()) || !first.includes('/'))) return true;
  if (scriptKinds.includes(path.extname(first).toLowerCase())) throw new LaunchError(`there is no script ${first} in ${wdir}`);
  if (isThere) return false;
  throw new LaunchError(`there is no script ${first} in ${wdir}; a command stands behind '--': tsrun -np N -- ${first}`);
}

/** What options put into the ranks' environment: threads of numeric libraries, knobs, --env-file and -x, the later over the earlier. */
function addedEnvironment(settings: Settings, outside: Outside): Record<string, string> {
  const threads = settings.number('threads-per-process');
  const names = ['OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'];
  const file = settings.text('env-file');
  return {
    ...(threads === undefined ? {} : Object.fromEntries(names.map((name) => [name, String(threads)]))),
    ...settings.env,
    ...(file === undefined ? {} : parseEnvFile(readText(outside, file, 'environment file'), file)),
    ...Object.fromEntries(settings.texts('x').flatMap((text) => assignment(text, outside.env))),
  };
}
