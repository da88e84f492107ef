/** What this rank shares with others of its host, memory or at least Unix sockets, with whom, and what is said when it cannot. */
import os from 'node:os';
import type { Config } from '../config';
import type { HvdError } from '../errors';
import { log } from '../log';
import type { Kernels } from '../memory/kernels';
import type { JobIdentity } from '../schedulers/identity';
import type { Listener } from '../transport/listener';
import type { Peer } from '../transport/peer';
import { LocalMemory } from '../transport/shared_memory/local_memory';
import { neighbourhood, whyNoSharedMemory } from '../transport/shared_memory/pages';
import type { Windows } from '../transport/shared_memory/windows';
import { isInReach, namespaceOf, type UnixPlace, whyNoUnixSockets } from '../transport/unix';
import type { khorovod } from '../wire/generated/messages';

/** Ranks of this host that may share memory, with this one: so many addresses are kept for it. Main thread. */
export function ranksThatShare(config: Config, job: JobIdentity | undefined): number {
  return mayHaveNeighbours(config, job) && whyNoSharedMemory() === undefined ? ranksHere(config, job) : 1;
}

/** As far as it is known before the ranks meet: somebody on this host, with whom memory is to be shared. */
function mayHaveNeighbours(config: Config, job: JobIdentity | undefined): boolean {
  return ranksHere(config, job) > 1 && ['auto', 'shm'].includes(config.transport);
}
/** At most. */
const ranksHere = ({ size, localSize }: Config, job: JobIdentity | undefined): number =>
  Math.min(size, job?.localSize ?? localSize ?? size);

/** Communication thread, before anything lies in the arena. @returns undefined: nothing is shared, and why has been said where there would have been somebody to share with */
export function openLocalMemory(
  config: Config,
  job: JobIdentity | undefined,
  memory: WebAssembly.Memory,
  kernels: Kernels,
  windows: Windows | undefined,
): LocalMemory | undefined {
  if (!mayHaveNeighbours(config, job)) return undefined;
  if (!windows) {
    tell(config, whyNoSharedMemory() ?? 'it could not be shared when this rank started');
    return undefined;
  }
  try {
    const cores = config.localCpus || os.availableParallelism();
    return LocalMemory.open(memory, kernels, windows, { ranks: ranksHere(config, job), cores });
  } catch (error) {
    tell(config, (error as HvdError).message);
    return undefined;
  }
}

/** What this rank tells the others of itself. */
export const neighbourhoodOf = (local: LocalMemory | undefined): string => (local ? neighbourhood() : '');

/** Those who can see this rank's memory, and whose it can see. */
export function neighboursOf(rank: number, records: readonly khorovod.IRankRecord[]): Set<number> {
  const own = records[rank]!;
  const isNear = (other: khorovod.IRankRecord): boolean =>
    other !== own && own.neighbourhood !== '' && other.host === own.host && other.neighbourhood === own.neighbourhood;
  return new Set(records.filter(isNear).map((other) => other.rank!));
}

/** One line a host. */
export function tell({ hostname, localRank = 0, transport }: Config, why: string): void {
  if (localRank !== 0) return;
  // Elsewhere than on Linux nobody expects it.
  const level = process.platform === 'linux' || transport === 'shm' ? 'WARNING' : 'INFO';
  log(level, `The ranks on host ${hostname} exchange by sockets, not by shared memory: ${why}.`);
}

/** This process's Unix socket, or why it has none, and whether that is a surprise. */
export interface OwnSocket {
  readonly place?: UnixPlace;
  readonly why?: string;
  readonly isRefused?: boolean;
}

/** Has the listener accept by one, where links may be of that kind. */
export async function openUnixSocket(
  { transport }: Pick<Config, 'transport'>,
  tls: boolean | undefined,
  listener: Listener,
): Promise<OwnSocket> {
  const scope = namespaceOf('net');
  const why = transport === 'tcp' ? '--transport is tcp' : whyNoUnixSockets(tls, scope);
  if (why !== undefined) return { why };
  try {
    return { place: { name: await listener.listenUnix(), scope } };
  } catch (error) {
    return { why: `the system refuses one (${(error as Error).message})`, isRefused: true };
  }
}

type Reachable = Pick<khorovod.IRankRecord, 'rank' | 'host' | 'unixName' | 'unixScope'>;
const placeOf = ({ unixName, unixScope }: Reachable): UnixPlace => ({ name: unixName ?? '', scope: unixScope ?? '' });

/** By rank, for those whose Unix socket this process reaches. That TCP is used instead is told once. */
export function reachedByUnixSocket(own: OwnSocket, member: number, records: readonly Reachable[]): Map<number, Peer['near']> {
  let isTold = false;
  const onRefused = (why: string): void => {
    if (!isTold) log('WARNING', `TCP is used among processes of this host instead of a Unix socket: ${why}`);
    isTold = true;
  };
  const near = records.filter((other) => other.rank !== member && isInReach(own.place, placeOf(other)));
  return new Map(near.map((other) => [other.rank!, { unixName: other.unixName!, onRefused }]));
}

/** @returns what is to be said at once: that somebody of this host is not reached so, though it was asked for, or the system should have allowed it */
export function noticeOfTcp(
  { transport }: Pick<Config, 'transport'>,
  own: OwnSocket,
  member: number,
  records: readonly Reachable[],
): string | undefined {
  if (transport !== 'unix' && !own.isRefused) return undefined;
  const { host } = records[member]!;
  const far = records.find((other) => other.rank !== member && other.host === host && !isInReach(own.place, placeOf(other)));
  const why = own.why ?? 'they see different networks (network namespaces), or one of them has none';
  return far && `The processes on host ${host} exchange by TCP, not by Unix sockets: ${why}.`;
}
