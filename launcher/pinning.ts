/**
 * Which GPUs and which processors of its host each rank gets. Pure; the agent says what the host has (devices.ts).
 *
 * GPUs: `perProcess` each, in the order of local ranks, as CUDA_VISIBLE_DEVICES, and memory that grows as it is needed (else the first rank takes all of it). Processors: `core` shares all of
 * the host's evenly among its ranks, `numa` gives each rank one memory node's, ranks in turn.
 */
import { knobs } from '../src/config';
import { LaunchError } from './errors';
import type { Assignment } from './hosts';

export interface Devices {
  readonly gpus: readonly string[];
  /** Those of one core beside each other, those of one memory node beside each other. Empty: nothing can be bound here. */
  readonly cpus: readonly number[];
  readonly numaNodes: readonly (readonly number[])[];
}

export interface PinningOptions {
  /** undefined: one, where there are enough. */
  readonly gpusPerProcess?: number;
  readonly pinsGpus: boolean;
  /**
   * undefined: `core`, where every rank of the host gets one and its GPU cannot hang on another memory node than its share. The threads of a rank wake each other sooner on processors that
   * are theirs.
   */
  readonly bindTo?: 'core' | 'numa' | 'none';
  readonly oversubscribe: boolean;
}

export interface Pinning {
  readonly env: Record<string, string>;
  /** Empty: all. */
  readonly cpus: readonly number[];
}

/** @throws LaunchError (exit 4) --gpus-per-process was given and the host has too few, or --bind-to and nothing can be bound there */
export function pinningOf({ host, localRank, localSize }: Assignment, devices: Devices, options: PinningOptions): Pinning {
  return {
    env: gpuEnvironment(host, localRank, localSize, devices, options),
    cpus: binding(host, localRank, localSize, devices, options.bindTo),
  };
}

function gpuEnvironment(
  host: string,
  localRank: number,
  localSize: number,
  { gpus }: Devices,
  { gpusPerProcess, pinsGpus, oversubscribe }: PinningOptions,
): Record<string, string> {
  const each = gpusPerProcess ?? 1;
  if (gpusPerProcess !== undefined && localSize * each > gpus.length && !oversubscribe) {
    throw new LaunchError(
      `host ${host} has ${gpus.length} GPUs, but ${localSize} ranks with ${each} each were asked for: use fewer ranks there, or --oversubscribe`,
      4,
    );
  }
  if (!pinsGpus || gpus.length === 0) return {};
  // Oversubscribed ranks share GPUs, in turn.
  const own = Array.from({ length: Math.min(each, gpus.length) }, (_, i) => gpus[(localRank * each + i) % gpus.length]!);
  const sharers = oversubscribe ? 1 : Math.ceil((localSize * each) / gpus.length);
  return {
    CUDA_VISIBLE_DEVICES: own.join(','),
    HIP_VISIBLE_DEVICES: own.join(','),
    TF_FORCE_GPU_ALLOW_GROWTH: 'true',
    ...(sharers > 1 ? { [knobs.gpuSharers.env]: String(sharers) } : {}),
  };
}

function binding(
  host: string,
  localRank: number,
  localSize: number,
  { gpus, cpus, numaNodes }: Devices,
  wanted: PinningOptions['bindTo'],
): readonly number[] {
  const isSafe = localSize <= cpus.length && (gpus.length === 0 || numaNodes.length < 2);
  const bindTo = wanted ?? (isSafe ? 'core' : 'none');
  if (bindTo === 'none') return [];
  if (cpus.length === 0) {
    throw new LaunchError(
      `on host ${host} ranks cannot be bound to processors: there is no taskset (of util-linux) that works; leave out --bind-to ${bindTo}`,
      4,
    );
  }
  // A kernel that tells of no memory nodes has one.
  const own = bindTo === 'core' ? shareOf(cpus, localRank, localSize) : (numaNodes[localRank % numaNodes.length] ?? cpus);
  return own.length === cpus.length ? [] : own;
}

/** Neighbours stay together; with more ranks than processors each has one, in turn. */
function shareOf(cpus: readonly number[], localRank: number, localSize: number): readonly number[] {
  if (localSize > cpus.length) return [cpus[localRank % cpus.length]!];
  const boundary = (i: number): number => Math.floor((cpus.length * i) / localSize);
  return cpus.slice(boundary(localRank), boundary(localRank + 1));
}

/** By memory node, then by package and core: an even split then cuts through as few of them as it can. @param topologyOf package and core */
export function besideTheirNeighbours(
  cpus: readonly number[],
  numaNodes: readonly (readonly number[])[],
  topologyOf: (cpu: number) => readonly number[],
): number[] {
  const placed = cpus.map((cpu) => ({ cpu, place: [numaNodes.findIndex((node) => node.includes(cpu)), ...topologyOf(cpu), cpu] }));
  placed.sort((a, b) => a.place.map((part, i) => part - b.place[i]!).find((difference) => difference !== 0) ?? 0);
  return placed.map(({ cpu }) => cpu);
}

/** `0-2,5` → 0 1 2 5, as the kernel writes lists of processors. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}
