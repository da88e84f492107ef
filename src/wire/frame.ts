/**
 * Length-prefixed frames: 4 bytes of length (little-endian), then so many bytes. Pure; any thread.
 *
 * Carries every protobuf message: control links, the store, the pipe between launcher and agent. Invariants: the same frames come out whatever the chunks were; a
 * length above the limit is refused as soon as its four bytes are there; memory held is at most twice what has come in (an announced length alone reserves no more
 * than FIRST_BYTES); a parser that has refused once refuses for ever, because nothing after a wrong length can be trusted.
 */
import { WireError } from '../errors';

export const FRAME_HEADER_BYTES = 4;
/** A frame that spans chunks is gathered in a buffer that begins with so much and doubles up to the announced length. */
const FIRST_BYTES = 4 << 10;
const MOST_FRAME_BYTES = 0xffffffff;

/** @throws WireError the payload is longer than a header can say */
export function encodeFrame(payload: Uint8Array): Buffer {
  if (payload.length > MOST_FRAME_BYTES) throw new WireError(`A frame of ${payload.length} bytes cannot be sent; ${MOST_FRAME_BYTES} fit.`);
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export class FrameParser {
  private headerBytes = 0;
  /** Of the frame under way; complete once `headerBytes` is 4. */
  private length = 0;
  /** What has come of it, in the first `bodyBytes` of `body`. */
  private body = new Uint8Array(0);
  private bodyBytes = 0;
  private error?: WireError;

  constructor(private readonly maxPayloadBytes: number) {}

  /**
   * The frames that are complete with this chunk, in order. A frame may be a view of the chunk.
   *
   * @throws WireError a frame longer than the limit was announced, now or before; frames of the same chunk are lost with it
   */
  push(chunk: Uint8Array): Uint8Array[] {
    if (this.error) throw this.error;
    const frames: Uint8Array[] = [];
    let at = 0;
    for (;;) {
      while (this.headerBytes < FRAME_HEADER_BYTES) {
        if (at === chunk.length) return frames;
        // Not by shifts: they would make a length of 2 GiB and more negative.
        this.length += chunk[at++]! * 2 ** (8 * this.headerBytes++);
      }
      if (this.length > this.maxPayloadBytes) {
        this.body = new Uint8Array(0);
        this.error = new WireError(`A frame of ${this.length} bytes was announced; ${this.maxPayloadBytes} are allowed.`);
        throw this.error;
      }
      const bytes = Math.min(this.length - this.bodyBytes, chunk.length - at);
      const isWhole = bytes === this.length;
      if (!isWhole) this.gather(chunk.subarray(at, at + bytes));
      if (this.bodyBytes < this.length && !isWhole) return frames;
      frames.push(isWhole ? chunk.subarray(at, at + bytes) : this.body.subarray(0, this.length));
      at += bytes;
      this.headerBytes = this.length = this.bodyBytes = 0;
      this.body = new Uint8Array(0);
    }
  }

  private gather(bytes: Uint8Array): void {
    const needed = this.bodyBytes + bytes.length;
    if (needed > this.body.length) {
      const larger = new Uint8Array(Math.min(this.length, Math.max(needed, 2 * this.body.length, FIRST_BYTES)));
      larger.set(this.body.subarray(0, this.bodyBytes));
      this.body = larger;
    }
    this.body.set(bytes, this.bodyBytes);
    this.bodyBytes = needed;
  }
}
