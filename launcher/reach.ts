/**
 * Reaches the hosts of a job: this machine without anything, the others by ssh, all at the same time. tsrun's process.
 *
 * Either all are reached or none stays connected. Which address the ranks of a host listen on follows from the connections: what has been reached is reachable, whatever its name says.
 */
import { type AgentChannel, addressesOf, localChannel, sshChannel } from './agent_channel';
import { LaunchError } from './errors';
import { isThisMachine } from './local_hosts';
import { SshConnection } from './ssh/client';
import { type Files, resolveTarget, type SshOptions } from './ssh/config';

export interface Place {
  readonly host: string;
  /** Its ranks listen there. */
  readonly address: string;
  readonly isHere: boolean;
  /** Starts the agent. */
  open(): Promise<AgentChannel>;
}

export interface Reached {
  readonly places: readonly Place[];
  /** The rendezvous listens there. */
  readonly address: string;
  /** Ends every connection at once. */
  close(): void;
}

export interface ReachOptions {
  readonly ssh: SshOptions & { readonly acceptsNewKeys: boolean; readonly agentSocket?: string };
  readonly files: Files;
  readonly wdir: string;
  readonly timeoutMs: number;
}

/** Ranks of one machine meet there. */
const LOOPBACK = '127.0.0.1';

/** @throws LaunchError (exit 3, or 2 for a wrong option) every host that is not reached, a line each */
export async function reach(hosts: readonly string[], { ssh, files, wdir, timeoutMs }: ReachOptions): Promise<Reached> {
  const far = hosts.filter((host) => !isThisMachine(host));
  const targets = far.map((host) => resolveTarget(host, ssh, files));
  const jumping = targets.find(({ jumps }) => jumps.length > 0);
  if (jumping)
    throw new LaunchError(
      `host ${jumping.name} is behind ${jumping.jumps.join(', ')} (ProxyJump), which this version cannot go through`,
      3,
    );
  const attempts = await Promise.allSettled(targets.map((target) => SshConnection.connect(target, { ...ssh, timeoutMs })));
  const connections = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
  const close = (): void => {
    for (const connection of connections) connection.destroy();
  };
  const refusals = attempts.flatMap((attempt) => (attempt.status === 'rejected' ? [(attempt.reason as Error).message] : []));
  if (refusals.length > 0) {
    close();
    throw new LaunchError(refusals.join('\n'), 3);
  }
  const addresses = connections.map((connection, i) => addressesOf(connection, far[i]!));
  const here = addresses[0]?.here ?? LOOPBACK;
  const places = hosts.map((host): Place => {
    const i = far.indexOf(host);
    if (i < 0) return { host, address: here, isHere: true, open: async () => localChannel() };
    return { host, address: addresses[i]!.there, isHere: false, open: () => sshChannel(connections[i]!, host, wdir) };
  });
  return { places, address: here, close };
}
