/**
 * Room in a ring, given out in turn and freed in the same order. Pure; the writer's side.
 *
 * Invariants: what is given out lies in one piece, on cache lines of its own, and within the room; it is given out again when whoever frees it has set `tail` to what `head` was behind it, or later.
 */
const LINE_BYTES = 64;

export class Room {
  /** Bytes ever given out, with what was left out at the end of a turn; and how many of those are free again. */
  head = 0;
  tail = 0;

  constructor(
    private readonly from: number,
    private readonly bytes: number,
  ) {}

  /** @returns where it is in the ring; undefined: there is none now */
  take(bytes: number): number | undefined {
    const at = this.head % this.bytes;
    const skipped = at + bytes > this.bytes ? this.bytes - at : 0;
    const end = this.head + skipped + Math.ceil(bytes / LINE_BYTES) * LINE_BYTES;
    if (end - this.tail > this.bytes) return undefined;
    this.head = end;
    return this.from + (skipped > 0 ? 0 : at);
  }
}
