/**
 * Allreduce in one pass over memory that all members see: each sums its share of all operands and writes the sums into all of them. Communication thread.
 *
 * Of every chunk of the ring (ring.ts), rank c takes chunk c of each block. Three ranks:
 *
 *                      rank 0            rank 1            rank 2
 *        at first      a0   b0   c0      a1   b1   c1      a2   b2   c2
 *        rank 0        a0 + a1 + a2 = A, A into rank 1's and rank 2's operand
 *        rank 1        b1 + b2 + b0 = B, B into rank 2's and rank 0's
 *        rank 2        c2 + c0 + c1 = C, C into rank 0's and rank 1's
 *
 * Cost: each element is read once and written once, where the ring reads N − 1 received chunks, writes as many sums, and copies N − 1 chunks; and an exchange of a few bytes with every member before.
 *
 * Same bits as the ring's: chunk c is summed in the order of ranks c, c+1, …, c−1. For two ranks any algorithm gives these bits, as an operation does not mind which of two operands comes first.
 *
 * A rank that is through with its share goes on with what others have not come to, piece by piece: where ranks outnumber cores, or one is late, nobody waits for a rank to get its turn. Who sums a piece
 * makes no difference to its bits.
 *
 * Order: nobody touches another's operand before all have told where theirs lie; then each piece is written by the one rank that has counted it, which counts again when it is done; a call is over when all
 * pieces are done. A rank that comes late then finds nothing left to sum, touches nothing, and only tells the others that it is through; they need not wait for that, but for its counts, which a later call
 * begins at zero: calls count on two sheets by turns, and where it is not free yet the first member waits before it tells where its operand lies.
 * A rank whose operand lies elsewhere says so, and all take the plan instead.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Heaps, SharedCounts } from '../transport/transport';
import type { Operand, Route } from './execute';
import { partOf, type Range, segmentsOf } from './plan';

/** A piece. So much, a fraction of a millisecond, before it is looked whether somebody has given up, and what is to be done next. */
const PIECE_BYTES = 256 << 10;
/** So many pieces, some milliseconds at most, before the thread serves others. */
const PIECES_A_TURN = 16;
/** Below, the exchange of places is what takes the time: two ranks have a plan with as few exchanges. Measured, 2 ranks: 128 KiB 75 µs (the plan 50), 256 KiB 85 (85), 512 KiB 120 (180); 4 ranks: 128 KiB 280 µs (385). */
const leastBytes = (ranks: number): number => (ranks === 2 ? 256 << 10 : 64 << 10);
const NOWHERE = -1;
/** A board has two, for fewer than 32 members each. */
const SHEETS = 2;
const COUNTS_A_SHEET = 32;

/** Where the pieces of a call are counted: from `begun` on those of each member's share that somebody has begun, at `done` all that are summed. */
interface PieceCounts {
  readonly board: SharedCounts;
  readonly begun: number;
  readonly done: number;
}

/** `heaps`: the transport's. */
export type SharedRoute = Pick<Route, 'transport' | 'tag'> & { readonly heaps: Heaps };
export type SharedOperand = Operand & Required<Pick<Operand, 'combine'>>;

/** Whether one pass gives the bits of that algorithm, and is worth its exchanges; the same on all members. */
export const isForOnePass = (algorithm: string, operand: Operand, size: number): operand is SharedOperand =>
  operand.combine !== undefined && !operand.wire && operand.bytes.length >= leastBytes(size) && (algorithm === 'ring' || size === 2);

/** @returns this rank's share of the elements: what the ring completes in chunk `position` of each block */
export function shareOf(position: number, size: number, elems: number, chunkElems: number): Range[] {
  const blocks = segmentsOf({ from: 0, until: elems }, size * chunkElems);
  return blocks.map((block) => partOf(block, position, size)).filter(({ from, until }) => until > from);
}

/** Calls of this rank, of all groups, that are over while others are not through with them: these are still to be heard, and the sheet on which they count may not be used. */
export class Stragglers {
  private readonly free: Array<Promise<unknown>> = Array.from({ length: SHEETS }, () => Promise.resolve());
  private next = 0;
  private last: Promise<unknown> = Promise.resolve();

  /** @returns a sheet of this rank's own board on which nobody counts @throws whatever the transport fails with */
  async freeSheet(): Promise<number> {
    await this.free[this.next];
    return this.next;
  }
  /** @param through resolves when all members are @param sheet of this rank's own board, on which they count */
  await(through: Promise<unknown>, sheet?: number): void {
    this.last = Promise.allSettled([this.last, through]);
    if (sheet === undefined) return;
    this.free[sheet] = through;
    this.next = (sheet + 1) % SHEETS;
  }
  /** Resolves when all are through with every call of this rank, or never will be. */
  gone(): Promise<unknown> {
    return this.last;
  }
}

/** Of one group, from call to call. */
export class OnePass {
  private readonly others: readonly number[];
  /** Calls so far, the same on all members. */
  private calls = 0;
  private isImpossible = false;

  /** @param members global ranks @param stragglers of this rank, in all groups */
  constructor(
    private readonly members: readonly number[],
    private readonly position: number,
    private readonly stragglers: Stragglers,
  ) {
    const { length } = members;
    this.others = Array.from({ length: length - 1 }, (_, i) => members[(position + 1 + i) % length]!);
  }

  /**
   * The members' first call finds out whether all see all.
   *
   * @param chunkElems of the ring that it stands for
   * @returns whether it is done; if not, nothing was touched on any member
   * @throws whatever the transport fails with (the first cause): operands are then partly summed
   */
  async run(route: SharedRoute, operand: SharedOperand, chunkElems: number): Promise<boolean> {
    if (this.isImpossible) return false;
    const { heaps } = route;
    const isFirst = this.position === 0;
    const free = isFirst ? await this.stragglers.freeSheet() : 0;
    if (isFirst) heaps.countsOf(this.members[0]!).reset(free * COUNTS_A_SHEET, this.members.length + 1);
    const own = [heaps.placeOf(operand.bytes) ?? NOWHERE, this.others.every((rank) => heaps.offsetOf(rank) !== undefined) ? 1 : 0, free];
    const told = await this.exchange(route, own);
    const all = [own, ...told];
    this.calls += 1;
    const doAllSee = all.every(([, sees]) => sees === 1);
    // Their first messages have brought the links about.
    if (!doAllSee && this.calls > 1) this.isImpossible = true;
    if (!doAllSee || all.some(([place]) => place === NOWHERE)) return false;

    const addresses = [operand.bytes.byteOffset, ...told.map(([place], i) => heaps.offsetOf(this.others[i]!)! + place!)];
    const [, , sheet] = all[(this.members.length - this.position) % this.members.length]!;
    const begun = sheet! * COUNTS_A_SHEET;
    const counts = { board: heaps.countsOf(this.members[0]!), begun, done: begun + this.members.length };
    const pieces = await this.sum(route, operand, addresses, chunkElems, counts);
    await this.end(route, isFirst ? sheet : undefined, () => counts.board.at(counts.done) === pieces);
    return true;
  }

  /** @param addresses of all operands, from the own on in the order of members @returns how many pieces there are: of all ranks */
  private async sum(
    { transport, heaps, tag }: SharedRoute,
    operand: SharedOperand,
    addresses: readonly number[],
    chunkElems: number,
    { board, begun, done }: PieceCounts,
  ): Promise<number> {
    const size = addresses.length;
    const { bytes, bytesPerElem } = operand;
    const pieceElems = Math.max(1, Math.floor(PIECE_BYTES / bytesPerElem));
    let summed = 0;
    let pieces = 0;
    for (let step = 0; step < size; step += 1) {
      const owner = (this.position + step) % size;
      const own = shareOf(owner, size, bytes.length / bytesPerElem, chunkElems).flatMap((range) => segmentsOf(range, pieceElems));
      pieces += own.length;
      const inOrder = [...addresses.slice(step), ...addresses.slice(0, step)];
      const sumPiece = ({ from, until }: Range): void => {
        operand.combine(
          inOrder.map((address) => address + from * bytesPerElem),
          until - from,
        );
        board.next(done);
      };
      for (let isLeft = own.length > 0; isLeft; ) {
        const gone = heaps.inside(this.others, () => {
          const next = own[board.next(begun + owner)];
          if (next) sumPiece(next);
          else isLeft = false;
        });
        // Nothing comes from there any more: this fails with the cause.
        if (gone !== undefined) await transport.recv(gone, tag, new Uint8Array(0));
        if (isLeft && ++summed % PIECES_A_TURN === 0) await nextTurn();
      }
    }
    return pieces;
  }

  /** Tells the others that this rank is through, and waits until all is done. Whoever does the last piece tells so afterwards. @param sheet of this rank's own board, on which they count */
  private async end({ transport, tag }: SharedRoute, sheet: number | undefined, isDone: () => boolean): Promise<void> {
    const nothing = new Uint8Array(0);
    const sent = this.others.map((rank) => transport.send(rank, tag, nothing));
    const heard = this.others.map((rank) => transport.recv(rank, tag, nothing));
    const all = Promise.all([...sent, ...heard]);
    this.stragglers.await(all, sheet);
    if (isDone()) return;
    await new Promise<unknown>((resolve, reject) => {
      all.then(resolve, reject);
      for (const one of heard) one.then(() => isDone() && resolve(undefined), reject);
    });
  }

  /** To every other and from every other, in the order of `others`. */
  private async exchange({ transport, tag }: SharedRoute, words: readonly number[]): Promise<Int32Array[]> {
    const sent = new Uint8Array(Int32Array.from(words).buffer);
    const received = this.others.map(() => new Int32Array(words.length));
    await Promise.all([
      ...this.others.map((rank) => transport.send(rank, tag, sent)),
      ...this.others.map((rank, i) => transport.recv(rank, tag, new Uint8Array(received[i]!.buffer))),
    ]);
    return received;
  }
}
