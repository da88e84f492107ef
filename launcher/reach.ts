/**
 * Reaches the hosts of a job: this machine without anything, the others by ssh, all at the same time. tsrun's process.
 *
 * For a job either all are reached or none stays connected; for `tsrun doctor` each counts for itself.
 */
import os from 'node:os';
import { type AgentChannel, localChannel, type Program, programChannel, sshChannel } from './agent_channel';
import { remoteCommand } from './agent_command';
import { LaunchError } from './errors';
import { isThisMachine } from './local_hosts';
import { type ConnectOptions, SshConnection } from './ssh/client';
import { type Files, resolveTarget, type SshOptions, type SshTarget } from './ssh/config';

const MOST_HOPS = 8;

export interface HostName {
  readonly host: string;
  /** As whom; undefined: as the ssh configuration says. */
  readonly user?: string;
}
export const sshName = ({ host, user }: HostName): string => (user === undefined ? host : `${user}@${host}`);
const isHere = ({ host, user }: HostName): boolean => isThisMachine(host) && (user === undefined || user === os.userInfo().username);

export interface Place extends HostName {
  /** Which host of the job it is. */
  readonly index: number;
  /** By which it was reached, where that is known. */
  readonly address?: string;
  readonly isHere: boolean;
  /** Starts it there. */
  open(program: Program): Promise<AgentChannel>;
}

export interface Reached {
  readonly places: readonly Place[];
  /** Ends every connection at once. */
  close(): void;
}

export interface ReachOptions {
  /** Instead of ssh: the words of a program that runs its last one, a command for a POSIX shell, on that host; undefined: ssh. */
  readonly rsh?: (host: string) => readonly string[] | undefined;
  /** The hosts may be coming up just now (pods): their names and their sshd are waited for. */
  readonly awaitsHosts: boolean;
  readonly ssh: SshOptions & { readonly acceptsNewKeys: boolean; readonly agentSocket?: string };
  readonly files: Files;
  readonly wdir: string;
  readonly timeoutMs: number;
  /** Agents of other hosts that hear nothing for so long take this tsrun for gone. */
  readonly silenceMs: number;
}

/** @throws LaunchError (exit 3, or 2 for a wrong option) every host that is not reached, a line each */
export async function reach(hosts: readonly HostName[], options: ReachOptions): Promise<Reached> {
  const { attempts, close } = await reachEach(hosts, options);
  const errors = attempts.flatMap((attempt) => (attempt.status === 'rejected' ? [attempt.reason as Error] : []));
  if (errors.length > 0) {
    close();
    const isUsage = errors.some((error) => error instanceof LaunchError && error.exitCode === 2);
    throw new LaunchError([...new Set(errors.map(({ message }) => message))].join('\n'), isUsage ? 2 : 3);
  }
  return { places: attempts.map((attempt) => (attempt as PromiseFulfilledResult<Place>).value), close };
}

/** Each for itself: some may be reached and others not. In the order of the hosts. */
export async function reachEach(
  hosts: readonly HostName[],
  { rsh, awaitsHosts, ssh, files, wdir, timeoutMs, silenceMs }: ReachOptions,
): Promise<{ attempts: Array<PromiseSettledResult<Place>>; close(): void }> {
  const command = (file: Program): string => remoteCommand(wdir, file, silenceMs);
  const dialer = new Dialer({ ...ssh, timeoutMs, awaitsHost: awaitsHosts }, (hop) =>
    resolveTarget(hop, { configFile: ssh.configFile }, files),
  );
  const reachOne = async (name: HostName, index: number): Promise<Place> => {
    const { host, user } = name;
    if (isHere(name)) return { host, user, index, isHere: true, open: async (file) => localChannel(file) };
    const program = rsh?.(sshName(name));
    if (program) return { host, user, index, isHere: false, open: async (file) => programChannel([...program, command(file)]) };
    const connection = await dialer.connect(resolveTarget(sshName(name), ssh, files));
    return {
      host,
      user,
      index,
      address: connection.remoteAddress,
      isHere: false,
      open: (file) => sshChannel(connection, host, command(file)),
    };
  };
  const attempts = await Promise.allSettled(hosts.map(reachOne));
  return { attempts, close: () => dialer.close() };
}

/** This machine, as one host of a job in which every host has a tsrun of its own. */
export function reachHere(host: string, index: number): Reached {
  return { places: [{ host, index, isHere: true, open: async (file) => localChannel(file) }], close: () => {} };
}

/** Connects to hosts, through others where their configuration says so. A host that others lie behind is connected to once. */
class Dialer {
  private readonly connections: SshConnection[] = [];
  private readonly hops = new Map<string, Promise<SshConnection>>();

  constructor(
    private readonly options: ConnectOptions,
    private readonly resolveHop: (hop: string) => SshTarget,
  ) {}

  async connect(target: SshTarget, depth = 0): Promise<SshConnection> {
    if (depth > MOST_HOPS)
      throw new LaunchError(`host ${target.name}: its ProxyJumps go round in a circle, or through more than ${MOST_HOPS} hosts`, 3);
    const via = target.jumps.length > 0 ? await this.hop(target.jumps, depth) : undefined;
    const connection = await SshConnection.connect(target, this.options, via);
    this.connections.push(connection);
    return connection;
  }

  close(): void {
    for (const connection of this.connections) connection.destroy();
  }

  /** As ssh does: the first may lie behind others of its own, the next ones are reached from the one before. */
  private hop(path: readonly string[], depth: number): Promise<SshConnection> {
    const key = path.join(',');
    let hop = this.hops.get(key);
    if (!hop) {
      const target = this.resolveHop(path.at(-1)!);
      hop = this.connect(path.length > 1 ? { ...target, jumps: path.slice(0, -1) } : target, depth + 1);
      this.hops.set(key, hop);
    }
    return hop;
  }
}
