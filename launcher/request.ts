/** From checked settings to what is asked of a job. Pure: files and environment are given. */
import path from 'node:path';
import { type Knob, knobs } from '../src/config';
import { interfaceFilter } from '../src/rendezvous/interfaces';
import { MAKE_KEY } from '../src/rendezvous/key_file';
import { splitCommand } from './agent_command';
import { assignment, parseEnvFile } from './assignments';
import { LaunchError } from './errors';
import { type HostSpec, parseHostfile, parseHosts } from './hosts';
import type { NodesOptions } from './nodes';
import type { PinningOptions } from './pinning';
import type { ReachOptions } from './reach';
import { hostsOfMpiOperator } from './schedulers/kubernetes';
import { hostsOfAllocation, srunCommand } from './schedulers/slurm';
import { type Outside, readText, type Settings } from './settings';

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

const scriptKinds = ['.ts', '.mts', '.cts', '.tsx', '.js', '.mjs', '.cjs'];

/** @throws LaunchError what contradicts, is missing or is not there */
export function requestOf(
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
export function isScript(command: readonly string[], isAny: boolean, wdir: string, outside: Outside): boolean {
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
