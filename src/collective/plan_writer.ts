/**
 * Writes a plan from the order in which a rank would do its steps one after the other, and finds out by itself what has to wait for what. Pure.
 *
 * A send waits for the last earlier receipt that touches its range, a receipt for the last earlier send that does: whatever is written, no send and no receipt
 * race for a range. All ranks must write the steps that they have with each other in one order.
 */
import { type Plan, type Range, type Recv, type Send, segmentsOf } from './plan';

interface Touched extends Range {
  /** In the list of sends or receipts. */
  readonly index: number;
}

/** Of steps that touch nothing that those of other writers of the plan touch: they look for what to wait for among their own only. */
export class PlanWriter {
  private readonly sent: Touched[] = [];
  private readonly received: Touched[] = [];

  /** @param plan what all writers of a plan write into */
  constructor(
    private readonly segmentElems: number,
    readonly plan: Plan & { readonly sends: Send[]; readonly recvs: Recv[] } = { sends: [], recvs: [] },
  ) {}

  /** In segments; of an empty range nothing. */
  send(to: number, range: Range): void {
    for (const segment of segmentsOf(range, this.segmentElems)) {
      this.sent.push({ ...segment, index: this.plan.sends.length });
      this.plan.sends.push({ to, ...segment, afterRecvs: countUntil(this.received, segment) });
    }
  }

  receive(peer: number, range: Range, action: Recv['action'], finish = false): void {
    for (const segment of segmentsOf(range, this.segmentElems)) {
      this.received.push({ ...segment, index: this.plan.recvs.length });
      this.plan.recvs.push({ peer, ...segment, action, finish, afterSends: countUntil(this.sent, segment) });
    }
  }
}

/** How many must be done for all those to be done that touch the range. */
function countUntil(touched: readonly Touched[], { from, until }: Range): number {
  for (let i = touched.length - 1; i >= 0; i -= 1) if (touched[i]!.from < until && from < touched[i]!.until) return touched[i]!.index + 1;
  return 0;
}
