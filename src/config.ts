/**
 * Every knob in one table: environment variable ↔ field of a frozen object ↔ launcher option ↔ README table. The one home of `process.env`.
 *
 * `set by tsrun` entries are the launcher's contract with its ranks; users do not set them. Horovod's knobs keep Horovod's names, ours are TSRUN_*.
 * Parsed once per init(); changing the environment afterwards has no effect. Any thread (the communication thread gets the frozen object).
 */
import { UsageError } from './errors';
import { type LogLevel, logLevels } from './log';

/** Returns the value, or undefined when the text does not fit. */
type Parse<T> = (text: string) => T | undefined;

export interface Knob<T = unknown> {
  readonly env: string;
  readonly parse: Parse<T>;
  readonly fallback: T;
  /** What a right value looks like, for errors, --help and README. */
  readonly expects: string;
  readonly help: string;
  readonly setByTsrun?: true;
}

const text: Parse<string> = (value) => value;
const flag: Parse<boolean> = (value) =>
  ['1', 'true', 'yes', 'on'].includes(value.toLowerCase())
    ? true
    : ['0', 'false', 'no', 'off', ''].includes(value.toLowerCase())
      ? false
      : undefined;
const number =
  (least: number, most = Number.MAX_SAFE_INTEGER, whole = true): Parse<number> =>
  (value) => {
    const parsed = /^[+]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) ? Number(value) : Number.NaN;
    return Number.isFinite(parsed) && parsed >= least && parsed <= most && (!whole || Number.isInteger(parsed)) ? parsed : undefined;
  };
const oneOf =
  <T extends string>(...values: readonly T[]): Parse<T> =>
  (value) =>
    values.find((known) => known.toLowerCase() === value.toLowerCase());
const portRange: Parse<{ first: number; last: number }> = (value) => {
  const found = /^(\d{1,5})-(\d{1,5})$/.exec(value.trim());
  const [first, last] = [Number(found?.[1]), Number(found?.[2])];
  return found && first >= 1 && last <= 65535 && first <= last ? { first, last } : undefined;
};
/** The checks, for options that set no knob. */
export const parsers = { text, flag, number, oneOf, portRange };
/** The backends of TensorFlow.js in Node, the fastest first. */
export const backendNames = ['tfjs-node-gpu', 'tfjs-node', 'webgpu', 'wasm', 'cpu'] as const;
/** Ways to carry out an allreduce; among ways that take equally long the earlier one is chosen. */
export const algorithms = ['ring', 'recursive-doubling', 'halving-doubling', 'hierarchical', 'tree'] as const;
export type Algorithm = (typeof algorithms)[number];
const strategy: Parse<string> = (value) => (/^(ring|ps-sync|ps-async|ps-ssp:\d+)$/.test(value) ? value : undefined);

const knob = <T>(env: string, parse: Parse<T>, fallback: NoInfer<T>, expects: string, help: string): Knob<T> => ({
  env,
  parse,
  fallback,
  expects,
  help,
});
const optional = <T>(env: string, parse: Parse<T>, expects: string, help: string): Knob<T | undefined> => ({
  env,
  parse,
  fallback: undefined,
  expects,
  help,
});
const byTsrun = <T>(env: string, parse: Parse<T>, fallback: NoInfer<T>, expects: string, help: string): Knob<T> => ({
  ...knob(env, parse, fallback, expects, help),
  setByTsrun: true,
});

export const knobs = {
  rank: byTsrun('HOROVOD_RANK', number(0), 0, 'a rank', 'rank of this process'),
  size: byTsrun('HOROVOD_SIZE', number(1), 1, 'a number of processes', 'number of processes'),
  localRank: byTsrun('HOROVOD_LOCAL_RANK', number(0), 0, 'a rank', 'rank among the processes of this host'),
  localSize: byTsrun('HOROVOD_LOCAL_SIZE', number(1), 1, 'a number of processes', 'number of processes on this host'),
  crossRank: byTsrun('HOROVOD_CROSS_RANK', number(0), 0, 'a rank', 'rank of this host among those that have this local rank'),
  crossSize: byTsrun('HOROVOD_CROSS_SIZE', number(1), 1, 'a number of hosts', 'number of hosts that have this local rank'),
  gpuSharers: byTsrun(
    'TSRUN_GPU_SHARERS',
    number(0),
    0,
    'a number of ranks',
    'ranks of this host that share the GPU of this one for want of others, and without --oversubscribe',
  ),
  localCpus: byTsrun(
    'TSRUN_LOCAL_CPUS',
    number(0),
    0,
    'a number of processors',
    'processors that the processes of this host share; 0: not known',
  ),
  hostname: byTsrun('HOROVOD_HOSTNAME', text, '', 'a name', 'name of this host in the host list'),
  servers: byTsrun('TSRUN_SERVERS', number(0), 0, 'a number of processes', 'parameter servers of the job beside its ranks'),
  server: byTsrun<number | undefined>(
    'TSRUN_SERVER',
    number(0),
    undefined,
    'a number',
    'which parameter server this process is, from 0; a rank is none',
  ),
  workers: byTsrun('TSRUN_WORKERS', number(0), 0, 'a number of processes', 'ranks of the job, told to its parameter servers'),
  host: byTsrun(
    'TSRUN_HOST',
    text,
    '',
    'a name',
    'name of this host in the host list, told to parameter servers; ranks have HOROVOD_HOSTNAME',
  ),
  keepGoing: byTsrun('TSRUN_KEEP_GOING', flag, false, '0 or 1', 'a rank that fails does not end the job'),
  rendezvous: byTsrun('TSRUN_RENDEZVOUS', text, '', 'HOST:PORT', 'where the ranks meet'),
  jobId: byTsrun('TSRUN_JOB_ID', text, '', 'a word', 'names the job'),
  errorFile: byTsrun('TSRUN_ERROR_FILE', text, '', 'a path', 'where a failing rank records its error'),
  bindAddress: byTsrun('TSRUN_BIND_ADDRESS', text, '127.0.0.1', 'an address', 'address that this rank listens on and advertises'),
  terminalColumns: byTsrun('TSRUN_TERMINAL_COLUMNS', number(0), 0, 'columns', "width of the launcher's terminal; 0: it has none"),

  fusionThresholdBytes: knob(
    'HOROVOD_FUSION_THRESHOLD',
    number(0),
    134217728,
    'bytes, >= 0',
    'tensors that wait together are fused up to this many bytes; 0: never; rank 0 fuses for all, and no rank may have less',
  ),
  cycleTimeMs: knob(
    'HOROVOD_CYCLE_TIME',
    number(0, 60_000, false),
    1,
    'milliseconds, >= 0',
    'gathers asynchronous calls that are pending together',
  ),
  cacheCapacity: knob(
    'HOROVOD_CACHE_CAPACITY',
    number(0),
    1024,
    'entries, >= 0',
    'names whose negotiation is remembered, by rank 0 for all',
  ),
  algorithm: knob<'auto' | Algorithm>(
    'TSRUN_ALGORITHM',
    oneOf('auto', ...algorithms),
    'auto',
    `auto, ${algorithms.join(', ')}`,
    'how an allreduce is carried out; auto: as the cost model says',
  ),
  costModel: optional(
    'TSRUN_COST_MODEL',
    text,
    'a path',
    'file of `tsrun bench --calibrate`, by which the algorithm is chosen; all ranks use what rank 0 reads',
  ),
  hierarchicalAllreduce: optional(
    'HOROVOD_HIERARCHICAL_ALLREDUCE',
    flag,
    '0 or 1',
    'reduce on each host first, wherever several ranks share one of several hosts, or never; default: as the cost model says',
  ),
  autotune: knob('HOROVOD_AUTOTUNE', flag, false, '0 or 1', 'tune fusion threshold and cycle time while training'),
  autotuneLog: optional('HOROVOD_AUTOTUNE_LOG', text, 'a path', 'CSV of what autotuning tried'),
  autotuneWarmupSamples: knob('HOROVOD_AUTOTUNE_WARMUP_SAMPLES', number(0), 3, 'samples, >= 0', 'first samples that are thrown away'),
  autotuneStepsPerSample: knob('HOROVOD_AUTOTUNE_STEPS_PER_SAMPLE', number(1), 10, 'steps, >= 1', 'steps of a sample'),
  autotuneMaxSamples: knob('HOROVOD_AUTOTUNE_BAYES_OPT_MAX_SAMPLES', number(1), 20, 'samples, >= 1', 'samples at most'),
  autotuneNoise: knob('HOROVOD_AUTOTUNE_GAUSSIAN_PROCESS_NOISE', number(0, 1, false), 0.8, '0 to 1', 'noise of a sample'),
  timeline: optional(
    'HOROVOD_TIMELINE',
    text,
    'a path',
    'Chrome trace of the collectives, by rank 0; with `%r` in the path one of each rank; DYNAMIC: none until `startTimeline`',
  ),
  timelineMarkCycles: knob('HOROVOD_TIMELINE_MARK_CYCLES', flag, false, '0 or 1', 'mark negotiation cycles in the timeline'),
  stallCheckDisable: knob('HOROVOD_STALL_CHECK_DISABLE', flag, false, '0 or 1', 'no warnings about ranks that do not submit'),
  stallWarningSeconds: knob(
    'HOROVOD_STALL_CHECK_TIME_SECONDS',
    number(0, 1e9, false),
    60,
    'seconds, >= 0',
    'warn about ranks that did not submit after this time',
  ),
  stallShutdownSeconds: knob(
    'HOROVOD_STALL_SHUTDOWN_TIME_SECONDS',
    number(0, 1e9, false),
    1800,
    'seconds, >= 0; 0: never',
    'fail with StallError after this time',
  ),
  logLevel: knob<LogLevel>('HOROVOD_LOG_LEVEL', oneOf(...logLevels), 'WARNING', logLevels.join(', '), 'least level of log lines'),
  logHideTime: knob('HOROVOD_LOG_HIDE_TIME', flag, false, '0 or 1', 'log lines without the time'),

  elasticTimeoutSeconds: knob('HOROVOD_ELASTIC_TIMEOUT', number(0.1, 1e6, false), 600, 'seconds, > 0', 'wait for enough slots'),
  startTimeoutSeconds: knob('TSRUN_START_TIMEOUT', number(0.1, 1e6, false), 30, 'seconds, > 0', 'until when all processes must have met'),
  peerTimeoutSeconds: knob('TSRUN_PEER_TIMEOUT', number(0.1, 1e6, false), 10, 'seconds, > 0', 'silence after which a peer counts as lost'),
  keyFile: knob(
    'TSRUN_KEY_FILE',
    text,
    '',
    'a path',
    'file (0600) of 32 bytes or more, the same on every host, by which the ranks of a job without tsrun know each other (tsrun makes its own)',
  ),
  networkInterface: optional('TSRUN_NETWORK_INTERFACE', text, 'names or CIDRs, comma separated', 'interfaces between hosts'),
  portRange: optional('TSRUN_PORT_RANGE', portRange, 'FIRST-LAST', 'ports of all listeners'),
  tls: knob('TSRUN_TLS', flag, false, '0 or 1', 'TLS 1.3 between ranks'),
  // As many as a hello can name (wire/handshake.ts).
  streams: knob('TSRUN_STREAMS', number(1, 64), 1, '1 to 64', 'TCP streams per neighbour, for long messages'),
  transport: knob(
    'TSRUN_TRANSPORT',
    oneOf('auto', 'shm', 'unix', 'tcp'),
    'auto',
    'auto, shm, unix or tcp',
    'what ranks of one host use among themselves',
  ),
  strategy: knob(
    'TSRUN_STRATEGY',
    strategy,
    'ring',
    'ring, ps-sync, ps-async or ps-ssp:S',
    'what DistributedOptimizer does, on every rank the same',
  ),
  threadsPerProcess: optional('TSRUN_THREADS_PER_PROCESS', number(1, 4096), 'threads, >= 1', 'threads of numeric libraries in a rank'),
  backend: optional('TSRUN_BACKEND', oneOf(...backendNames), 'tfjs-node-gpu, tfjs-node, webgpu, wasm or cpu', 'TensorFlow.js backend'),
} as const;

type Value<K> = K extends Knob<infer T> ? T : never;
export type Config = { readonly [name in keyof typeof knobs]: Value<(typeof knobs)[name]> } & {
  /** No variable sets it, so that nobody loses encryption by one: the benchmark does, to show what TLS costs. */
  readonly isClearBetweenRanks?: true;
  /** What the file of `costModel` says (engine/policy.ts); undefined: none was given. */
  readonly toldCostModel?: string;
};

/** The whole configuration from an environment. @throws UsageError a variable that does not parse: its name, its value, what it expects */
export function readConfig(env: Record<string, string | undefined> = process.env): Config {
  const config: Record<string, unknown> = {};
  for (const [name, { env: variable, parse, fallback, expects }] of Object.entries(knobs) as Array<[string, Knob]>) {
    const given = env[variable];
    const parsed = given === undefined || (given === '' && fallback === undefined) ? fallback : parse(given);
    if (parsed === undefined && fallback !== undefined)
      throw new UsageError(`${variable} is '${given}', but must be ${expects}. Correct or unset it.`);
    if (parsed === undefined && given) throw new UsageError(`${variable} is '${given}', but must be ${expects}. Correct or unset it.`);
    config[name] = parsed;
  }
  return Object.freeze(config) as Config;
}

/** A copy of the environment that processes and threads of ours start with. */
export function environment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** What a thread of ours begins with: no loader, option or hook of the user's runs in it. */
export const ownThread = (name: string): { name: string; execArgv: string[]; env: Record<string, string> } => ({
  name,
  execArgv: [],
  env: { ...environment(), NODE_OPTIONS: '' },
});

/** Variables that libraries read when they are loaded into this process. */
export function setEnvironment(variables: Readonly<Record<string, string>>): void {
  Object.assign(process.env, variables);
}

/** The same, but for those that somebody has set. */
export function setDefaultEnvironment(variables: Readonly<Record<string, string>>): void {
  setEnvironment({ ...variables, ...Object.fromEntries(Object.entries(environment()).filter(([name]) => name in variables)) });
}
