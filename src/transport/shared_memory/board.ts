/**
 * Counts at the beginning of a heap, which all who see the heap count up together. No I/O; any memory that they see.
 *
 * Each on a cache line of its own. Who counts is inside the heap (ring.ts: enter, leave), so that nobody counts any more once its owner has withdrawn it.
 */
const WORDS_PER_LINE = 16;
export const BOARD_BYTES = 65536;

export class Board {
  /** @param words BOARD_BYTES of them, zeros at first */
  constructor(private readonly words: Int32Array) {}

  /** @param index below 1,024 @returns the count before, an int32 that goes around: everybody who asks gets another one */
  next(index: number): number {
    return Atomics.add(this.words, index * WORDS_PER_LINE, 1);
  }

  /** @param index below 1,024 */
  at(index: number): number {
    return Atomics.load(this.words, index * WORDS_PER_LINE);
  }
}
