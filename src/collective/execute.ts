/**
 * Carries out a plan over a transport: both lists at the same time, as their counts say. Communication thread.
 *
 * Event-driven: each message that has left or arrived calls `pump`, which does all that has become possible and returns. Invariants: a receipt
 * that reduces lands in a slot of the scratch, and while it is being reduced the next one is already posted in the other slot, so that the
 * socket never waits for arithmetic; a receipt that copies lands in the operand itself; receipts complete in the order of the plan.
 *
 * An operand with a wire form travels in it: what is sent is first put into a slot of the scratch, and every receipt lands in one. The plans are the same.
 */
import { BugError } from '../errors';
import type { Loan, Transport } from '../transport/transport';
import type { Plan, Range } from './plan';

/** Receives posted at a time, each with its slot of the scratch: one being reduced, one being filled. */
export const SLOTS = 2;
/** Sends handed to the transport at a time: enough that the socket is never idle and gathers 256 KiB segments into writes of 1 to 4 MiB. */
export const SENDS_AHEAD = 8;
/** With a wire form each of those has a slot of the scratch, which holds it until it has left. */
const WIRE_SLOTS = SLOTS + SENDS_AHEAD;
/** Slots begin on cache lines. */
const LINE_BYTES = 64;

export interface Route {
  readonly transport: Transport;
  /** Global rank of each position in the group. */
  readonly members: readonly number[];
  /** The same on all members, another one for each operation that may be under way at the same time. */
  readonly tag: number;
}

export interface Operand {
  readonly bytes: Uint8Array;
  readonly bytesPerElem: number;
  /** What is sent lies there, at the ranges of the sends, and stays as it is. Undefined: in the operand itself. */
  readonly source?: Uint8Array;
  /** operand[elem, elem + elems) = itself ⊕ what lies at that byte of the scratch. Needed by plans that reduce. */
  reduce?(elem: number, elems: number, scratchByte: number): void;
  /** Post-scales elements that are fully reduced; what reaches a rank as a copy has been post-scaled where it came from. */
  finish?(elem: number, elems: number): void;
  /** For members that see each other's operands: the elements that begin at these byte offsets of the memory become their combination, in this order, all of them, and are finished. */
  combine?(byteOffsets: readonly number[], elems: number): void;
  readonly wire?: WireForm;
  /** It lies in the memory that the transport lends from: `reduce` and `decode` then also read what lies elsewhere in it, at so many bytes from the scratch. */
  readonly borrows?: boolean;
}

/** How elements travel, if not as they are; `reduce` then finds them in this form, too. */
export interface WireForm {
  readonly bytesPerElem: number;
  /**
   * Writes elements to that byte of the scratch, and makes of the operand's what their receiver will read: where two ranks exchange sums, both then add the same two.
   */
  encode(elem: number, elems: number, scratchByte: number): void;
  /** The other way. */
  decode(elem: number, elems: number, scratchByte: number): void;
}

/**
 * Resolves when this rank's operand is complete and its memory may be used. After a failure the memory may still be written to until the
 * transport is aborted.
 *
 * @param scratch unused otherwise until then; half of it holds the largest segment that is reduced (with a wire form: a tenth the largest segment)
 * @throws BugError the plan does not fit operand or scratch; whatever the transport fails with (the first cause)
 */
export function execute(plan: Plan, { transport, members, tag }: Route, operand: Operand, scratch: Uint8Array): Promise<void> {
  const { sends, recvs, finishAtEnd } = plan;
  const { wire } = operand;
  const slotBytes = Math.floor(scratch.byteLength / (wire ? WIRE_SLOTS : SLOTS) / LINE_BYTES) * LINE_BYTES;
  const isSent = new Uint8Array(sends.length);
  const isReceived = new Uint8Array(recvs.length);
  /** Of receipts that are not complete: what stayed where the transport has it. */
  const loans = new Map<number, Loan>();
  let begun = 0; // sends handed to the transport
  let sent = 0; // the first so many sends have left the operand
  let posted = 0; // receives handed to the transport
  let completed = 0; // the first so many receipts are in the operand

  const source = operand.source ?? operand.bytes;
  const placeOf = ({ from, until }: Range, whole: Uint8Array): Uint8Array => {
    const [first, end] = [from * operand.bytesPerElem, until * operand.bytesPerElem];
    if (from >= until || end > whole.byteLength) {
      throw new BugError(`A plan moves elements ${from} to ${until} of an operand of ${whole.byteLength} bytes. Please report it.`);
    }
    return whole.subarray(first, end);
  };
  const slotOf = (index: number): number => (index % SLOTS) * slotBytes;
  const sendSlotOf = (index: number): number => (SLOTS + (index % SENDS_AHEAD)) * slotBytes;
  const slotFor = (at: number, { from, until }: Range): Uint8Array => {
    const bytes = (until - from) * (wire ?? operand).bytesPerElem;
    if (bytes > slotBytes || !operand.reduce) {
      throw new BugError(`A plan moves a segment of ${bytes} bytes; there are ${slotBytes} bytes of scratch for it. Please report it.`);
    }
    return scratch.subarray(at, at + bytes);
  };
  const outgoing = (index: number, send: Range): Uint8Array => {
    const place = placeOf(send, source);
    if (!wire) return place;
    const slot = slotFor(sendSlotOf(index), send);
    wire.encode(send.from, send.until - send.from, sendSlotOf(index));
    return slot;
  };
  const finish = ({ from, until }: Range): void => operand.finish?.(from, until - from);

  return new Promise((resolve, reject) => {
    let isOver = false;
    const fail = (cause: unknown): void => {
      isOver = true;
      reject(cause);
    };

    function beginSends(): void {
      while (begun < sends.length && begun < sent + SENDS_AHEAD && sends[begun]!.afterRecvs <= completed) {
        const index = begun++;
        const send = sends[index]!;
        transport.send(members[send.to]!, tag, outgoing(index, send)).then(() => pump(isSent, index), fail);
      }
    }

    function postReceives(): void {
      while (posted < recvs.length && posted < completed + SLOTS) {
        const recv = recvs[posted]!;
        const isInSlot = wire !== undefined || recv.action === 'reduce';
        if (!isInSlot && recv.afterSends > sent) return;
        const index = posted++;
        const into = isInSlot ? slotFor(slotOf(index), recv) : placeOf(recv, operand.bytes);
        const from = members[recv.peer]!;
        // A receipt that waits for a send of this rank gives its sender the memory back at once: the two may wait for each other.
        if (isInSlot && operand.borrows && recv.afterSends <= sent && transport.recvOrBorrow)
          transport.recvOrBorrow(from, tag, into).then((loan) => {
            if (loan) loans.set(index, loan);
            pump(isReceived, index);
          }, fail);
        else transport.recv(from, tag, into).then(() => pump(isReceived, index), fail);
      }
    }

    function completeReceipt(): boolean {
      const recv = recvs[completed];
      if (!recv || !isReceived[completed] || recv.afterSends > sent) return false;
      const elems = recv.until - recv.from;
      const loan = loans.get(completed);
      const at = loan ? loan.byteOffset - scratch.byteOffset : slotOf(completed);
      if (recv.action === 'reduce') operand.reduce!(recv.from, elems, at);
      else wire?.decode(recv.from, elems, at);
      if (loan) {
        loans.delete(completed);
        loan.release();
      }
      if (recv.finish) finish(recv);
      completed += 1;
      return true;
    }

    /** `index` of that list is done: go on from there. */
    function pump(done: Uint8Array, index: number): void {
      if (isOver) return;
      done[index] = 1;
      while (isSent[sent]) sent += 1;
      try {
        // What was just reduced is sent before the next segment is reduced.
        do {
          beginSends();
          postReceives();
        } while (completeReceipt());
        if (sent < sends.length || completed < recvs.length) return;
        if (finishAtEnd) finish(finishAtEnd);
        isOver = true;
        resolve();
      } catch (error) {
        fail(error);
      }
    }

    pump(new Uint8Array(1), 0);
  });
}
