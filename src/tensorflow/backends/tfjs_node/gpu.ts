/**
 * Which NVIDIA GPU this rank takes, before CUDA is loaded. Pure, but for `driverProblem`, which looks at this machine. Main thread.
 *
 * tsrun has given each rank its own already; ranks that something else started see all of them, and each takes that of its local rank.
 */
import { existsSync, readdirSync } from 'node:fs';
import { BackendError } from '../../../errors';
import type { Share } from '../backend';

export interface Gpus {
  /** CUDA_VISIBLE_DEVICES of this process. */
  readonly visible: string | undefined;
  /** GPUs of the host; undefined: not known. */
  readonly count: number | undefined;
}

/** CUDA_VISIBLE_DEVICES for this rank; undefined: as it is. @throws BackendError there is none for it */
export function visibleGpu(
  { visible, count }: Gpus,
  { localRank, localSize, isByTsrun, gpuSharers }: Pick<Share, 'localRank' | 'localSize' | 'isByTsrun' | 'gpuSharers'>,
): string | undefined {
  if (visible !== undefined && names(visible).length === 0)
    throw new BackendError('CUDA_VISIBLE_DEVICES hides every GPU from this process. Unset it.');
  if (count === 0) throw new BackendError("NVIDIA's driver finds no GPU on this host");
  if (isByTsrun) {
    if (gpuSharers > 1)
      throw new BackendError(
        `${gpuSharers} ranks of this host would share one GPU (CUDA_VISIBLE_DEVICES=${visible}). Start one rank per GPU (-H host:GPUS), or allow it with --oversubscribe.`,
      );
    return undefined;
  }
  const all =
    visible === undefined ? (count === undefined ? undefined : Array.from({ length: count }, (_, i) => String(i))) : names(visible);
  if (localSize === 1 || all === undefined) return undefined;
  if (localRank >= all.length)
    throw new BackendError(
      `this host has ${all.length} GPUs for ${localSize} ranks, and none is left for local rank ${localRank}. Start at most ${all.length} ranks on it.`,
    );
  return all[localRank];
}

const names = (list: string): string[] => list.split(',').filter((name) => name.trim() !== '' && name.trim() !== '-1');

/** GPUs that the driver lists; undefined where it lists none though it may have some (WSL, containers). */
export function countGpus(): number | undefined {
  try {
    return readdirSync('/proc/driver/nvidia/gpus').length;
  } catch {
    return undefined;
  }
}

/** Why CUDA cannot find a GPU here; undefined: it may. */
export function driverProblem(exists: (file: string) => boolean = existsSync): string | undefined {
  if (process.platform !== 'linux') return undefined;
  return ['/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/dxg'].some(exists)
    ? undefined
    : 'there is no NVIDIA driver on this host (nvidia-smi would say the same)';
}
