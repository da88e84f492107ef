/**
 * What is wrong with the hosts of a job, from what was learnt of each: findings, and the exit code that the job would have. Pure; doctor.ts asks the hosts.
 *
 * A check that cannot be made because an earlier one failed says nothing: a host that is not reached has one finding.
 */
import type { khorovod } from '../../src/wire/generated/messages';
import { FIT_NODES, isFitNode, type Lack, lackOf, quoted } from '../agent_command';
import { HOST_KEY_REFUSED, LaunchError, USER_KEY_REFUSED } from '../errors';
import type { Assignment } from '../hosts';
import { type Devices, type PinningOptions, pinningOf } from '../pinning';
import type { ReachOptions } from '../reach';

const MOST_CLOCK_MS = 5000;
const FEWEST_BYTES = 100e6;

export type Check =
  | 'options'
  | 'slots'
  | 'output'
  | 'name'
  | 'ssh'
  | 'rsh'
  | 'host key'
  | 'key'
  | 'node'
  | 'package'
  | 'agent'
  | 'working folder'
  | 'interfaces'
  | 'network'
  | 'ports'
  | 'devices'
  | 'backends'
  | 'clock'
  | 'disk';

export interface Finding {
  /** Empty: the job as a whole. */
  readonly host: string;
  readonly check: Check;
  readonly level: 'ok' | 'warning' | 'error';
  readonly text: string;
  /** The command or the change that mends it. */
  readonly mend?: string;
  /** Of an error: what the job would end with. */
  readonly exitCode?: 2 | 3 | 4;
}

/** What an agent says of its host. */
export interface Answer {
  readonly version: string;
  /** As the host itself says it. */
  readonly hostname: string;
  readonly node: string;
  readonly devices: Devices;
  readonly interfaces: ReadonlyArray<{ readonly name: string; readonly address: string }>;
}

export interface Examined {
  /** Ahead of this machine's; `uncertainMs`: by how much that may be wrong. */
  readonly clockAheadMs: number;
  readonly uncertainMs: number;
  /** −1: not known. */
  readonly tmpFreeBytes: number;
  readonly tmpProblem: string;
  readonly wdirFreeBytes: number;
  readonly wdirProblem: string;
  readonly triedPorts: number;
  readonly freePorts: number;
  readonly relayProblem: string;
  /** The fastest first. */
  readonly backends: readonly khorovod.CheckedBackend.$Properties[];
}

export interface HostFacts {
  readonly host: string;
  /** This machine needs no ssh. */
  readonly isHere: boolean;
  /** How ssh names it: [user@]host. */
  readonly sshName: string;
  /** Its ranks. */
  readonly ranks: readonly Assignment[];
  /** How many parameter servers it has. */
  readonly servers: number;
  readonly refusal?: { readonly message: string; readonly cause?: unknown; readonly mend?: string };
  /** How its agent ended, or that it did not answer. */
  readonly gone?: string;
  readonly answer?: Answer;
  readonly examined?: Examined;
  /** Has none that other hosts could use. */
  readonly interfaceProblem?: string;
  /** No address of it is reached by the other hosts. */
  readonly networkProblem?: string;
  /** On which its ranks would listen; undefined: not tried, or the problem above. */
  readonly address?: string;
}

export interface Question {
  /** This machine's package. */
  readonly version: string;
  readonly wdir: string;
  /** Options that `ssh` needs to reach the hosts as this job does. */
  readonly sshOptions: readonly string[];
  /** Instead of ssh: the words that run a command on that host; undefined: ssh. */
  readonly rsh?: ReachOptions['rsh'];
  readonly portRange?: { readonly first: number; readonly last: number };
  readonly pinning: PinningOptions;
}

export function findingsOf(hosts: readonly HostFacts[], question: Question): Finding[] {
  return hosts.flatMap((facts) => findingsOfHost(facts, question, hosts));
}

/** Alike for two names of one machine, whose ports both need. */
export const machineOf = ({ hostname, interfaces }: Answer): string => [hostname, ...interfaces.map(({ address }) => address)].join(' ');

/** 0: the job would start. What the hosts refuse is noticed before what they lack; the slots are counted, and files of the output opened, before any host is asked. */
export function exitCodeOf(findings: readonly Finding[]): 0 | 2 | 3 | 4 {
  if (findings.some(({ check, level }) => check === 'slots' && level === 'error')) return 4;
  if (findings.some(({ exitCode }) => exitCode === 2)) return 2;
  if (findings.some(({ exitCode }) => exitCode === 3)) return 3;
  return findings.some(({ exitCode }) => exitCode === 4) ? 4 : 0;
}

function findingsOfHost(facts: HostFacts, question: Question, hosts: readonly HostFacts[]): Finding[] {
  const { host, isHere, sshName, refusal, gone, answer, examined } = facts;
  const found: Finding[] = [];
  const ok = (check: Check, text: string): void => void found.push({ host, check, level: 'ok', text });
  const warn = (check: Check, text: string, mend?: string): void => void found.push({ host, check, level: 'warning', text, mend });
  const fail = (check: Check, text: string, mend?: string, exitCode: 3 | 4 = 3): void =>
    void found.push({ host, check, level: 'error', text, mend, exitCode });
  const rsh = question.rsh?.(sshName);
  const way = rsh?.map(word) ?? ['ssh', ...question.sshOptions, sshName];
  const there = (command: string): string => (isHere ? command : [...way, quoted(command)].join(' '));
  const install = there(`cd ${quoted(question.wdir)} && npm install khorovod@${question.version}`);

  if (refusal) {
    const { check, mend } = sshFault(refusal.cause, sshName, question.sshOptions);
    fail(check, refusal.message, refusal.mend ?? mend);
    return found;
  }
  const lack = gone === undefined ? undefined : lackOf(gone);
  const mends: Record<Lack, string> = {
    'no folder': there(`mkdir -p ${quoted(question.wdir)}`),
    'not a folder': 'name a folder with --wdir',
    'closed folder': there(`chmod u+rx ${quoted(question.wdir)}`),
    package: install,
    node: `install Node ${FIT_NODES}`,
  };
  if (gone !== undefined && !answer) {
    // Of a program that is not ours, only trying it alone says more.
    const mend = lack ? mends[lack] : rsh && there('true');
    fail(
      lack ? checkOf(lack) : rsh ? 'rsh' : 'agent',
      rsh && !lack ? `${rsh[0]}, which is to start the agent, ${gone}` : `the agent ${gone}`,
      mend,
    );
    return found;
  }
  if (!answer) return found;
  if (!isHere) ok(rsh ? 'rsh' : 'ssh', 'reached');
  if (isFitNode(answer.node)) ok('node', `Node ${answer.node}`);
  else fail('node', `Node ${answer.node} does not fit`, mends.node);
  if (answer.version !== question.version) {
    fail('package', `khorovod ${answer.version}, here is ${question.version}`, install);
    return found;
  }
  ok('package', `khorovod ${answer.version}`);
  if (gone !== undefined) fail('agent', `the agent ${gone}`);

  if (facts.interfaceProblem !== undefined)
    fail('interfaces', facts.interfaceProblem, 'name one that every host has with --network-interface');
  else ok('interfaces', answer.interfaces.map(({ name, address }) => `${name} ${address}`).join(', ') || 'none beside loopback');
  if (facts.networkProblem !== undefined) {
    const { portRange } = question;
    // Never a command that opens a host to everybody: only the job's own ports.
    const mend = portRange
      ? `open TCP ports ${portRange.first}-${portRange.last} between the hosts: ${there(`sudo iptables -I INPUT -p tcp --dport ${portRange.first}:${portRange.last} -j ACCEPT`)}`
      : `put the hosts on one network, and open all TCP ports (or --port-range A-B and those) between them; its routes: ${there('ip route')}`;
    fail('network', facts.networkProblem, mend);
  } else if (facts.address !== undefined) ok('network', `the other hosts reach it at ${facts.address}`);

  devicesOf(facts.ranks, answer.devices, question.pinning, ok, (text) =>
    fail('devices', text, there(question.pinning.gpusPerProcess === undefined ? 'command -v taskset' : 'nvidia-smi -L'), 4),
  );
  if (examined) examinedOf(examined);
  return found;

  function examinedOf(one: Examined): void {
    if (one.wdirProblem !== '') fail('working folder', one.wdirProblem, mends[folderLack(one.wdirProblem)]);
    else ok('working folder', question.wdir);
    if (question.portRange) portsOf(one, question.portRange);
    if (one.wdirProblem === '') backendsOf(one.backends);
    const aheadMs = Math.abs(one.clockAheadMs);
    const clock = `${(aheadMs / 1000).toFixed(1)} s ${one.clockAheadMs < 0 ? 'behind' : 'ahead of'} this machine`;
    if (aheadMs - one.uncertainMs > MOST_CLOCK_MS) warn('clock', clock, there('sudo timedatectl set-ntp true'));
    else ok('clock', clock);
    diskOf(one);
  }

  function backendsOf(checked: Examined['backends']): void {
    const here = (command: string): string => there(`cd ${quoted(question.wdir)} && ${command}`);
    const usable = checked.filter(({ device }) => device);
    if (usable.length > 0) ok('backends', usable.map(({ name, device }) => `${name} on ${device}`).join(', '));
    else warn('backends', 'no backend of TensorFlow.js can be used', here('npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm'));
    for (const { name, installed, device, problem } of checked)
      if (usable.length > 0 && installed && !device) warn('backends', `${name} is installed, but cannot be used: ${problem}`);
    const gpus = answer!.devices.gpus.length;
    if (gpus > 0 && usable.length > 0 && !usable.some(({ name }) => name === 'tfjs-node-gpu' || name === 'webgpu'))
      warn('backends', `no backend uses its ${gpus} GPU${gpus === 1 ? '' : 's'}`, here('npx tsrun install-tfjs-node --gpu'));
  }

  function portsOf(one: Examined, { first, last }: { first: number; last: number }): void {
    const names = hosts.filter(
      (other) =>
        other === facts ||
        (other.examined && other.answer && machineOf(other.answer) === machineOf(answer!) && other.address === facts.address),
    );
    // Where there is one host, its store listens beside ranks and servers.
    const needed = names.reduce((sum, { ranks, servers }) => sum + ranks.length + servers, hosts.length === 1 ? 1 : 0);
    // The first to be asked saw no port that is held for another name's trial.
    const free = Math.max(...names.map(({ examined: other }) => other!.freePorts));
    const isWhole = one.triedPorts === last - first + 1;
    const text = `${free} of ${isWhole ? 'the' : 'the first'} ${one.triedPorts} ports from ${first} on are free, ${needed} are needed`;
    if (free < needed && (isWhole || free === 0)) fail('ports', text, 'give a wider or another --port-range');
    else if (one.relayProblem !== '')
      fail(
        'ports',
        `its ranks cannot reach the store: ${one.relayProblem}`,
        `give another --port-range: ${there('ss -ltn src 127.0.0.1')}`,
      );
    else if (free < needed) warn('ports', text, 'give another --port-range');
    else ok('ports', text);
  }

  function diskOf({ tmpProblem, tmpFreeBytes, wdirFreeBytes }: Examined): void {
    if (tmpProblem !== '') {
      fail('disk', `the job's folder cannot be made: ${tmpProblem}`, there(`df -h "\${TMPDIR:-/tmp}"`));
      return;
    }
    const known = [
      { what: 'for temporary files', bytes: tmpFreeBytes },
      { what: 'in the working folder', bytes: wdirFreeBytes },
    ].filter(({ bytes }) => bytes >= 0);
    const text = known.map(({ what, bytes }) => `${Math.floor(bytes / 1e6)} MB free ${what}`).join(', ');
    if (known.some(({ bytes }) => bytes < FEWEST_BYTES)) warn('disk', text, there(`df -h "\${TMPDIR:-/tmp}" ${quoted(question.wdir)}`));
    else ok('disk', text);
  }
}

const checkOf = (lack: Lack): Check => (lack === 'package' || lack === 'node' ? lack : 'working folder');

/** @param problem the system's words, its code first */
function folderLack(problem: string): Lack {
  if (problem.startsWith('ENOTDIR')) return 'not a folder';
  return /^(EACCES|EPERM)/.test(problem) ? 'closed folder' : 'no folder';
}

/** For a shell. */
const word = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));

/** @param cause the system's code, or whose key was refused */
function sshFault(cause: unknown, sshName: string, options: readonly string[]): { check: Check; mend: string } {
  switch (cause) {
    case USER_KEY_REFUSED:
      return { check: 'key', mend: ['ssh-copy-id', ...options, sshName].join(' ') };
    case HOST_KEY_REFUSED:
      return { check: 'host key', mend: ['ssh', ...options, sshName].join(' ') };
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return { check: 'name', mend: 'spell it as DNS does, or give it a HostName in ~/.ssh/config' };
    default:
      return { check: 'ssh', mend: ['ssh', '-v', ...options, sshName, 'true'].join(' ') };
  }
}

function devicesOf(
  ranks: readonly Assignment[],
  devices: Devices,
  pinning: PinningOptions,
  ok: (check: Check, text: string) => void,
  fail: (text: string) => void,
): void {
  try {
    for (const rank of ranks) pinningOf(rank, devices, pinning);
    const { gpus, cpus } = devices;
    ok(
      'devices',
      `${gpus.length} GPUs, ${cpus.length === 0 ? 'ranks cannot be bound to processors' : `${cpus.length} processors`}, ${ranks.length} ranks`,
    );
  } catch (error) {
    if (!(error instanceof LaunchError)) throw error;
    fail(error.message);
  }
}
