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
 * Cost: each element is read once and written once, where the ring reads N − 1 received chunks, writes as many sums, and copies N − 1 chunks; and two exchanges of a few bytes with every member. Within a share
 * it goes by pieces that stay in the fastest cache, so that the sum of a piece is read from there when it is written to the others.
 *
 * Same bits as the ring's: chunk c is summed in the order of ranks c, c+1, …, c−1. For two ranks any algorithm gives these bits, as an operation does not mind which of two operands comes first.
 *
 * A rank that is through with its share goes on with what others have not come to, piece by piece: where ranks outnumber cores, or one is late, nobody waits for a rank to get its turn. Who sums a piece
 * makes no difference to its bits.
 *
 * Order: nobody touches another's operand before all have told where theirs lie, and nobody's call is over before all have told that they are through; between them each piece is written by the one rank
 * that has counted it; the first member's counts begin at zero before it tells where its operand lies.
 * A rank whose operand lies elsewhere says so, and all take the plan instead.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Heaps } from '../transport/transport';
import type { Operand, Route } from './execute';
import { partOf, type Range, segmentsOf } from './plan';

/** Half the first cache, for the sum and one operand. Measured, 16 MiB, 2 ranks: 8 KiB 1.36 ms, 16 KiB 1.32, 32 KiB 1.51, 256 KiB 1.53. */
const PIECE_BYTES = 16 << 10;
/** So much, a fraction of a millisecond, before it is looked whether somebody has given up, and what is to be done next. */
const VISIT_BYTES = 256 << 10;
/** So many visits, some milliseconds at most, before the thread serves others. */
const VISITS_A_TURN = 16;
/** Below, the exchange of places is what takes the time: two ranks have a plan with as few exchanges. Measured, 2 ranks: 128 KiB 75 µs (the plan 50), 256 KiB 85 (85), 512 KiB 120 (180); 4 ranks: 128 KiB 280 µs (385). */
const leastBytes = (ranks: number): number => (ranks === 2 ? 256 << 10 : 64 << 10);
const NOWHERE = -1;

/** `heaps`: the transport's. */
export type SharedRoute = Pick<Route, 'transport' | 'tag'> & { readonly heaps: Heaps };
/** An operand that is reduced. */
export type SharedOperand = Operand & Required<Pick<Operand, 'reduce'>>;

/** Whether one pass gives the bits of that algorithm, and is worth its exchanges; the same on all members. */
export const isForOnePass = (algorithm: string, operand: Operand, size: number): operand is SharedOperand =>
  operand.reduce !== undefined && !operand.wire && operand.bytes.length >= leastBytes(size) && (algorithm === 'ring' || size === 2);

/** @returns this rank's share of the elements: what the ring completes in chunk `position` of each block */
export function shareOf(position: number, size: number, elems: number, chunkElems: number): Range[] {
  const blocks = segmentsOf({ from: 0, until: elems }, size * chunkElems);
  return blocks.map((block) => partOf(block, position, size)).filter(({ from, until }) => until > from);
}

/** Of one group, from call to call. */
export class OnePass {
  private readonly others: readonly number[];
  /** Calls so far, the same on all members. */
  private calls = 0;
  private isImpossible = false;

  /** @param members global ranks @param copy within the linear memory */
  constructor(
    private readonly members: readonly number[],
    private readonly position: number,
    private readonly copy: (target: number, source: number, bytes: number) => void,
  ) {
    const { length } = members;
    this.others = Array.from({ length: length - 1 }, (_, i) => members[(position + 1 + i) % length]!);
  }

  /**
   * The members' first call finds out whether all see all.
   *
   * @param chunkElems of the ring that it stands for
   * @param scratchOffset from where `operand.reduce` counts
   * @returns whether it is done; if not, nothing was touched on any member
   * @throws whatever the transport fails with (the first cause): operands are then partly summed
   */
  async run(route: SharedRoute, operand: SharedOperand, chunkElems: number, scratchOffset: number): Promise<boolean> {
    if (this.isImpossible) return false;
    const { heaps } = route;
    if (this.position === 0) heaps.countsOf(this.members[0]!).reset(this.members.length);
    const own = [heaps.placeOf(operand.bytes) ?? NOWHERE, this.others.every((rank) => heaps.offsetOf(rank) !== undefined) ? 1 : 0];
    const told = await this.exchange(route, own);
    const all = [own, ...told];
    this.calls += 1;
    const doAllSee = all.every(([, sees]) => sees === 1);
    // Their first messages have brought the links about.
    if (!doAllSee && this.calls > 1) this.isImpossible = true;
    if (!doAllSee || all.some(([place]) => place === NOWHERE)) return false;

    const addresses = [operand.bytes.byteOffset, ...told.map(([place], i) => heaps.offsetOf(this.others[i]!)! + place!)];
    await this.sum(route, operand, addresses, chunkElems, scratchOffset);
    await this.exchange(route, []);
    return true;
  }

  /** @param addresses of all operands, from the own on in the order of members */
  private async sum(
    { transport, heaps, tag }: SharedRoute,
    operand: SharedOperand,
    addresses: readonly number[],
    chunkElems: number,
    scratchOffset: number,
  ): Promise<void> {
    const size = addresses.length;
    const { bytes, bytesPerElem } = operand;
    const elemsIn = (room: number): number => Math.max(1, Math.floor(room / bytesPerElem));
    const counts = heaps.countsOf(this.members[0]!);
    let visited = 0;
    for (let step = 0; step < size; step += 1) {
      const owner = (this.position + step) % size;
      const visits = shareOf(owner, size, bytes.length / bytesPerElem, chunkElems).flatMap((range) =>
        segmentsOf(range, elemsIn(VISIT_BYTES)),
      );
      const [home, ...sources] = [...addresses.slice(step), ...addresses.slice(0, step)] as [number, ...number[]];
      // To the operand its elements are counted from its own first one on: the owner's lies so many before or after it.
      const away = (home - bytes.byteOffset) / bytesPerElem;
      const visit = ({ from, until }: Range): void => {
        for (const piece of segmentsOf({ from, until }, elemsIn(PIECE_BYTES))) {
          const [first, elems] = [piece.from * bytesPerElem, piece.until - piece.from];
          for (const address of sources) operand.reduce(away + piece.from, elems, address + first - scratchOffset);
          operand.finish?.(away + piece.from, elems);
          for (const address of sources) this.copy(address + first, home + first, elems * bytesPerElem);
        }
      };
      for (let isLeft = visits.length > 0; isLeft; ) {
        const gone = heaps.inside(this.others, () => {
          const next = visits[counts.next(owner)];
          if (next) visit(next);
          else isLeft = false;
        });
        // Nothing comes from there any more: this fails with the cause.
        if (gone !== undefined) await transport.recv(gone, tag, new Uint8Array(0));
        if (isLeft && ++visited % VISITS_A_TURN === 0) await nextTurn();
      }
    }
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
