/**
 * Hierarchical allreduce: over hosts with several ranks each, so that the links between hosts carry as little as can be and all ranks of a host share the work. Pure.
 *
 * Three stages, each of them a ring. H hosts, M = the ranks of the smallest one; the tensor is cut into M parts.
 *
 *        host 0    rank 0 ◀───▶ rank 1        1. on each host: reduce-scatter; the i-th rank of the host ends with the host's sum of part i
 *                    ▲            ▲
 *                  part 0       part 1        2. between hosts: the i-th ranks of all hosts sum part i by a ring allreduce, and post-scale it
 *                    ▼            ▼
 *        host 1    rank 2 ◀───▶ rank 3        3. on each host: allgather
 *
 * Where hosts have unequal numbers of ranks, the first M of each carry the second stage; a rank beyond them has a part without elements, and takes part in the rings of its host.
 * The ranks of a host are in the order of their positions, which need not be neighbours.
 *
 * Cost: a host's link carries 2(H−1)/H of the tensor in each direction (a ring over all N ranks: 2(N−1)/N), in 2(H−1) latencies between hosts and 2(L−1) on a host of L ranks
 * (2(N−1), all of them as long as those between hosts). Within a host each rank sends 2(L−1)/L of it besides. Scratch: one segment.
 *
 * Pipelining: a large tensor is cut into blocks, and what a host does for the blocks beside a block goes on while that one is between hosts: the stages are periods of one length, the
 * steps of a stage are spread over its period, and each rank does its steps in the order of their moments. Both ends of a message work out the same moment for it, so that
 * the orders of all ranks agree.
 *
 *        period      0     1     2     3     4
 *        block 0     1.    2.    3.
 *        block 1           1.    2.    3.
 *        block 2                 1.    2.    3.
 *
 * Same bits: each element is completed (and post-scaled) by one rank and copied by all others. The order of its sum depends on which ranks share a host.
 *
 * Sources: the same three stages are Horovod's hierarchical allreduce (A. Sergeev, M. Del Balso, arXiv:1802.05799) and those of X. Jia et al., Highly scalable deep learning training
 * system with mixed-precision (arXiv:1807.11205), which reduces on one rank of the host.
 */
import { type Plan, type PlanInput, partOf, type Range, type Recv, segmentsOf } from './plan';
import { PlanWriter } from './plan_writer';

export interface HierarchicalInput extends PlanInput {
  /** Positions on each host, ascending; two hosts or more. */
  readonly byHost: readonly (readonly number[])[];
  /** Largest chunk of the rings between hosts, an integer from 1. */
  readonly chunkElems: number;
}

interface Step {
  /** In periods. */
  readonly moment: number;
  readonly act: () => void;
}

/** operand = sum (or min, max, …) over all ranks of operand[elems], in place. */
export function hierarchicalAllreduce({ rank, elems, segmentElems, byHost, chunkElems }: HierarchicalInput): Plan {
  const host = byHost.findIndex((ranks) => ranks.includes(rank));
  const locals = byHost[host]!;
  const local = locals.indexOf(rank);
  const sharers = Math.min(...byHost.map((ranks) => ranks.length));
  const { plan } = new PlanWriter(segmentElems);
  const [between, reducing, spreading]: [Step[], Step[], Step[]] = [[], [], []];
  for (const [block, range] of segmentsOf({ from: 0, until: elems }, sharers * byHost.length * chunkElems).entries()) {
    const writer = new PlanWriter(segmentElems, plan);
    const partAt = (i: number): Range => {
      const part = (i + 2 * locals.length) % locals.length;
      return part < sharers ? partOf(range, part, sharers) : { from: range.until, until: range.until };
    };
    const onHost = { writer, ranks: locals, place: local, steps: locals.length - 1 };
    reducing.push(...ring({ ...onHost, period: block, chunkAt: (i) => partAt(i - 1), receipt: () => ['reduce', false] }));
    spreading.push(...ring({ ...onHost, period: block + 2, chunkAt: partAt, receipt: () => ['copy', false] }));
    if (local >= sharers) continue;
    const hosts = byHost.length;
    const chunkAt = (i: number): Range => partOf(partAt(local), (i + 2 * hosts) % hosts, hosts);
    const receipt = (step: number): Receipt => [step < hosts - 1 ? 'reduce' : 'copy', step === hosts - 2];
    const equals = byHost.map((ranks) => ranks[local]!);
    between.push(...ring({ writer, ranks: equals, place: host, steps: 2 * (hosts - 1), period: block + 1, chunkAt, receipt }));
  }
  // Those of one moment stay in this order: the slowest links are not to wait for the others.
  const steps = [...between, ...reducing, ...spreading].sort((a, b) => a.moment - b.moment);
  for (const { act } of steps) act();
  return plan;
}

type Receipt = [action: Recv['action'], finish: boolean];

interface Ring {
  readonly writer: PlanWriter;
  readonly ranks: readonly number[];
  /** Of this rank among them. */
  readonly place: number;
  readonly steps: number;
  /** In which they are done. */
  readonly period: number;
  readonly chunkAt: (i: number) => Range;
  readonly receipt: (step: number) => Receipt;
}

/** At step k what stands at `place` in the ring sends chunk place − k to the right, and receives the one before from the left. */
function ring({ writer, ranks, place, steps, period, chunkAt, receipt }: Ring): Step[] {
  const right = ranks[(place + 1) % ranks.length]!;
  const left = ranks[(place + ranks.length - 1) % ranks.length]!;
  return Array.from({ length: steps }, (_, step) => ({
    moment: period + step / steps,
    act() {
      writer.send(right, chunkAt(place - step));
      writer.receive(left, chunkAt(place - step - 1), ...receipt(step));
    },
  }));
}
