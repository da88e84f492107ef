/**
 * Broadcast from any root: along a binomial tree (few latencies, small data) or down a chain (every link busy, large data). Pure.
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
 */
import { type Plan, type PlanInput, type Recv, type Send, segmentsOf } from './plan';

export interface BroadcastInput extends PlanInput {
  /** Position whose operand[elems] all get. */
  readonly root: number;
}

export function treeBroadcast(input: BroadcastInput): Plan {
  const { size } = input;
  const place = placeOf(input);
  // The power of two below which this place's children are: its lowest bit; for the root, the first one beyond all places.
  let reach = 1;
  while (reach < size && (place & reach) === 0) reach *= 2;
  const children: number[] = [];
  for (let distance = reach / 2; distance >= 1; distance /= 2) {
    if (place + distance < size) children.push(place + distance);
  }
  return passOn(input, place - reach, children);
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
