/**
 * A collective algorithm as data: which ranges one rank sends and receives, to and from whom, in which order, and what a receipt does. Pure.
 *
 * Ranks are positions in the group (0 … size−1), ranges are element ranges of one operand [from, until), never empty (of an exchange, sends
 * lie in a source of their own). `sends` and `recvs` are each carried out in order; the two lists run at the same time, tied together by counts: a send waits until the first `afterRecvs`
 * receipts are complete, a receipt touches the operand only when the first `afterSends` sends have left it. Messages between two ranks match
 * in order and length. Receipts may be taken in while earlier ones are not complete: a copy over a range that an earlier receipt also touches
 * is ordered behind it by a send.
 */
export interface Range {
  readonly from: number; // element
  readonly until: number; // element, exclusive
}
export interface Send extends Range {
  readonly to: number;
  readonly afterRecvs: number;
}
export interface Recv extends Range {
  readonly peer: number;
  /** copy: overwrites the range; reduce: operand = operand ⊕ received. */
  readonly action: 'copy' | 'reduce';
  /** The range is then fully reduced here: post-scaling is applied, once, before anyone else gets it. */
  readonly finish: boolean;
  readonly afterSends: number;
}
export interface Plan {
  readonly sends: readonly Send[];
  readonly recvs: readonly Recv[];
  /** This rank alone must post-scale this range at the end (there was nobody to receive from); undefined: none. */
  readonly finishAtEnd?: Range;
}
/** `elems`: of the operand; `segmentElems`: largest piece of one send, an integer from 1. */
export interface PlanInput {
  readonly rank: number;
  readonly size: number;
  readonly elems: number;
  readonly segmentElems: number;
}

/** Part number `part` of `parts` whose lengths differ by at most one element; with fewer elements than parts, some are empty. */
export function partOf({ from, until }: Range, part: number, parts: number): Range {
  const boundary = (i: number): number => from + Math.floor(((until - from) * i) / parts);
  return { from: boundary(part), until: boundary(part + 1) };
}

/** How many of `rows` rows each of `parts` parts holds: the first `rows % parts` one more than the others. */
export const rowsOfParts = (rows: number, parts: number): number[] =>
  Array.from({ length: parts }, (_, part) => Math.floor(rows / parts) + (part < rows % parts ? 1 : 0));

/** Where each part begins and ends when they lie one behind the other. */
export function rangesOf(lengths: readonly number[], from = 0): Range[] {
  let until = from;
  return lengths.map((length) => ({ from: until, until: (until += length) }));
}

/** The range in pieces of at most `segmentElems`, as even as can be (a short last one would be a message for nothing); none if it is empty. */
export function segmentsOf(range: Range, segmentElems: number): Range[] {
  const segments = Math.ceil((range.until - range.from) / segmentElems);
  return Array.from({ length: segments }, (_, segment) => partOf(range, segment, segments));
}

/** Plans over ranges that have nothing in common, for more than one rank: the sends and receipts of each follow those of the one before, and wait for nothing but their own. */
export function oneBehindTheOther(plans: readonly Plan[]): Plan {
  const sends: Send[] = [];
  const recvs: Recv[] = [];
  for (const plan of plans) {
    const [sentBefore, receivedBefore] = [sends.length, recvs.length];
    for (const send of plan.sends) sends.push({ ...send, afterRecvs: send.afterRecvs && receivedBefore + send.afterRecvs });
    for (const recv of plan.recvs) recvs.push({ ...recv, afterSends: recv.afterSends && sentBefore + recv.afterSends });
  }
  return { sends, recvs };
}

/** The reduction of a group of one: nothing moves. */
export function aloneAllreduce(elems: number): Plan {
  return { sends: [], recvs: [], finishAtEnd: elems > 0 ? { from: 0, until: elems } : undefined };
}
