/**
 * The one switch that chooses an algorithm. Pure.
 *
 * It looks at bytes, number of ranks and whether all of them block on the call, never at time or load: the same call takes the same way on all
 * ranks and in every run, so that its bits repeat. The sentence it returns says why.
 */
import { adasumLevels, type Level } from './adasum';
import { pairwiseAlltoall } from './alltoall';
import type { Plan } from './plan';
import { recursiveDoublingAllreduce } from './recursive_doubling';
import { ringAllgather, ringAllreduce, ringReduceScatter } from './ring';
import { chainBroadcast, treeBroadcast } from './tree';

export interface Selected {
  readonly plan: Plan;
  readonly algorithm: 'none' | 'ring' | 'recursive-doubling' | 'tree' | 'chain' | 'pairwise';
  readonly reason: string;
}

/**
 * 32 KiB: a wake-up costs about 50 µs, as much as 250 KB on loopback and 6 KB on a 1 Gbit/s link. Recursive doubling saves 2(N−1) − log2(N) of
 * them for log2(N) − 2(N−1)/N tensors more on the wire; with 4 to 16 ranks that pays up to about 50 KB on the slow link, 2 MB on loopback.
 */
export const RECURSIVE_DOUBLING_MAX_BYTES = 32 << 10;
/**
 * 1 MiB: two chunks, the one being sent and the one being reduced, and their copies in the kernel stay in a cache of a few MiB. Measured on loopback, 64 MiB, 2 ranks, whole operation, in one
 * window: in one block 48 ms, chunks of 4 MiB 50 ms, 2 MiB 47 ms, 1 MiB 35 ms, 512 KiB 30 ms; on a network shorter chunks are more latencies of a ring that is not full yet.
 */
export const MOST_CHUNK_BYTES = 1 << 20;
/**
 * A chunk travels in two segments, so that receiving, reducing and sending overlap, but in none shorter than 256 KiB (a wake-up costs as much). Measured as above with chunks of 1 MiB: segments
 * of 1 MiB 33 ms, 512 KiB 32 ms, 256 KiB 40 ms.
 */
export const LEAST_SEGMENT_BYTES = 256 << 10;
export const MOST_SEGMENT_BYTES = 512 << 10;
const SEGMENTS_PER_CHUNK = 2;
const ringSegmentBytes = (chunkBytes: number): number =>
  Math.min(MOST_SEGMENT_BYTES, Math.max(LEAST_SEGMENT_BYTES, chunkBytes / SEGMENTS_PER_CHUNK));
/** 1 MiB: the shortest write at which a socket reaches its full rate; what is only copied need not stay in cache. */
export const COPY_SEGMENT_BYTES = 1 << 20;
/** 256 KiB: as much as the wire carries in one wake-up; below, the tree's log2(N) latencies beat the chain's N − 1. */
export const TREE_MAX_BYTES = 256 << 10;

/**
 * 8 KiB on all ranks together: it rides on the messages that negotiation costs anyway and saves the wake-ups of a plan. Measured on loopback, 2 ranks, medians of some runs, with the
 * ride and without: 1 KiB 220 and 270 µs, 4 KiB 250 and 275 µs, 16 KiB 385 and 320 µs.
 */
export const STAR_MAX_BYTES = 8 << 10;

/** Whether the operand of an allreduce that a rank blocks on travels with its request, to be reduced by the coordinator in the order of ranks. */
export const isStarAllreduce = (size: number, bytes: number): boolean => size > 1 && bytes > 0 && bytes * size <= STAR_MAX_BYTES;

interface Group {
  readonly rank: number;
  readonly size: number;
  readonly bytesPerElem: number;
}

export function selectAllreduce({ rank, size, elems, bytesPerElem }: Group & { readonly elems: number }): Selected {
  const bytes = elems * bytesPerElem;
  const input = {
    rank,
    size,
    elems,
    chunkElems: elemsIn(MOST_CHUNK_BYTES, bytesPerElem),
    segmentElems: elemsIn(ringSegmentBytes(bytes / size), bytesPerElem),
  };
  if (size === 1) return alone(ringAllreduce(input));
  if (bytes <= RECURSIVE_DOUBLING_MAX_BYTES) {
    const reason = `${bytes} bytes are at most ${RECURSIVE_DOUBLING_MAX_BYTES}: latency counts, and recursive doubling has the fewest`;
    return { plan: recursiveDoublingAllreduce(input), algorithm: 'recursive-doubling', reason };
  }
  const reason = `${bytes} bytes are more than ${RECURSIVE_DOUBLING_MAX_BYTES}: bandwidth counts, and the ring sends the fewest bytes`;
  return { plan: ringAllreduce(input), algorithm: 'ring', reason };
}

export function selectBroadcast({
  rank,
  size,
  root,
  elems,
  bytesPerElem,
}: Group & { readonly root: number; readonly elems: number }): Selected {
  const bytes = elems * bytesPerElem;
  const input = { rank, size, root, elems, segmentElems: elemsIn(COPY_SEGMENT_BYTES, bytesPerElem) };
  if (size === 1) return alone(treeBroadcast(input));
  if (bytes <= TREE_MAX_BYTES) {
    return { plan: treeBroadcast(input), algorithm: 'tree', reason: `${bytes} bytes are at most ${TREE_MAX_BYTES}: latency counts` };
  }
  const reason = `${bytes} bytes are more than ${TREE_MAX_BYTES}: bandwidth counts, and in a chain every rank sends them at most once`;
  return { plan: chainBroadcast(input), algorithm: 'chain', reason };
}

export function selectAllgather({ rank, size, elemsOf, bytesPerElem }: Group & { readonly elemsOf: readonly number[] }): Selected {
  const plan = ringAllgather({ rank, size, elemsOf, segmentElems: elemsIn(COPY_SEGMENT_BYTES, bytesPerElem) });
  if (size === 1) return alone(plan);
  return { plan, algorithm: 'ring', reason: 'every part must reach every rank, and on the ring each link carries it once' };
}

/** `elemsOf`: of each tensor, what each position keeps. */
export function selectReduceScatter({
  rank,
  size,
  elemsOf,
  bytesPerElem,
}: Group & { readonly elemsOf: readonly (readonly number[])[] }): Selected {
  const bytes = elemsOf.flat().reduce((sum, elems) => sum + elems, 0) * bytesPerElem;
  const plan = ringReduceScatter({ rank, size, elemsOf, segmentElems: elemsIn(ringSegmentBytes(bytes / size), bytesPerElem) });
  if (size === 1) return alone(plan);
  return { plan, algorithm: 'ring', reason: 'on the ring every rank sends each part that is not its own once, and adds while it receives' };
}

/** `toEach`, `fromEach`: elements for and from each position. */
export function selectAlltoall({
  rank,
  size,
  toEach,
  fromEach,
  bytesPerElem,
}: Group & { readonly toEach: readonly number[]; readonly fromEach: readonly number[] }): Selected {
  const plan = pairwiseAlltoall({ rank, size, toEach, fromEach, segmentElems: elemsIn(COPY_SEGMENT_BYTES, bytesPerElem) });
  if (size === 1) return alone(plan);
  return {
    plan,
    algorithm: 'pairwise',
    reason: 'what each pair exchanges is nobody else’s, and at each step every rank has another partner',
  };
}

/** What this rank does on the levels of an Adasum, before the broadcast of what the first rank then holds. */
export const selectAdasum = ({ rank, size, elems, bytesPerElem }: Group & { readonly elems: number }): Level[] =>
  adasumLevels({ rank, size, elems, segmentElems: elemsIn(COPY_SEGMENT_BYTES, bytesPerElem) });

const alone = (plan: Plan): Selected => ({ plan, algorithm: 'none', reason: 'a group of one has nobody to exchange with' });
const elemsIn = (bytes: number, bytesPerElem: number): number => Math.max(1, Math.floor(bytes / bytesPerElem));
