/**
 * Who a process is in a job that tsrun did not start, and what the readers of each system share. Pure; main thread.
 *
 * Each reader (slurm.ts, open_mpi.ts, …) takes an environment and returns an identity, or undefined when that system did not start this process, or throws when it did and a
 * variable is wrong. Nothing here opens a file or asks a name server; what has to be looked up comes as `Facts`.
 */
import { createHash } from 'node:crypto';
import { UsageError } from '../errors';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What some systems do not say in the environment. Each is looked up only when a reader needs it. */
export interface Facts {
  readonly hostname: string;
  /** The text of /etc/hosts, where Kubernetes writes a pod's full name; '': there is none. */
  hostsFile(): string;
  /** The process that started this job's processes on this host. */
  launcherPid(): number;
}

export interface JobIdentity {
  /** For messages: 'Slurm'. */
  readonly scheduler: string;
  readonly rank: number;
  readonly size: number;
  /** Undefined, also of the next three: it follows from who meets on which host. */
  readonly localRank?: number;
  readonly localSize?: number;
  readonly crossRank?: number;
  readonly crossSize?: number;
  /** As the system calls this host. */
  readonly hostname?: string;
  /** Host of every rank, by rank, where it is known before they meet: for errors. */
  readonly hosts?: readonly string[];
  readonly isOneHost: boolean;
  /** The same on all ranks, another for every job that runs at the same time on a host. */
  readonly jobId: string;
  /** Where rank 0 is: any of these names or addresses leads to it. Not used where all ranks are on one host and no key file is given. */
  readonly rendezvous: { readonly hosts: readonly string[]; readonly port: number };
  /** What a user does when rank 0 is not found there; a sentence or more. */
  readonly remedy: string;
  /** In a pod of Kubernetes: names may come late, and files of the group are the pod's own. */
  readonly isInPod: boolean;
}
/** What a system says. */
export type Found = Omit<JobIdentity, 'isInPod'>;

/** Below the ports that kernels give to outgoing connections (from 32768 on Linux) and Kubernetes to services (from 30000). */
const FIRST_PORT = 20_000;
const PORTS = 10_000;

/** The same port on every rank without asking anyone: a hash of the job's id, within the range where one is given. */
export function portOf(jobId: string, portRange?: { readonly first: number; readonly last: number }): number {
  const hash = createHash('sha256').update(jobId).digest().readUInt32LE(0);
  return portRange ? portRange.first + (hash % (portRange.last - portRange.first + 1)) : FIRST_PORT + (hash % PORTS);
}

/** @throws UsageError the variable is missing or no whole number >= `least` */
export function numberFrom(env: Environment, name: string, scheduler: string, least = 0): number {
  const value = optionalNumberFrom(env, name, scheduler, least);
  if (value === undefined) throw new UsageError(`This process was started by ${scheduler}, but ${name} is not set. ${remedyOf(name)}`);
  return value;
}

/** Undefined: not set. @throws UsageError it is no whole number >= `least` */
export function optionalNumberFrom(env: Environment, name: string, scheduler: string, least = 0): number | undefined {
  const text = env[name]?.trim();
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,9}$/.test(text) || Number(text) < least)
    throw new UsageError(
      `This process was started by ${scheduler}, but ${name} is '${text}', not a whole number >= ${least}. ${remedyOf(name)}`,
    );
  return Number(text);
}

/** @throws UsageError `smaller` is not below `larger` */
export function checkBelow(scheduler: string, [smallName, small]: [string, number], [largeName, large]: [string, number]): void {
  if (small >= large)
    throw new UsageError(
      `This process was started by ${scheduler}, but ${smallName} is ${small} and ${largeName} is ${large}: ranks are 0 … size−1. ${remedyOf(smallName)}`,
    );
}

/** What a user says about where rank 0 is, in torch's words; it beats what the system would tell. @throws UsageError MASTER_PORT is no port */
export function masterFrom(env: Environment, scheduler: string): { host?: string; port?: number } {
  const host = env.MASTER_ADDR?.trim() || undefined;
  const port = optionalNumberFrom(env, 'MASTER_PORT', scheduler, 1);
  if (port !== undefined && port > 65_535) throw new UsageError(`MASTER_PORT is ${port}, but a port is 1 to 65535. Correct or unset it.`);
  return { host, port };
}

const remedyOf = (name: string): string =>
  `Correct ${name}, or set HOROVOD_SIZE=1 for a process that is to run alone, whatever started it.`;
