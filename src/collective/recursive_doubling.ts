/**
 * Recursive doubling allreduce: the fewest latencies, for small tensors. Pure.
 *
 * At step k = 0 … log2(N)−1 rank r exchanges all it has with rank r XOR 2^k, and both add: after the step, every rank of a block of 2^(k+1)
 * holds the sum over that block.
 *
 *        ranks    0     1     2     3
 *                 0 ←─→ 1     2 ←─→ 3       k = 0: each holds 01 or 23
 *                 0 ←─────────→ 2
 *                       1 ←─────────→ 3     k = 1: each holds 0123
 *
 * If N is no power of two, P = the largest one below it: each of the N − P extra ranks (P, P+1, …) first gives its values to rank r − P, which
 * adds them to its own, and at the end gets the result from there.
 *
 * Cost: log2(N) latencies and log2(N) times the tensor sent by each rank; 2 latencies more if N is no power of two. Scratch: one segment.
 *
 * Same bits: the two partners of an exchange compute a ⊕ b and b ⊕ a, which are the same bits (all but the payload of a NaN), so by
 * induction every rank computes the same tree of sums; post-scaling is applied by each to the same bits.
 *
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of collective communication operations in MPICH, IJHPCA 19 (2005).
 */
import { aloneAllreduce, type Plan, type PlanInput, type Recv, type Send, segmentsOf } from './plan';

/** operand = sum (or min, max, …) over all ranks of operand[elems], in place. */
export function recursiveDoublingAllreduce({ rank, size, elems, segmentElems }: PlanInput): Plan {
  if (size === 1) return aloneAllreduce(elems);
  const segments = segmentsOf({ from: 0, until: elems }, segmentElems);
  const power = 2 ** Math.floor(Math.log2(size));
  const sends: Send[] = [];
  const recvs: Recv[] = [];
  // Both are called once a round, so that the i-th segment of this round is the i-th of all rounds before.
  const send = (to: number): void => {
    const before = recvs.length - segments.length;
    for (const [i, segment] of segments.entries()) sends.push({ to, ...segment, afterRecvs: Math.max(0, before + i + 1) });
  };
  const receive = (peer: number, action: Recv['action'], finish: boolean): void => {
    const before = sends.length - segments.length;
    for (const [i, segment] of segments.entries())
      recvs.push({ peer, ...segment, action, finish, afterSends: Math.max(0, before + i + 1) });
  };

  if (rank >= power) {
    send(rank - power);
    receive(rank - power, 'copy', false);
    return { sends, recvs };
  }
  const hasExtra = rank + power < size;
  if (hasExtra) receive(rank + power, 'reduce', false);
  for (let distance = 1; distance < power; distance *= 2) {
    const partner = rank ^ distance;
    send(partner);
    receive(partner, 'reduce', distance * 2 === power);
  }
  if (hasExtra) send(rank + power);
  return { sends, recvs };
}
