/**
 * Which pieces a worker may push now. Pure.
 *
 * Only so many bytes are under way (pushed, not answered): with all of a network under way at once TCP shares the links as chance will have it, some workers or servers run ahead, and the links the others need
 * carry answers late; and what a server has received and not yet answered is sent when nothing else is. As many bytes a server as fill its link while the slowest worker's piece is awaited. Invariant, against workers that wait for each other whose buckets are full in different orders: the lowest piece always leaves. The lowest that is
 * unanswered anywhere is lower than all that are under way anywhere, so every worker pushes it as soon as it has it, and it is answered.
 */
export const WINDOW_BYTES_PER_SERVER = 4 << 20;

export class PushWindow {
  /** Ascending. */
  private waiting: number[] = [];
  private readonly underWay = new Set<number>();
  private bytes = 0;

  /** @param bytesOf of each piece, in the order in which they should leave @param windowBytes Infinity: all leave at once */
  constructor(
    private readonly bytesOf: readonly number[],
    private readonly windowBytes: number,
  ) {}

  /** @returns those that leave now, in their order */
  add(pieces: readonly number[]): number[] {
    this.waiting = [...this.waiting, ...pieces].sort((a, b) => a - b);
    return this.leaving();
  }
  /** @returns those that leave now that this one is answered */
  answered(piece: number): number[] {
    if (this.underWay.delete(piece)) this.bytes -= this.bytesOf[piece]!;
    return this.leaving();
  }

  private leaving(): number[] {
    const found: number[] = [];
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      const hasRoom = this.bytes + this.bytesOf[next]! <= this.windowBytes;
      if (!hasRoom && [...this.underWay].some((piece) => piece < next)) break;
      this.waiting.shift();
      this.underWay.add(next);
      this.bytes += this.bytesOf[next]!;
      found.push(next);
    }
    return found;
  }
}
