/** Which members of a group share a host, and how busy that makes the links when they exchange messages. Pure. */

export interface Topology {
  /** Of each position: number of its host, in the order in which hosts first appear. */
  readonly hostOf: readonly number[];
  /** Positions on each host, ascending. */
  readonly byHost: readonly (readonly number[])[];
}

/** @param names of each position's host: who has the same name shares a host */
export function topologyOf(names: readonly string[]): Topology {
  const hosts = new Map<string, number[]>();
  for (const [position, name] of names.entries()) {
    const ranks = hosts.get(name);
    if (ranks) ranks.push(position);
    else hosts.set(name, [position]);
  }
  const byHost = [...hosts.values()];
  const hostOf = Array<number>(names.length);
  for (const [host, ranks] of byHost.entries()) for (const rank of ranks) hostOf[rank] = host;
  return { hostOf, byHost };
}

export const oneHost = (size: number): Topology => topologyOf(Array<string>(size).fill(''));

/** Messages of one round, all under way at the same time, as the busiest host has them. */
export interface Traffic {
  readonly isLocal: boolean;
  /** So many leave one host for others, or come to one: they share its link. */
  readonly remote: number;
}

/** @param to for each position whom it sends to; undefined: nobody */
export function trafficOf({ hostOf, byHost }: Topology, to: (position: number) => number | undefined): Traffic {
  const leaving = Array<number>(byHost.length).fill(0);
  const coming = Array<number>(byHost.length).fill(0);
  let isLocal = false;
  for (const [position, host] of hostOf.entries()) {
    const receiver = to(position);
    if (receiver === undefined) continue;
    const other = hostOf[receiver]!;
    if (other === host) isLocal = true;
    else {
      leaving[host]! += 1;
      coming[other]! += 1;
    }
  }
  return { isLocal, remote: leaving.reduce((most, count, host) => Math.max(most, count, coming[host]!), 0) };
}
