/**
 * Counts at the beginning of a heap, which all who see the heap count up together. No I/O; any memory that they see.
 *
 * Each on a cache line of its own. Who counts is inside the heap (ring.ts: enter, leave), so that nobody counts any more once its owner has withdrawn it.
 */
const WORDS_PER_LINE = 16;
export const BOARD_BYTES = 4096;

export class Board {
  /** @param words BOARD_BYTES of them */
  constructor(private readonly words: Int32Array) {}

  /** So many from `first` on are zero. By the owner, while nobody counts there. */
  reset(first: number, counts: number): void {
    for (let index = first; index < first + counts; index += 1) Atomics.store(this.words, index * WORDS_PER_LINE, 0);
  }

  /** @param index below 64 @returns the count before: everybody who asks gets another one */
  next(index: number): number {
    return Atomics.add(this.words, index * WORDS_PER_LINE, 1);
  }

  /** @param index below 64 */
  at(index: number): number {
    return Atomics.load(this.words, index * WORDS_PER_LINE);
  }
}
