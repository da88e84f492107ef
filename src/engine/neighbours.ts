/** Whether this rank shares memory with others of its host, with whom, and what is said when it cannot. */
import os from 'node:os';
import type { Config } from '../config';
import type { HvdError } from '../errors';
import { log } from '../log';
import type { Kernels } from '../memory/kernels';
import type { JobIdentity } from '../schedulers/identity';
import { LocalMemory } from '../transport/shared_memory/local_memory';
import { neighbourhood, whyNoSharedMemory } from '../transport/shared_memory/pages';
import type { Windows } from '../transport/shared_memory/windows';
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
    // Each rank computes in another thread meanwhile.
    return LocalMemory.open(memory, kernels, windows, cores < 2 * ranksHere(config, job));
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
  log(level, `The ranks on host ${hostname} exchange by TCP, not by shared memory: ${why}.`);
}
