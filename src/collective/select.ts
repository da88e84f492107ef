/**
 * The one switch that chooses an algorithm. Pure.
 *
 * It looks at bytes, ranks and their hosts, constants of a cost model and whether all ranks block on the call, never at time or load: the same call takes the same way on all
 * ranks and in every run, so that its bits repeat. The sentence it returns says why.
 */
import { type Algorithm, algorithms } from '../config';
import { adasumLevels, type Level } from './adasum';
import { pairwiseAlltoall } from './alltoall';
import { type CostModel, costOf, defaultCostModel, type Message, unfit } from './cost_model';
import { halvingDoublingAllreduce } from './halving_doubling';
import { hierarchicalAllreduce } from './hierarchical';
import type { Plan } from './plan';
import { recursiveDoublingAllreduce } from './recursive_doubling';
import { ringAllgather, ringAllreduce, ringReduceScatter } from './ring';
import type { Topology } from './topology';
import { chainBroadcast, treeAllreduce, treeBroadcast } from './tree';

export interface Selected {
  readonly plan: Plan;
  readonly algorithm: 'none' | Algorithm | 'chain' | 'pairwise';
  readonly reason: string;
}

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
type Operand = Omit<Group, 'size'> & { readonly elems: number };

/** By what an allreduce is chosen, the same on all ranks of a job. */
export interface Policy {
  readonly costs: CostModel;
  /** None but these, if one of them is one for the ranks. */
  readonly among: readonly Algorithm[];
}
export const defaultPolicy: Policy = { costs: defaultCostModel, among: algorithms };

export interface Choice {
  readonly algorithm: Algorithm;
  readonly reason: string;
}

/** For two ranks or more. */
export function chooseAllreduce(bytes: number, topology: Topology, { costs, among }: Policy): Choice {
  const fitting = (list: readonly Algorithm[]): Algorithm[] => list.filter((algorithm) => unfit(algorithm, topology) === undefined);
  const asked = fitting(among);
  const refused = asked.length === 0 ? `${among.join(', ')} does not apply: ${unfit(among[0]!, topology)}; ` : '';
  const candidates = refused ? fitting(algorithms) : asked;
  if (candidates.length === 1) return { algorithm: candidates[0]!, reason: `${bytes} bytes: ${candidates[0]} was asked for` };
  const priced = candidates.map((algorithm) => ({
    algorithm,
    seconds: costOf(algorithm, messageOf(algorithm, bytes, topology), topology, costs),
  }));
  // A sort is stable: of equal ones the first.
  const listed = priced.map(({ algorithm, seconds }) => `${algorithm} ${(seconds * 1e6).toFixed(0)}`).join(', ');
  // A sort is stable: of equal ones the first.
  const [{ algorithm }] = [...priced].sort((a, b) => a.seconds - b.seconds) as [(typeof priced)[number]];
  return {
    algorithm,
    reason: `${refused}${bytes} bytes on ${topology.hostOf.length} ranks of ${topology.byHost.length} host(s) take, in µs, ${listed}: ${algorithm} takes the least`,
  };
}

/** In what pieces an algorithm moves an operand: those of a ring follow from its chunks. */
function messageOf(algorithm: Algorithm, bytes: number, { hostOf, byHost }: Topology): Message {
  const parts =
    algorithm === 'hierarchical'
      ? byHost.length * Math.min(...byHost.map((ranks) => ranks.length))
      : algorithm === 'ring'
        ? hostOf.length
        : 1;
  return { bytes, chunkBytes: MOST_CHUNK_BYTES, segmentBytes: ringSegmentBytes(bytes / parts) };
}

export function planAllreduce(algorithm: Algorithm, { rank, elems, bytesPerElem }: Operand, topology: Topology): Plan {
  const { hostOf, byHost } = topology;
  const { chunkBytes, segmentBytes } = messageOf(algorithm, elems * bytesPerElem, topology);
  const input = {
    rank,
    size: hostOf.length,
    elems,
    chunkElems: elemsIn(chunkBytes, bytesPerElem),
    segmentElems: elemsIn(segmentBytes, bytesPerElem),
  };
  switch (algorithm) {
    case 'ring':
      return ringAllreduce(input);
    case 'recursive-doubling':
      return recursiveDoublingAllreduce(input);
    case 'halving-doubling':
      return halvingDoublingAllreduce(input);
    case 'hierarchical':
      return hierarchicalAllreduce({ ...input, byHost });
    case 'tree':
      return treeAllreduce(input);
  }
}

export function selectAllreduce(operand: Operand, topology: Topology, policy: Policy): Selected {
  if (topology.hostOf.length === 1) return alone(planAllreduce('ring', operand, topology));
  const choice = chooseAllreduce(operand.elems * operand.bytesPerElem, topology, policy);
  return { plan: planAllreduce(choice.algorithm, operand, topology), ...choice };
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
