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

/** Only then are addresses kept for it. Main thread. */
export function maySharePages(config: Config, job: JobIdentity | undefined): boolean {
  const { size, transport } = config;
  return (
    size > 1 && (job?.localSize ?? config.localSize ?? size) > 1 && ['auto', 'shm'].includes(transport) && whyNoSharedMemory() === undefined
  );
}

/** Communication thread, before anything lies in the arena. @returns undefined: nothing is shared, and why has been said where there would have been somebody to share with */
export function openLocalMemory(
  config: Config,
  memory: WebAssembly.Memory,
  kernels: Kernels,
  windows: Windows | undefined,
): LocalMemory | undefined {
  const { size, localSize, transport } = config;
  if (size === 1 || localSize === 1 || !['auto', 'shm'].includes(transport)) return undefined;
  if (!windows) {
    tell(config, whyNoSharedMemory() ?? 'this rank is alone on its host');
    return undefined;
  }
  try {
    const cores = config.localCpus || os.availableParallelism();
    // Each rank computes in another thread meanwhile.
    return LocalMemory.open(memory, kernels, windows, cores < 2 * (localSize ?? size));
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
