/** How a message lies on a data link: magic, tag, length (uint32 each, little-endian), then its bytes. Pure. */

export const HEADER_BYTES = 12;
/** Up to here a message is copied together with its header into one write, and received through the stash: a system call costs more than the copy. */
export const SMALL_BYTES = 16 << 10;
const MAGIC = 0x4b485644;

export interface Header {
  readonly tag: number;
  readonly bytes: number;
}

export function writeHeader(into: Buffer, tag: number, bytes: number): void {
  into.writeUInt32LE(MAGIC, 0);
  into.writeUInt32LE(tag, 4);
  into.writeUInt32LE(bytes, 8);
}
/** undefined: no header. */
export function readHeader(from: Buffer, at: number): Header | undefined {
  if (from.readUInt32LE(at) !== MAGIC) return undefined;
  return { tag: from.readUInt32LE(at + 4), bytes: from.readUInt32LE(at + 8) };
}
