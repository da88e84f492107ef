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
 * Cost: each element is read once and written once, where the ring reads N − 1 received chunks, writes as many sums, and copies N − 1 chunks; and, where the places of operands do not come with the decision,
 * an exchange of a few bytes with every member.
 *
 * Same bits as the ring's: chunk c is summed in the order of ranks c, c+1, …, c−1. For two ranks any algorithm gives these bits, as an operation does not mind which of two operands comes first.
 *
 * A rank that is through with its share goes on with what others have not come to, piece by piece: where ranks outnumber cores, or one is late, nobody waits for a rank to get its turn. Who sums a piece
 * makes no difference to its bits.
 *
 * Order: nobody touches another's operand before all have told where theirs lie, when they submit the call or else in an exchange; then each piece is written by the one rank that has counted it, which
 * counts again when it is done; a call is over when all pieces are done. A rank that comes late then finds nothing left to sum, touches nothing, and only tells the others that it is through; they need not
 * wait for that. What has been counted when all are through is known to all, and the next call counts on from there: calls count on two sheets by turns, and wait until all are through with the call before
 * the last. A rank whose operand lies elsewhere says so, and all take the plan instead.
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
export const leastBytes = (ranks: number): number => (ranks === 2 ? 256 << 10 : 64 << 10);
const NOWHERE = -1;
/** On a board: two sheets for each group. */
const GROUPS = 32;
const SHEETS = 2;
const COUNTS_A_SHEET = 16;

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

/** Where calls count by turns. */
class Sheet {
  /** What was counted before the call, the same on all members when they are through: of each member's share, and of what is done. */
  private readonly before: Int32Array;
  /** Resolves when all members are through with the last call that counted here. */
  through: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly first: number,
    private readonly members: number,
  ) {
    this.before = new Int32Array(members + 1);
  }

  /** @returns which piece of that share nobody else takes */
  begin(board: SharedCounts, owner: number): number {
    return (board.next(this.first + owner) - this.before[owner]!) | 0;
  }
  finish(board: SharedCounts): void {
    board.next(this.first + this.members);
  }
  finished(board: SharedCounts): number {
    return (board.at(this.first + this.members) - this.before[this.members]!) | 0;
  }
  /** @param pieces of each share: every member has asked for each of them, and once for one that was not there */
  conclude(pieces: readonly number[]): void {
    for (const [owner, count] of pieces.entries()) {
      if (count > 0) this.before[owner]! += count + this.members;
      this.before[this.members]! += count;
    }
  }
}

/** Of one group, from call to call. */
export class OnePass {
  private readonly others: readonly number[];
  private readonly sheets: readonly Sheet[];
  /** Calls that counted, and all calls: the same on all members. */
  private counted = 0;
  private calls = 0;
  private doAllSee = false;
  private isImpossible = false;

  /** Whether there is room on the boards for a group of that number (from 0 on, none twice) and size. */
  static isPossible(id: number, size: number): boolean {
    return id < GROUPS && size < COUNTS_A_SHEET;
  }

  /** @param members global ranks @param onEnd a call is over, and others are through with it when that resolves */
  constructor(
    id: number,
    private readonly members: readonly number[],
    private readonly position: number,
    private readonly onEnd: (through: Promise<unknown>) => void,
  ) {
    const { length } = members;
    this.others = Array.from({ length: length - 1 }, (_, i) => members[(position + 1 + i) % length]!);
    this.sheets = Array.from({ length: SHEETS }, (_, turn) => new Sheet((id * SHEETS + turn) * COUNTS_A_SHEET, length));
  }

  /**
   * The members' first call finds out whether all see all.
   *
   * @param chunkElems of the ring that it stands for
   * @param places of all operands, in the order of members, each plus 1, if they were told before; then all operands are as they are to be reduced, and stay so
   * @returns whether it is done; if not, nothing was touched on any member
   * @throws whatever the transport fails with (the first cause): operands are then partly summed
   */
  async run(route: SharedRoute, operand: SharedOperand, chunkElems: number, places?: readonly number[]): Promise<boolean> {
    if (this.isImpossible) return false;
    const { heaps } = route;
    const told = places && this.doAllSee ? this.fromOwnOn(places).map((place) => place - 1) : await this.tellPlaces(route, operand);
    if (told.includes(NOWHERE)) return false;

    const addresses = told.map((place, i) => (i === 0 ? operand.bytes.byteOffset : heaps.offsetOf(this.others[i - 1]!)! + place));
    const sheet = this.sheets[this.counted % SHEETS]!;
    this.counted += 1;
    await sheet.through;
    const board = heaps.countsOf(this.members[0]!);
    const pieces = await this.sum(route, operand, addresses, chunkElems, sheet, board);
    const all = pieces.reduce((sum, count) => sum + count, 0);
    await this.end(route, sheet, () => sheet.finished(board) === all);
    sheet.conclude(pieces);
    return true;
  }

  /** @returns places in the order of members, from this one on; NOWHERE alone: not all see all */
  private async tellPlaces(route: SharedRoute, operand: SharedOperand): Promise<number[]> {
    const { heaps } = route;
    const seesAll = this.others.every((rank) => heaps.offsetOf(rank) !== undefined);
    const own = [heaps.placeOf(operand.bytes) ?? NOWHERE, seesAll ? 1 : 0];
    const all = [own, ...(await this.exchange(route, own))];
    this.calls += 1;
    this.doAllSee = all.every(([, sees]) => sees === 1);
    // Their first messages have brought the links about.
    if (!this.doAllSee && this.calls > 1) this.isImpossible = true;
    return this.doAllSee ? all.map(([place]) => place!) : [NOWHERE];
  }

  private fromOwnOn(ofMembers: readonly number[]): number[] {
    return [...ofMembers.slice(this.position), ...ofMembers.slice(0, this.position)];
  }

  /** @param addresses of all operands, from the own on in the order of members @returns how many pieces each member's share has */
  private async sum(
    { transport, heaps, tag }: SharedRoute,
    operand: SharedOperand,
    addresses: readonly number[],
    chunkElems: number,
    sheet: Sheet,
    board: SharedCounts,
  ): Promise<number[]> {
    const size = addresses.length;
    const { bytes, bytesPerElem } = operand;
    const pieceElems = Math.max(1, Math.floor(PIECE_BYTES / bytesPerElem));
    let summed = 0;
    const pieces = new Array<number>(size).fill(0);
    for (let step = 0; step < size; step += 1) {
      const owner = (this.position + step) % size;
      const own = shareOf(owner, size, bytes.length / bytesPerElem, chunkElems).flatMap((range) => segmentsOf(range, pieceElems));
      pieces[owner] = own.length;
      const inOrder = [...addresses.slice(step), ...addresses.slice(0, step)];
      const sumPiece = ({ from, until }: Range): void => {
        operand.combine(
          inOrder.map((address) => address + from * bytesPerElem),
          until - from,
        );
        sheet.finish(board);
      };
      for (let isLeft = own.length > 0; isLeft; ) {
        const gone = heaps.inside(this.others, () => {
          const next = own[sheet.begin(board, owner)];
          if (next) sumPiece(next);
          else isLeft = false;
        });
        // Nothing new comes from there any more: this fails with the cause, if not the first time.
        if (gone !== undefined) await transport.recv(gone, tag, new Uint8Array(0));
        if (isLeft && ++summed % PIECES_A_TURN === 0) await nextTurn();
      }
    }
    return pieces;
  }

  /** Tells the others that this rank is through, and waits until all is done: whoever does the last piece tells so afterwards. */
  private async end({ transport, tag }: SharedRoute, sheet: Sheet, isDone: () => boolean): Promise<void> {
    const nothing = new Uint8Array(0);
    const sent = this.others.map((rank) => transport.send(rank, tag, nothing));
    const heard = this.others.map((rank) => transport.recv(rank, tag, nothing));
    sheet.through = Promise.all([...sent, ...heard]);
    this.onEnd(sheet.through);
    if (isDone()) return;
    await new Promise<unknown>((resolve, reject) => {
      sheet.through.then(resolve, reject);
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
