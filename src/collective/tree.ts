/**
 * Broadcast from any root: along a binomial tree (few latencies, small data) or down a chain (every link busy, large data). Allreduce along the tree: up it to rank 0, and down
 * again. Pure.
 *
 * Both see the ranks renumbered from the root: place v = (rank − root) mod N, the root is place 0.
 *
 *        tree: the parent of v is v without its lowest bit            chain: v receives from v − 1, sends to v + 1
 *              0 ─┬─ 4 ─┬─ 6 ─── 7
 *                 │     └─ 5                                                 0 ──▶ 1 ──▶ 2 ──▶ 3 ──▶ …
 *                 ├─ 2 ─── 3
 *                 └─ 1
 *
 * Tree: ceil(log2 N) latencies; the root sends the data ceil(log2 N) times. A subtree is a block of neighbouring ranks, so near ranks of one
 * host exchange most; the largest subtree is served first.
 * Chain: every rank sends the data at most once, so the time is that of the data plus N − 2 segments to fill the pipeline.
 * Neither needs scratch: receipts land in place.
 *
 * Allreduce: every rank adds what its children send, the nearest (whose subtree is smallest) first, and passes the sum on to its parent; what is complete at rank 0 comes
 * down as in a broadcast. A segment goes on as soon as it is complete. 2·ceil(log2 N) latencies, and as many times the data through rank 0: recursive doubling does it
 * in half the time, but this sends the fewest messages, 2(N−1) in all. Scratch: one segment. Same bits: rank 0 completes (and post-scales) every element, all others copy.
 */
import { aloneAllreduce, type Plan, type PlanInput, type Recv, type Send, segmentsOf } from './plan';
import { PlanWriter } from './plan_writer';

export interface BroadcastInput extends PlanInput {
  /** Position whose operand[elems] all get. */
  readonly root: number;
}

export function treeBroadcast(input: BroadcastInput): Plan {
  const { parent, children } = branchOf(placeOf(input), input.size);
  return passOn(input, parent, children);
}

/** operand = sum (or min, max, …) over all ranks of operand[elems], in place. */
export function treeAllreduce({ rank, size, elems, segmentElems }: PlanInput): Plan {
  if (size === 1) return aloneAllreduce(elems);
  const { parent, children } = branchOf(rank, size);
  const segments = segmentsOf({ from: 0, until: elems }, segmentElems);
  const writer = new PlanWriter(segmentElems);
  for (const segment of segments) {
    for (const child of [...children].reverse()) writer.receive(child, segment, 'reduce', rank === 0 && child === children[0]);
    if (rank > 0) writer.send(parent, segment);
  }
  for (const segment of segments) {
    if (rank > 0) writer.receive(parent, segment, 'copy');
    for (const child of children) writer.send(child, segment);
  }
  return writer.plan;
}

/** Whom a place of the tree hangs on (the root on nobody), and who hangs on it, the largest subtree first. */
function branchOf(place: number, size: number): { parent: number; children: number[] } {
  // The power of two below which this place's children are: its lowest bit; for the root, the first one beyond all places.
  let reach = 1;
  while (reach < size && (place & reach) === 0) reach *= 2;
  const children: number[] = [];
  for (let distance = reach / 2; distance >= 1; distance /= 2) {
    if (place + distance < size) children.push(place + distance);
  }
  return { parent: place - reach, children };
}

export function chainBroadcast(input: BroadcastInput): Plan {
  const place = placeOf(input);
  return passOn(input, place - 1, place + 1 < input.size ? [place + 1] : []);
}

const placeOf = ({ rank, root, size }: BroadcastInput): number => (rank - root + size) % size;

/** Each segment from the parent goes to all children before the next one does. */
function passOn({ rank, size, root, elems, segmentElems }: BroadcastInput, parent: number, children: readonly number[]): Plan {
  const rankAt = (place: number): number => (place + root) % size;
  const isRoot = rank === root;
  const sends: Send[] = [];
  const recvs: Recv[] = [];
  for (const segment of segmentsOf({ from: 0, until: elems }, segmentElems)) {
    if (!isRoot) recvs.push({ peer: rankAt(parent), ...segment, action: 'copy', finish: false, afterSends: 0 });
    for (const child of children) sends.push({ to: rankAt(child), ...segment, afterRecvs: recvs.length });
  }
  return { sends, recvs };
}
