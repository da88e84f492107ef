/**
 * The directory of a zip file (a wheel is one), read from its end. Pure but for readEntry and extractEntry, which read the file.
 *
 * Own code, because less than a hundred lines do: wheels are stored or deflated, below 4 GiB and not encrypted; anything else is refused.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib';
import { LaunchError } from '../errors';

export interface ZipEntry {
  readonly name: string;
  readonly isDeflated: boolean;
  readonly crc: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  /** Of its local header. */
  readonly at: number;
}

const END_BYTES = 22;
/** The end record stands behind at most so long a comment. */
export const LONGEST_END = END_BYTES + 0xffff;
const LOCAL_BYTES = 30;
const CENTRAL_BYTES = 46;
const FULL = 0xffffffff;

/** Where the directory is. @param tail the last bytes of the file, LONGEST_END or all of it */
export function findDirectory(tail: Buffer): { at: number; bytes: number; count: number } {
  for (let i = tail.length - END_BYTES; i >= 0; i -= 1) {
    if (tail.readUInt32LE(i) !== 0x06054b50 || i + END_BYTES + tail.readUInt16LE(i + 20) !== tail.length) continue;
    const found = { at: tail.readUInt32LE(i + 16), bytes: tail.readUInt32LE(i + 12), count: tail.readUInt16LE(i + 10) };
    if (found.at === FULL || found.bytes === FULL || found.count === 0xffff)
      throw new LaunchError('it is a zip64 file, which tsrun cannot read: wheels below 4 GiB need none', 3);
    return found;
  }
  throw new LaunchError('it is no zip file, or its end is missing', 3);
}

/** @throws LaunchError it is damaged, or packed in a way that wheels are not */
export function readDirectory(directory: Buffer, count: number): ZipEntry[] {
  const found: ZipEntry[] = [];
  for (let i = 0, at = 0; i < count; i += 1) {
    if (at + CENTRAL_BYTES > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
      throw new LaunchError(`its directory is damaged at entry ${i} of ${count}`, 3);
    const [flags, method] = [directory.readUInt16LE(at + 8), directory.readUInt16LE(at + 10)];
    const nameBytes = directory.readUInt16LE(at + 28);
    const name = directory.toString('utf8', at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameBytes);
    if ((flags & 1) !== 0 || (method !== 0 && method !== 8))
      throw new LaunchError(`${name} is ${flags & 1 ? 'encrypted' : `packed by method ${method}`}, which no wheel is`, 3);
    found.push({
      name,
      isDeflated: method === 8,
      crc: directory.readUInt32LE(at + 16),
      compressedBytes: directory.readUInt32LE(at + 20),
      bytes: directory.readUInt32LE(at + 24),
      at: directory.readUInt32LE(at + 42),
    });
    at += CENTRAL_BYTES + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return found;
}

/** @throws LaunchError it is no zip file that can be read */
export async function zipEntries(file: string): Promise<ZipEntry[]> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const tail = await part(handle, Math.max(0, size - LONGEST_END), Math.min(size, LONGEST_END));
    const { at, bytes, count } = findDirectory(tail);
    return readDirectory(await part(handle, at, bytes), count);
  } catch (error) {
    if (error instanceof LaunchError) throw new LaunchError(`${file} cannot be unpacked: ${error.message}`, 3);
    throw error;
  } finally {
    await handle.close();
  }
}

async function part(handle: FileHandle, at: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await handle.read(buffer, 0, bytes, at);
  return buffer.subarray(0, bytesRead);
}

/** The local header has name and extra field of its own, of other lengths than in the directory. */
async function startOf(file: string, { at }: ZipEntry): Promise<number> {
  const handle = await open(file);
  try {
    const header = await part(handle, at, LOCAL_BYTES);
    return at + LOCAL_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
  } finally {
    await handle.close();
  }
}

/** A small one, whole. */
export async function readEntry(file: string, entry: ZipEntry): Promise<Buffer> {
  const from = await startOf(file, entry);
  const handle = await open(file);
  try {
    const packed = await part(handle, from, entry.compressedBytes);
    return entry.isDeflated ? inflateRawSync(packed) : packed;
  } finally {
    await handle.close();
  }
}

/** A large one, in pieces. @throws LaunchError its check sum is wrong */
export async function extractEntry(file: string, entry: ZipEntry, target: string): Promise<void> {
  const from = await startOf(file, entry);
  let crc = 0;
  const checked = new Transform({
    transform(piece: Buffer, _encoding, done) {
      crc = crc32(piece, crc);
      done(null, piece);
    },
  });
  const packed = createReadStream(file, { start: from, end: from + Math.max(0, entry.compressedBytes - 1) });
  const unpacked = entry.isDeflated ? createInflateRaw() : new Transform({ transform: (piece, _encoding, done) => done(null, piece) });
  await pipeline(packed, unpacked, checked, createWriteStream(target));
  if (crc !== entry.crc)
    throw new LaunchError(`${entry.name} of ${file} is damaged: its check sum is wrong. Remove the file and try again`, 3);
}
