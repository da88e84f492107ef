/**
 * What a plan runs over: ordered messages between ranks of one generation. The executor and the tests see this and nothing below it.
 * Communication thread.
 *
 * Invariants: messages from one rank to another arrive in the order sent; a receive names its length exactly; after `abort` every pending and later call fails with
 * that first cause. A new generation means a new Transport; nothing is patched in place.
 */
import type { HvdError } from '../errors';

/** A message as it lies in this process's linear memory, to be read only. */
export interface Loan {
  readonly byteOffset: number;
  /** It has been read. @throws HvdError what was read may not be what was sent */
  release(): void;
}

/** Counts that ranks of one host share: int32 that go around, from 0 on. */
export interface SharedCounts {
  /** Inside that rank's heap. @param index below 1,024 @returns the count before: everybody who asks gets another one */
  next(index: number): number;
  /** @param index below 1,024 @returns the count. From anywhere: it may be that of a rank that is gone */
  at(index: number): number;
}

/** What ranks of one host see of each other's arrays. Byte offsets are of this process's linear memory. */
export interface Heaps {
  /** Who has a heap that this rank may see, and may see its; they think so too. */
  readonly ranks: ReadonlySet<number>;
  /** Where on this rank's heap these bytes lie, in bytes from its beginning; undefined: not there. */
  placeOf(bytes: Uint8Array): number | undefined;
  /** Where that rank's heap begins here. Known once a message of it has come; undefined: it is not seen */
  offsetOf(rank: number): number | undefined;
  /** That rank's, or this rank's own. @throws BugError its heap is not seen */
  countsOf(rank: number): SharedCounts;
  /**
   * Calls `work`, which reads and writes those ranks' heaps and returns within a millisecond or so.
   * @returns which of them has given up, so that nothing was touched: what is asked of it fails
   * @throws HvdError this rank has given up
   */
  inside(ranks: readonly number[], work: () => void): number | undefined;
}

export interface Transport {
  readonly rank: number;
  readonly size: number;
  /** Resolves when the memory of `bytes` may be reused (handed to the system or copied). `tag`: uint32, checked by the receiver. */
  send(to: number, tag: number, bytes: Uint8Array): Promise<void>;
  /** Fills `into` with the next message from that rank. @throws WireError its tag or length is another; PeerError the peer is gone */
  recv(from: number, tag: number, into: Uint8Array): Promise<void>;
  /** Only where ranks share memory, and are so few that all see each other's. */
  readonly heaps?: Heaps;
  /**
   * As `recv`, but the message may stay where it is: then the promise gives a loan, and `into` is not touched. For messages that are read once and soon: the sender may wait for its memory.
   * Only where rank and neighbour share memory.
   */
  recvOrBorrow?(from: number, tag: number, into: Uint8Array): Promise<Loan | undefined>;
  /** First cause wins. */
  abort(cause: HvdError): void;
}
