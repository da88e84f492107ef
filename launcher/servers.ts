/**
 * Which parameter server runs where, and which hosts a job has. Pure.
 *
 * Servers stand beside the ranks: they take no slots, and a host may have servers only.
 */
import type { Assignment, HostSpec } from './hosts';

/** A host of the job, as the host list names it. */
type Host = Pick<HostSpec, 'host' | 'user'>;

export interface ServerPlace extends Host {
  /** From 0. */
  readonly server: number;
}

/** Names the process in output, files and messages. */
export const serverLabel = (server: number): string => `ps${server}`;
export const isServerLabel = (label: string): boolean => /^ps\d+$/.test(label);

export const isSameHost = (one: Host, other: Host): boolean => one.host === other.host && one.user === other.user;

/**
 * One on each host in turn, until all are placed.
 *
 * @param hosts of the job's host list, those that get no rank too
 * @param named instead of them: `--ps-hosts`; their slots mean nothing, and one without a user is meant as the host list means it
 */
export function placeServers(count: number, hosts: readonly HostSpec[], named?: readonly HostSpec[]): ServerPlace[] {
  const userOf = ({ host, user }: HostSpec): string | undefined => user ?? hosts.find((other) => other.host === host)?.user;
  const spread = named?.map((spec) => ({ host: spec.host, user: userOf(spec) })) ?? hosts;
  return Array.from({ length: count }, (_, server) => {
    const { host, user } = spread[server % spread.length]!;
    return { server, host, user };
  });
}

/** Each once: first those with ranks, in the order of ranks, then those with servers only. */
export function hostsOfJob(assignments: readonly Assignment[], servers: readonly ServerPlace[]): Host[] {
  const all = [...assignments.filter(({ localRank }) => localRank === 0), ...servers];
  return all.filter((one, i) => all.findIndex((other) => isSameHost(one, other)) === i).map(({ host, user }) => ({ host, user }));
}
