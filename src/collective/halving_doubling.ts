/**
 * Recursive halving, then recursive doubling: an allreduce with the bytes of a ring and few latencies, for tensors of middling size. Pure.
 *
 * At step k = 0 … log2(N)−1 rank r and its partner r XOR 2^k share the work on what both still have: each sends one half of it, takes the other, and adds. Then each
 * rank holds N-th of the tensor that is complete (reduce-scatter), and the same steps backwards, in which each sends all that is complete, bring it to all (allgather).
 *
 *        ranks             0            1            2            3            chunks of the tensor: a b c d
 *        k = 0, 0↔1 2↔3    keeps a b    keeps c d    keeps a b    keeps c d
 *        k = 1, 0↔2 1↔3    keeps a      keeps c      keeps b      keeps d      complete: post-scaled
 *        back,  0↔2 1↔3    has a b      has c d      has a b      has c d
 *        back,  0↔1 2↔3    has all      has all      has all      has all
 *
 * The first exchange is the largest, and is one with the next rank: ranks of one host that stand beside each other do most among themselves.
 *
 * If N is no power of two, P = the largest one below it: each of the N − P extra ranks (P, P+1, …) first gives its values to rank r − P, which adds them to its own,
 * and at the end gets the result from there.
 *
 * Cost: 2 log2(N) latencies, and 2(N−1)/N of the tensor sent by each rank; with extra ranks 2 latencies, and for theirs twice the tensor, more. A ring has 2(N−1)
 * latencies, but once its chunks are several segments long they are hidden behind data; here a rank waits in each step for what it is to send in the next. Scratch: one segment.
 *
 * Same bits: each element is completed (and post-scaled) by one rank and copied by all others; extra ranks copy.
 *
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of collective communication operations in MPICH, IJHPCA 19 (2005), which names it after Rabenseifner (2004).
 */
import { aloneAllreduce, type Plan, type PlanInput, partOf, type Range } from './plan';
import { PlanWriter } from './plan_writer';

/** operand = sum (or min, max, …) over all ranks of operand[elems], in place. Any number of ranks, any elems ≥ 0. */
export function halvingDoublingAllreduce({ rank, size, elems, segmentElems }: PlanInput): Plan {
  if (size === 1) return aloneAllreduce(elems);
  const power = 2 ** Math.floor(Math.log2(size));
  const writer = new PlanWriter(segmentElems);
  const all: Range = { from: 0, until: elems };
  if (rank >= power) {
    writer.send(rank - power, all);
    writer.receive(rank - power, all, 'copy');
    return writer.plan;
  }
  const hasExtra = rank + power < size;
  if (hasExtra) writer.receive(rank + power, all, 'reduce');
  const exchanges: { partner: number; kept: Range; given: Range }[] = [];
  let kept = all;
  for (let distance = 1; distance < power; distance *= 2) {
    const partner = rank ^ distance;
    const [lower, upper] = [partOf(kept, 0, 2), partOf(kept, 1, 2)];
    const [own, given] = rank < partner ? [lower, upper] : [upper, lower];
    writer.send(partner, given);
    writer.receive(partner, own, 'reduce', distance * 2 === power);
    exchanges.push({ partner, kept: own, given });
    kept = own;
  }
  for (const { partner, kept: own, given } of exchanges.reverse()) {
    writer.send(partner, own);
    writer.receive(partner, given, 'copy');
  }
  if (hasExtra) writer.send(rank + power, all);
  return writer.plan;
}
