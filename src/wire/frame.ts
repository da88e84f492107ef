/** Length-prefixed frames. Pure. */
import { WireError } from '../errors';

export const FRAME_HEADER_BYTES = 4;
export function encodeFrame(payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(4 + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.set(payload, 4);
  return frame;
}
export class FrameParser {
  private chunks: Uint8Array[] = [];
  private bytes = 0;
  constructor(private readonly maxPayloadBytes: number) {}
  push(chunk: Uint8Array): Uint8Array[] {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    const frames: Uint8Array[] = [];
    while (this.bytes >= 4) {
      if (this.chunks[0]!.length < 4) this.chunks = [Buffer.concat(this.chunks)];
      const head = this.chunks[0]!;
      const length = (head[0]! | (head[1]! << 8) | (head[2]! << 16) | (head[3]! << 24)) >>> 0;
      if (length > this.maxPayloadBytes)
        throw new WireError(`A frame of ${length} bytes was announced; ${this.maxPayloadBytes} are allowed.`);
      if (this.bytes < 4 + length) break;
      const all = this.chunks.length === 1 ? head : Buffer.concat(this.chunks);
      frames.push(all.subarray(4, 4 + length));
      const rest = all.subarray(4 + length);
      this.chunks = rest.length ? [rest] : [];
      this.bytes = rest.length;
    }
    return frames;
  }
}
