/**
 * Which address the ranks of each host listen on. Pure; the agents say what their hosts have, and try which addresses reach them (src/rendezvous/probe.ts).
 *
 * Chosen by what is reached, never by name. The address that tsrun itself reached the host by comes first, other addresses in the order the host names them; one that a single
 * asker does not reach (a bridge of containers, a dead or one-way interface) is out.
 */
import { type Interface, interfaceFilter } from '../src/rendezvous/interfaces';
import { LaunchError } from './errors';

export interface HostNetworks {
  readonly host: string;
  readonly interfaces: readonly Interface[];
  /** By which tsrun reached it, where it knows. */
  readonly reachedBy?: string;
}

/** The addresses worth a try, the best first. @param wanted `--network-interface` @throws LaunchError (exit 3) the host has no such interface */
export function candidatesOf({ host, interfaces, reachedBy }: HostNetworks, wanted?: string): string[] {
  const isWanted = wanted === undefined ? () => true : interfaceFilter(wanted);
  const found = interfaces.filter(isWanted).map(({ address }) => address);
  if (found.length === 0) {
    const has = interfaces.map(({ name, address }) => `${name} ${address}`).join(', ') || 'none beside loopback';
    throw new LaunchError(
      `host ${host} has no interface ${wanted === undefined ? 'that other hosts could reach' : `that --network-interface ${wanted} names`}; it has ${has}`,
      3,
    );
  }
  const isV6 = (address: string): boolean => address.includes(':');
  const sorted = [...found.filter((address) => !isV6(address)), ...found.filter(isV6)];
  return reachedBy !== undefined && found.includes(reachedBy) ? [reachedBy, ...sorted.filter((address) => address !== reachedBy)] : sorted;
}

/** The hosts that a host tries to reach: those at distances of powers of two both ways, as the algorithms connect them, and the first. All of them in small jobs. */
export function askedBy(place: number, hosts: number): number[] {
  const found = new Set<number>([0]);
  for (let distance = 1; distance < hosts; distance *= 2)
    for (const other of [place + distance, place - distance]) found.add((other + hosts) % hosts);
  found.delete(place);
  return [...found].sort((a, b) => a - b);
}

export interface Target {
  readonly place: number;
  readonly address: string;
  readonly port: number;
}

/** What a host is to try. @param ports of each host, in the order of its candidates */
export function targetsOf(place: number, candidates: ReadonlyArray<readonly string[]>, ports: ReadonlyArray<readonly number[]>): Target[] {
  return askedBy(place, candidates.length).flatMap((to) =>
    candidates[to]!.map((address, i) => ({ place: to, address, port: ports[to]![i] ?? 0 })),
  );
}

export interface Trial {
  readonly from: number;
  readonly to: number;
  readonly address: string;
  readonly isReached: boolean;
}

/** The first of a host's candidates that all who tried have reached. @throws LaunchError (exit 3) it has none: says who does not reach it, and by what it was tried */
export function chooseAddress(
  place: number,
  hosts: readonly HostNetworks[],
  candidates: ReadonlyArray<readonly string[]>,
  trials: readonly Trial[],
): string {
  const { host } = hosts[place]!;
  const own = trials.filter(({ to }) => to === place);
  const chosen = candidates[place]!.find((address) => own.filter((trial) => trial.address === address).every(({ isReached }) => isReached));
  if (chosen !== undefined) return chosen;
  const missing = candidates[place]!.map((address) => {
    const from = own.filter((trial) => trial.address === address && !trial.isReached).map((trial) => hosts[trial.from]!.host);
    return `${address} (not from ${from.slice(0, 4).join(', ')}${from.length > 4 ? ' …' : ''})`;
  });
  throw new LaunchError(
    `no address of host ${host} is reached from all the other hosts: tried ${missing.join(', ')}. Look for a firewall or a missing route between the hosts; --network-interface and --port-range say what may be used`,
    3,
  );
}

/** For each host. @throws LaunchError (exit 3) as chooseAddress */
export function chooseAddresses(
  hosts: readonly HostNetworks[],
  candidates: ReadonlyArray<readonly string[]>,
  trials: readonly Trial[],
): string[] {
  return hosts.map((_, place) => chooseAddress(place, hosts, candidates, trials));
}
