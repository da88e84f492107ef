/**
 * A collective algorithm as data: which ranges one rank sends and receives, to and from whom, in which order, and what a receipt does. Pure.
 *
 * Ranks are positions in the group (0 … size−1), ranges are element ranges of one operand [from, to). `sends` and `recvs` are each carried out in order; the two
 * lists run at the same time, tied together by counts: a send waits until the first `afterRecvs` receipts are complete, a receipt touches the operand only when the
 * first `afterSends` sends have left it. Messages between two ranks match in order and length.
 */
export interface Send {
  readonly to: number;
  readonly from: number; // element
  readonly until: number; // element, exclusive
  readonly afterRecvs: number;
}
export interface Recv {
  readonly peer: number;
  readonly from: number;
  readonly until: number;
  /** copy: overwrites the range; reduce: operand = operand ⊕ received. */
  readonly action: 'copy' | 'reduce';
  /** The range is then fully reduced here: post-scaling is applied, once, before anyone else gets it. */
  readonly finish: boolean;
  readonly afterSends: number;
}
export interface Plan {
  readonly sends: readonly Send[];
  readonly recvs: readonly Recv[];
  /** This rank alone must post-scale this range at the end (algorithms in which every rank holds the whole sum); undefined: none. */
  readonly finishAtEnd?: { readonly from: number; readonly until: number };
}
/** `elems`: of the operand; `segmentElems`: largest piece of one send. */
export interface PlanInput {
  readonly rank: number;
  readonly size: number;
  readonly elems: number;
  readonly segmentElems: number;
}
