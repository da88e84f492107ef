/** How a message lies on a data link: magic, tag, length (uint32 each, little-endian), zeros up to HEADER_BYTES, then its bytes. Pure. */

/**
 * A cache line: the bytes that follow keep, in the kernel's buffers, the alignment they have in memory, and copies between the two are faster. Measured on loopback, 2 ranks,
 * ring allreduce of 1 MiB, CPU time per call: 12 bytes 1520 µs, 16 bytes 1480 µs, 64 bytes 1300 µs; messages of 4 KiB take the same time with each.
 */
export const HEADER_BYTES = 64;
const FIELD_BYTES = 12;
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
  // The memory is not new: what lay there before is nobody else's business.
  into.fill(0, FIELD_BYTES, HEADER_BYTES);
}
/** undefined: no header. */
export function readHeader(from: Buffer, at: number): Header | undefined {
  if (from.readUInt32LE(at) !== MAGIC) return undefined;
  return { tag: from.readUInt32LE(at + 4), bytes: from.readUInt32LE(at + 8) };
}
