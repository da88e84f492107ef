/** Every plan by name, over groups of any size: what the tests of this folder run through. */
import { pairwiseAlltoall } from '../../../src/collective/alltoall';
import { halvingDoublingAllreduce } from '../../../src/collective/halving_doubling';
import { hierarchicalAllreduce } from '../../../src/collective/hierarchical';
import type { Plan } from '../../../src/collective/plan';
import { recursiveDoublingAllreduce } from '../../../src/collective/recursive_doubling';
import { ringAllgather, ringAllreduce, ringReduceScatter } from '../../../src/collective/ring';
import { chainBroadcast, treeAllreduce, treeBroadcast } from '../../../src/collective/tree';

export const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
/** With nothing, less than one element a rank, one each, one more, and many segments. */
export const elemsFor = (size: number): number[] => [...new Set([0, 1, size - 1, size, size + 1, 1000])];

/** `chunkElems`: of rings; else all is one block. */
type Input = { size: number; elems: number; segmentElems: number; chunkElems?: number };
/** The plans of all ranks. */
export type Plans = (input: Input) => Plan[];
const onEach = (size: number, plan: (rank: number) => Plan): Plan[] => Array.from({ length: size }, (_, rank) => plan(rank));

/** Positions on each host: a host a rank where there are too few. */
export const hostings: Readonly<Record<string, (size: number) => number[][]>> = {
  'pairs, one rank alone if they are odd': (size) => byHostOf(size, (rank) => rank >> 1),
  'two hosts, by turns': (size) => byHostOf(size, (rank) => rank % 2),
  'a third on the first host': (size) => byHostOf(size, (rank) => Number(rank >= Math.ceil(size / 3))),
  'three hosts': (size) => byHostOf(size, (rank) => Math.floor((3 * rank) / size)),
};
function byHostOf(size: number, hostOf: (rank: number) => number): number[][] {
  const hosts = new Map<number, number[]>();
  for (let rank = 0; rank < size; rank += 1) hosts.set(hostOf(rank), [...(hosts.get(hostOf(rank)) ?? []), rank]);
  return [...hosts.values()];
}
const hierarchical =
  (hosting: (size: number) => number[][]): Plans =>
  (input) => {
    const byHost = hosting(input.size);
    // One host is none to be hierarchical over.
    if (byHost.length < 2) return allreduces.ring!(input);
    return onEach(input.size, (rank) => hierarchicalAllreduce({ rank, chunkElems: Math.max(1, input.elems), ...input, byHost }));
  };

export const allreduces: Readonly<Record<string, Plans>> = {
  ring: (input) => onEach(input.size, (rank) => ringAllreduce({ rank, chunkElems: Math.max(1, input.elems), ...input })),
  'recursive doubling': (input) => onEach(input.size, (rank) => recursiveDoublingAllreduce({ rank, ...input })),
  'halving-doubling': (input) => onEach(input.size, (rank) => halvingDoublingAllreduce({ rank, ...input })),
  tree: (input) => onEach(input.size, (rank) => treeAllreduce({ rank, ...input })),
  ...Object.fromEntries(Object.entries(hostings).map(([name, hosting]) => [`hierarchical, ${name}`, hierarchical(hosting)])),
};
export const broadcasts: Readonly<Record<string, (input: Input & { root: number }) => Plan[]>> = {
  tree: (input) => onEach(input.size, (rank) => treeBroadcast({ rank, ...input })),
  chain: (input) => onEach(input.size, (rank) => chainBroadcast({ rank, ...input })),
};
export const allgather = ({ elemsOf, segmentElems }: { elemsOf: readonly number[]; segmentElems: number }): Plan[] =>
  onEach(elemsOf.length, (rank) => ringAllgather({ rank, size: elemsOf.length, elemsOf, segmentElems }));
/** `elemsOf`: of each tensor, what each position keeps. */
export const reduceScatter = ({ elemsOf, segmentElems }: { elemsOf: readonly (readonly number[])[]; segmentElems: number }): Plan[] =>
  onEach(elemsOf[0]!.length, (rank) => ringReduceScatter({ rank, size: elemsOf[0]!.length, elemsOf, segmentElems }));
/** `splits`: of each position, elements for each position. */
export const alltoall = ({ splits, segmentElems }: { splits: readonly (readonly number[])[]; segmentElems: number }): Plan[] =>
  onEach(splits.length, (rank) => {
    const [toEach, fromEach] = [splits[rank]!, splits.map((ofMember) => ofMember[rank]!)];
    return pairwiseAlltoall({ rank, size: splits.length, toEach, fromEach, segmentElems });
  });
