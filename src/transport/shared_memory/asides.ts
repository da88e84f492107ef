/**
 * Messages that the receiver gets without asking for them, of one link: put together from pieces, then heard. Communication thread; no I/O.
 *
 * Invariant: each is heard once, in the order sent, one after the other: who hears one may ask for more of the link, which is then looked at, and what comes by that is heard when those before it have been.
 */
import type { Piece } from './ring';

export class Asides {
  /** Set before the first of them comes. */
  hear?: (bytes: Uint8Array) => void;
  /** What has come of the next. */
  private next?: { readonly bytes: Buffer; progress: number };
  /** Those that are whole. */
  private readonly whole: Uint8Array[] = [];
  private isHearing = false;

  /** @param copyOut puts the piece's bytes there */
  take({ messageBytes, bytes }: Pick<Piece, 'messageBytes' | 'bytes'>, copyOut: (into: Uint8Array) => void): void {
    this.next ??= { bytes: Buffer.allocUnsafe(messageBytes), progress: 0 };
    const { next } = this;
    copyOut(next.bytes.subarray(next.progress, next.progress + bytes));
    next.progress += bytes;
    if (next.progress < messageBytes) return;
    this.whole.push(next.bytes);
    this.next = undefined;
  }

  /** All that are whole. */
  passOn(): void {
    if (this.isHearing) return;
    this.isHearing = true;
    try {
      for (let first = this.whole.shift(); first; first = this.whole.shift()) this.hear?.(first);
    } finally {
      this.isHearing = false;
    }
  }
}
