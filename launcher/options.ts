/**
 * Every option of the command line in one table: its names, what it expects, which knob of the ranks it sets, its key in a --config-file. Pure.
 *
 * The parser, --help, the config file and the forwarding to the ranks derive from it (args.ts). What the ranks read is described once, in src/config.ts; an option that
 * sets a knob takes the knob's own check and help.
 */
import { type Knob, knobs, parsers } from '../src/config';

export interface Option {
  /** Without dashes. A switch that can be turned off is also known as `no-<name>`. */
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly group: string;
  readonly help: string;
  /** Shown for the value; undefined: a switch. */
  readonly value?: string;
  /** Words that follow it (1). */
  readonly words?: number;
  readonly isRepeatable?: true;
  readonly isNegatable?: true;
  /** undefined: the text does not fit. */
  readonly parse: (text: string) => unknown;
  readonly expects: string;
  /** The ranks' variable, and how it spells the value. */
  readonly env?: string;
  readonly toEnv?: (value: never) => string;
  /** In a config file, where Horovod has another key than the option's name. */
  readonly configKey?: string;
  /** Accepted, forwarded, without effect in this version. */
  readonly isLater?: true;
  /** Horovod's, without meaning here: accepted with a warning. */
  readonly isMeaningless?: true;
}

const { flag, number, oneOf } = parsers;
const atLeast = (least: number, whole = true): Pick<Option, 'parse' | 'expects'> => ({
  parse: number(least, Number.MAX_SAFE_INTEGER, whole),
  expects: `a ${whole ? 'whole number' : 'number'} >= ${least}`,
});
const seconds = { parse: number(0.001, 1e9, false), expects: 'seconds, > 0' };
const anyText = { parse: (word: string) => (word === '' ? undefined : word), expects: 'a text' };
const aSwitch = { parse: flag, expects: 'true or false' };

type Rest = Partial<Omit<Option, 'name' | 'group'>>;
const inGroup =
  (group: string) =>
  (name: string, help: string, rest: Rest = {}): Option => ({ name, group, help, ...(rest.value ? anyText : aSwitch), ...rest });
/** An option that sets a knob: check, expectation and variable are the knob's. */
const sets = (name: keyof typeof knobs, rest: Rest = {}): Rest => {
  const { env, parse, expects } = knobs[name] as Knob;
  return { env, parse, expects, ...rest };
};
const later = { isLater: true } as const;

const job = inGroup('Job');
const hosts = inGroup('Hosts');
const ssh = inGroup('SSH');
const network = inGroup('Network');
const processes = inGroup('Processes');
const tuning = inGroup('Tuning');
const elastic = inGroup('Elastic');
const observing = inGroup('Observing');
const output = inGroup('Output');
const meaningless = (name: string, value?: string): Option =>
  inGroup('Accepted, without meaning here')(name, "Horovod's", { value, isMeaningless: true });

export const options: readonly Option[] = [
  job('np', 'number of processes', { aliases: ['num-proc'], value: 'N', ...atLeast(1) }),
  job('ps', 'number of parameter servers beside the workers (0)', { value: 'N', ...atLeast(0) }),
  job('ps-hosts', 'where they run, as in --hosts; slots mean nothing there (the hosts of the job, in turn)', { value: 'LIST' }),
  job('strategy', 'what DistributedOptimizer does: ring, ps-sync, ps-async or ps-ssp:S', { value: 'S', ...sets('strategy') }),
  job('nnodes', 'one tsrun a host, without ssh: number of hosts', { value: 'N', ...atLeast(1) }),
  job('node-rank', 'one tsrun a host: which one this is', { value: 'I', ...atLeast(0) }),
  job('rdzv-endpoint', 'one tsrun a host: where they meet', { value: 'HOST:PORT' }),
  job('key-file', 'one tsrun a host: file (0600) with the job key', { value: 'F' }),
  job('config-file', "YAML with these options, under Horovod's keys; the command line wins", { value: 'F' }),
  job('timeout', 'end the job after so many seconds, exit 124', { value: 'S', ...seconds }),
  job('dry-run', 'print which rank runs where, start nothing'),
  job('check-build', 'say what this installation can do', { aliases: ['cb'] }),
  job('verbose', 'say each step'),
  job('version', 'print the version', { aliases: ['v'] }),
  job('help', 'print this'),

  hosts('hosts', 'h1:4,h2:4, [user@]host, node[01-16]:2, IPv6 in brackets; without slots the processes are shared evenly', {
    aliases: ['H'],
    value: 'LIST',
  }),
  hosts('hostfile', 'a host a line: `h1 slots=4 max_slots=8` or `h1:4`', { value: 'F' }),
  hosts('oversubscribe', 'more processes than slots are fine'),

  ssh('ssh-port', 'port of sshd', { aliases: ['p'], value: 'P', parse: number(1, 65535), expects: 'a port' }),
  ssh('ssh-identity-file', 'private key', { aliases: ['i'], value: 'F' }),
  ssh('ssh-user', 'user on the hosts', { value: 'U' }),
  ssh('ssh-config', 'instead of ~/.ssh/config', { value: 'F' }),
  ssh('accept-new-host-keys', 'add unknown host keys to known_hosts'),
  ssh('rsh', 'start agents by this command instead of ssh', { value: 'CMD' }),
  ssh('start-timeout', 'until when all processes must have met (30)', { value: 'S', ...sets('startTimeoutSeconds') }),

  network('network-interface', 'names or CIDRs between hosts', {
    aliases: ['network-interfaces'],
    value: 'A,B',
    isRepeatable: true,
    ...sets('networkInterface'),
  }),
  network('port-range', 'all listeners inside it', {
    value: 'A-B',
    ...sets('portRange', { toEnv: ({ first, last }: { first: number; last: number }) => `${first}-${last}` }),
  }),
  network('tls', 'TLS 1.3 between ranks', { ...sets('tls') }),
  network('streams', 'TCP streams per neighbour, for long messages (1)', { value: 'K', ...sets('streams') }),
  network('transport', 'among ranks of one host: auto (shared memory, else Unix sockets, else TCP), shm, unix, tcp', {
    value: 'T',
    ...sets('transport'),
  }),

  processes('x', 'environment of the ranks, repeatable: VAR=value, or VAR with the value it has here', {
    value: 'VAR[=v]',
    isRepeatable: true,
  }),
  processes('env-file', 'environment of the ranks: KEY=value a line, the rest of the line as it is', { value: 'F' }),
  processes('wdir', 'working directory of the ranks (this folder)', { value: 'D' }),
  processes('keep-going', 'a worker that fails does not end the job'),
  processes('gpus-per-process', 'GPUs that a rank sees (1)', { value: 'K', ...atLeast(1) }),
  processes('gpu-pinning', 'each rank sees its own GPUs only (on)', { isNegatable: true }),
  processes('bind-to', 'core, numa or none (core, where each rank gets one)', {
    value: 'B',
    parse: oneOf('core', 'numa', 'none'),
    expects: 'core, numa or none',
  }),
  processes('threads-per-process', 'threads of numeric libraries in a rank', { value: 'N', ...sets('threadsPerProcess') }),
  processes('stdin', 'who reads the standard input: 0 (rank 0) or none', { value: 'W', parse: oneOf('0', 'none'), expects: '0 or none' }),

  tuning('fusion-threshold-mb', 'fuse tensors that wait together up to so many MiB (128); 0: never', {
    value: 'MB',
    ...atLeast(0, false),
    env: knobs.fusionThresholdBytes.env,
    toEnv: (mb: number) => String(Math.round(mb * 2 ** 20)),
    configKey: 'params.fusion_threshold_mb',
  }),
  tuning('cycle-time-ms', 'gather asynchronous calls for so long (1)', {
    value: 'MS',
    ...sets('cycleTimeMs'),
    configKey: 'params.cycle_time_ms',
  }),
  tuning('cache-capacity', 'names whose negotiation is remembered (1024)', {
    value: 'N',
    ...sets('cacheCapacity'),
    configKey: 'params.cache_capacity',
  }),
  tuning('algorithm', 'of an allreduce: ring, recursive-doubling, halving-doubling, hierarchical, tree, or auto (auto)', {
    value: 'A',
    ...sets('algorithm'),
  }),
  tuning('cost-model', 'file of tsrun bench --calibrate, by which the algorithm is chosen', { value: 'F', ...sets('costModel') }),
  tuning('hierarchical-allreduce', 'reduce on each host first', {
    isNegatable: true,
    ...sets('hierarchicalAllreduce'),
    configKey: 'params.hierarchical_allreduce',
  }),
  tuning('autotune', 'tune while training', { isNegatable: true, ...sets('autotune'), configKey: 'autotune.enabled', ...later }),
  tuning('autotune-log-file', 'CSV of what autotuning tried', {
    value: 'F',
    ...sets('autotuneLog'),
    configKey: 'autotune.log_file',
    ...later,
  }),
  tuning('autotune-warmup-samples', 'samples thrown away first', {
    value: 'N',
    ...sets('autotuneWarmupSamples'),
    configKey: 'autotune.warmup_samples',
    ...later,
  }),
  tuning('autotune-steps-per-sample', 'steps of a sample', {
    value: 'N',
    ...sets('autotuneStepsPerSample'),
    configKey: 'autotune.steps_per_sample',
    ...later,
  }),
  tuning('autotune-bayes-opt-max-samples', 'samples at most', {
    value: 'N',
    ...sets('autotuneMaxSamples'),
    configKey: 'autotune.bayes_opt_max_samples',
    ...later,
  }),
  tuning('autotune-gaussian-process-noise', 'noise assumed, 0 to 1', {
    value: 'X',
    ...sets('autotuneNoise'),
    configKey: 'autotune.gaussian_process_noise',
    ...later,
  }),

  elastic('min-np', 'go on with at least so many', { aliases: ['min-num-proc'], value: 'N', ...atLeast(1), ...later }),
  elastic('max-np', 'never more than so many', { aliases: ['max-num-proc'], value: 'N', ...atLeast(1), ...later }),
  elastic('host-discovery-script', 'prints the hosts there are now', { value: 'X', ...later }),
  elastic('slots-per-host', 'slots of discovered hosts', { value: 'N', ...atLeast(1), ...later }),
  elastic('elastic-timeout', 'wait for enough slots (600)', { value: 'S', ...sets('elasticTimeoutSeconds'), ...later }),
  elastic('reset-limit', 'changes of membership at most', { value: 'N', ...atLeast(0), ...later }),
  elastic('blacklist-cooldown-range', 'seconds until a failed host is tried again: MIN MAX', {
    value: 'MIN MAX',
    words: 2,
    parse: cooldown,
    expects: 'two numbers, 1 <= MIN <= MAX <= 3600',
    ...later,
  }),

  observing('timeline-filename', 'Chrome trace of the collectives, by rank 0; with %r in the name one of each rank', {
    value: 'F',
    ...sets('timeline'),
    configKey: 'timeline.filename',
  }),
  observing('timeline-mark-cycles', 'mark cycles in it', {
    isNegatable: true,
    ...sets('timelineMarkCycles'),
    configKey: 'timeline.mark_cycles',
  }),
  observing('stall-check', 'warn about ranks that do not submit (on)', {
    isNegatable: true,
    env: knobs.stallCheckDisable.env,
    toEnv: (isOn: boolean) => (isOn ? '0' : '1'),
    configKey: 'stall_check.enabled',
  }),
  observing('stall-check-warning-time-seconds', 'after so long (60)', {
    value: 'S',
    ...sets('stallWarningSeconds'),
    configKey: 'stall_check.warning_time_seconds',
  }),
  observing('stall-check-shutdown-time-seconds', 'and end the job after so long (1800); 0: never', {
    value: 'S',
    ...sets('stallShutdownSeconds'),
    configKey: 'stall_check.shutdown_time_seconds',
  }),
  observing('log-level', knobs.logLevel.expects, { value: 'L', ...sets('logLevel'), configKey: 'logging.level' }),
  observing('log-with-timestamp', 'log lines with the time', {
    env: knobs.logHideTime.env,
    toEnv: (isWith: boolean) => (isWith ? '0' : '1'),
    configKey: 'logging.with_timestamp',
  }),
  observing('log-without-timestamp', 'log lines without the time', { env: knobs.logHideTime.env }),
  observing('peer-timeout', 'silence after which a peer counts as lost (10)', { value: 'S', ...sets('peerTimeoutSeconds') }),

  output('output-filename', 'DIR/rank.N/stdout and stderr, besides the console', { value: 'DIR' }),
  output('prefix', '[rank]<stdout>: before each line (on)', { isNegatable: true }),
  output('prefix-timestamp', 'the time before that', { aliases: ['prefix-output-with-timestamp'] }),

  ...['gloo', 'mpi', 'jsrun', 'disable-cache', 'tcp', 'mpi-threads-disable', 'no-mpi-threads-disable'].map((name) => meaningless(name)),
  ...['mpi-args', 'binding-args', 'num-nccl-streams', 'thread-affinity', 'gloo-timeout-seconds'].map((name) => meaningless(name, 'V')),
  ...['hierarchical-allgather', 'no-hierarchical-allgather', 'torus-allreduce', 'no-torus-allreduce'].map((name) => meaningless(name)),
];

function cooldown(value: string): [number, number] | undefined {
  const [least, most] = value
    .trim()
    .split(/\s+/)
    .map(number(1, 3600, false));
  return least !== undefined && most !== undefined && least <= most ? [least, most] : undefined;
}

/** What each word on the command line may be: its option, and for a switch whether it turns on. */
export interface Spelling {
  readonly option: Option;
  readonly isOn: boolean;
}
export const spellings: ReadonlyMap<string, Spelling> = new Map(
  options.flatMap(
    (option): Array<[string, Spelling]> => [
      ...[option.name, ...(option.aliases ?? [])].map((name): [string, Spelling] => [name, { option, isOn: true }]),
      ...(option.isNegatable ? [[`no-${option.name}`, { option, isOn: false }] satisfies [string, Spelling]] : []),
    ],
  ),
);

/** Keys of Horovod's config file that mean nothing here. */
export const meaninglessKeys: ReadonlySet<string> = new Set([
  'controller',
  'params.hierarchical_allgather',
  'params.torus_allreduce',
  'library_options.mpi_threads_disable',
  'library_options.num_nccl_streams',
  'library_options.thread_affinity',
  'library_options.gloo_timeout_seconds',
]);
