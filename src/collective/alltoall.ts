/**
 * Pairwise exchange: every rank has something of its own for every other. Pure.
 *
 * At step s = 1 … N−1 rank r sends to rank r + s and receives from rank r − s, so that at each step every rank is sent to by exactly one:
 *
 *              rank 0      rank 1      rank 2      rank 3
 *        s=1   to 1        to 2        to 3        to 0
 *        s=2   to 2        to 3        to 0        to 1
 *        s=3   to 3        to 0        to 1        to 2
 *
 * Nobody waits for others at the end of a step: a rank whose message of this step has left begins the next. Who takes a message takes those of earlier
 * steps first, so a rank that is ahead is held back where it matters, at the one that receives.
 *
 * What is sent lies in a source of its own, the parts for positions 0 … N−1 one behind the other; what is received fills the operand, the parts from
 * positions 0 … N−1 one behind the other. The two may differ in length: nothing is exchanged in place. The part for this rank itself is no business of the plan.
 *
 * Cost: each rank sends and receives every element that is another's once, in N − 1 latencies; nobody passes anything on. Scratch: none, receipts land in place.
 * Many small parts would take fewer latencies with Bruck's algorithm, which sends each element log2(N)/2 times.
 *
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of collective communication operations in MPICH, IJHPCA 19 (2005).
 */
import { type Plan, type PlanInput, type Recv, rangesOf, type Send, segmentsOf } from './plan';

export interface AlltoallInput extends Omit<PlanInput, 'elems'> {
  /** Elements for each position, any ≥ 0. */
  readonly toEach: readonly number[];
  /** Elements from each position: what its `toEach` says of this one. */
  readonly fromEach: readonly number[];
}

export function pairwiseAlltoall({ rank, size, toEach, fromEach, segmentElems }: AlltoallInput): Plan {
  const [outgoing, incoming] = [rangesOf(toEach), rangesOf(fromEach)];
  const sends: Send[] = [];
  const recvs: Recv[] = [];
  for (let step = 1; step < size; step += 1) {
    const [to, peer] = [(rank + step) % size, (rank + size - step) % size];
    for (const segment of segmentsOf(outgoing[to]!, segmentElems)) sends.push({ to, ...segment, afterRecvs: 0 });
    for (const segment of segmentsOf(incoming[peer]!, segmentElems))
      recvs.push({ peer, ...segment, action: 'copy', finish: false, afterSends: 0 });
  }
  return { sends, recvs };
}
