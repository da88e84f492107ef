/**
 * Ring allreduce, and its two halves alone, reduce-scatter and allgather: the bandwidth-optimal way to sum large tensors. Pure.
 *
 * The ranks stand in a ring. Each sends only to its right neighbour (r + 1) and receives only from its left one (r − 1), always both at once,
 * so that every link of the ring carries data all the time, in one direction:
 *
 *                       ┌────────┐
 *            ┌─────────▶│ rank 0 │─────────┐
 *            │          └────────┘         ▼
 *        ┌────────┐                    ┌────────┐
 *        │ rank 2 │◀───────────────────│ rank 1 │
 *        └────────┘                    └────────┘
 *
 * The tensor is cut into N chunks, one per rank. At step k = 0 … 2N−3, rank r
 *
 *        sends    chunk (r − k)     mod N
 *        receives chunk (r − k − 1) mod N
 *
 * and what it receives at one step is what it sends at the next. In the first N − 1 steps (reduce-scatter) it adds what it receives to its own
 * values: each chunk goes once around the ring and gathers every rank's contribution. Then each rank holds one chunk that is complete, namely
 * (r + 1) mod N. In the last N − 1 steps (allgather) the complete chunks go around once more and overwrite the partial sums.
 *
 * Three ranks, chunks a b c; a0 is rank 0's part of a, a01 the sum of rank 0's and rank 1's, A the sum of all:
 *
 *                      rank 0            rank 1            rank 2
 *        at first      a0   b0   c0      a1   b1   c1      a2   b2   c2
 *        k = 0 sends   a                 b                 c               reduce
 *                      a0   b0   c02     a01  b1   c1      a2   b12  c2
 *        k = 1 sends   c                 a                 b               reduce, then post-scale: B, C, A are final
 *                      a0   B    c02     a01  b1   C       A    b12  c2
 *        k = 2 sends   B                 C                 A               copy
 *                      A    B    c02     a01  B    C       A    b12  C
 *        k = 3 sends   A                 B                 C               copy
 *                      A    B    C       A    B    C       A    B    C
 *
 * Cost: each rank sends and receives 2(N−1) chunks, that is 2(N−1)/N of the tensor, hardly more for a hundred ranks than for three. No
 * algorithm can do with less. The price is 2(N−1) latencies one after the other, which is why small tensors take recursive doubling.
 * Scratch: one segment being received while one is being reduced; nothing grows with the tensor.
 *
 * Pipelining: a chunk travels in segments. A segment is forwarded as soon as it is complete here, without waiting for the rest of its chunk:
 * the wire carries one segment while the processor adds the next.
 *
 * Blocks: a large tensor is cut into blocks of N chunks that fit a cache, and each goes around the ring by itself, one right behind the other.
 * What a rank has just added to, and what it has just sent, is then still in its cache when it is sent, or overwritten, the second time; in
 * one go around with chunks of B/N, every element would come from memory at every step. The links notice nothing: the first sends of a block
 * wait for no receipt.
 *
 * Same bits: chunk c is summed in the order of ranks c, c+1, …, c−1, by whom and when does not depend on timing; each chunk is completed (and
 * post-scaled) by one rank and copied by all others. Another chunk has another order: moving a chunk or block boundary changes rounding.
 *
 * Sources: P. Patarasuk, X. Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations, JPDC 69 (2009), which also proves the bound;
 * baidu-allreduce (the form in which deep learning took it up); gloo (segments); NCCL (blocks, there the iterations of a loop).
 */
import {
  aloneAllreduce,
  oneBehindTheOther,
  type Plan,
  type PlanInput,
  partOf,
  type Range,
  type Recv,
  rangesOf,
  type Send,
  segmentsOf,
} from './plan';

/** `chunkElems`: largest chunk, an integer from 1. */
export interface RingInput extends PlanInput {
  readonly chunkElems: number;
}

/**
 * operand = sum (or min, max, …) over all ranks of operand[elems], in place.
 * Works for any elems ≥ 0: with fewer elements than ranks some chunks are empty, and nothing is sent for them.
 */
export function ringAllreduce({ rank, size, elems, segmentElems, chunkElems }: RingInput): Plan {
  if (size === 1) return aloneAllreduce(elems);
  const blocks = segmentsOf({ from: 0, until: elems }, size * chunkElems);
  const plans = blocks.map((block) => {
    const chunks = Array.from({ length: size }, (_, chunk) => segmentsOf(partOf(block, chunk, size), segmentElems));
    return aroundTheRing(rank, chunks, 2 * (size - 1), (step) => ({
      action: step < size - 1 ? 'reduce' : 'copy',
      finish: step === size - 2,
    }));
  });
  return oneBehindTheOther(plans);
}

/**
 * Every rank's part to every rank: the second half of the ring alone. Each rank sends all parts but its right neighbour's.
 * The operand is the concatenation of the parts in order of position; this rank's own part is already in place.
 *
 * @param elemsOf elements of each position's part, any ≥ 0
 */
export function ringAllgather({
  rank,
  size,
  elemsOf,
  segmentElems,
}: Omit<PlanInput, 'elems'> & { readonly elemsOf: readonly number[] }): Plan {
  const parts = rangesOf(elemsOf).map((part) => segmentsOf(part, segmentElems));
  return aroundTheRing(rank, parts, size - 1, () => ({ action: 'copy', finish: false }));
}

/**
 * Each rank's part, reduced over all ranks: the first half of the ring alone. Each rank sends all parts but its own, (N−1)/N of the whole
 * if they are equal, in N − 1 latencies. The operand is the tensors one behind the other, each the concatenation of its parts in order of
 * position; afterwards this rank's part of each is reduced, and the rest of the operand holds partial sums.
 *
 * Here rank r is to end with part r, not r + 1: it begins with the part that an allreduce would send second, so that part c is summed in the
 * order of ranks c + 1, c + 2, …, c. What a step moves of all the tensors goes around together: a group costs the latencies of one tensor. There are no
 * blocks: an element is sent while its sum is fresh, and never again.
 *
 * @param elemsOf of each tensor: elements of each position's part, any ≥ 0
 */
export function ringReduceScatter({
  rank,
  size,
  elemsOf,
  segmentElems,
}: Omit<PlanInput, 'elems'> & { readonly elemsOf: readonly (readonly number[])[] }): Plan {
  const parts: Range[][] = Array.from({ length: size }, () => []);
  for (const [i, range] of rangesOf(elemsOf.flat()).entries()) parts[i % size]!.push(...segmentsOf(range, segmentElems));
  if (size === 1) return aloneAllreduce(parts[0]!.at(-1)?.until ?? 0);
  const shifted = parts.map((_, i) => parts[(i + size - 1) % size]!);
  return aroundTheRing(rank, shifted, size - 1, (step) => ({ action: 'reduce', finish: step === size - 2 }));
}

/** The steps themselves. `chunks`: segments of each chunk; `receipt`: what a step does with what it receives. */
function aroundTheRing(
  rank: number,
  chunks: readonly (readonly Range[])[],
  steps: number,
  receipt: (step: number) => Pick<Recv, 'action' | 'finish'>,
): Plan {
  const size = chunks.length;
  const chunk = (i: number): readonly Range[] => chunks[(i + 2 * size) % size]!;
  const right = (rank + 1) % size;
  const left = (rank + size - 1) % size;
  const sends: Send[] = [];
  const recvs: Recv[] = [];
  let overwritten = 0;
  for (let step = 0; step < steps; step += 1) {
    for (const segment of chunk(rank - step)) {
      // After its own chunk, a rank sends segment by segment what it has received: the i-th forwarded one is the i-th receipt.
      sends.push({ to: right, ...segment, afterRecvs: Math.max(0, sends.length + 1 - chunk(rank).length) });
    }
    for (const segment of chunk(rank - step - 1)) {
      // In the second round the chunks come in the order in which their partial sums were sent: the i-th one overwrites the i-th send.
      const isSecondRound = step >= size - 1;
      recvs.push({ peer: left, ...segment, ...receipt(step), afterSends: isSecondRound ? ++overwritten : 0 });
    }
  }
  return { sends, recvs };
}
