/**
 * Whether shared libraries are whole, before they are loaded: Linux maps a file that was cut off as if it were whole, and whoever touches what is missing is ended by SIGBUS, without a word. Main thread.
 *
 * What the loader maps are the segments of type PT_LOAD (System V ABI, ELF-64, least significant byte first); what lies behind them may be missing.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import path from 'node:path';

const HEADER_BYTES = 64;
const PT_LOAD = 1;
const ELFCLASS64 = 2;
const LITTLE_ENDIAN = 1;

/** The bytes that the file must have at least; undefined: it is no such library, which the loader says by itself. @param read so many bytes from there on; fewer at the end */
export function bytesNeeded(read: (at: number, count: number) => Buffer): number | undefined {
  const header = read(0, HEADER_BYTES);
  if (header.length < HEADER_BYTES || header.toString('latin1', 0, 4) !== '\x7fELF') return undefined;
  if (header[4] !== ELFCLASS64 || header[5] !== LITTLE_ENDIAN) return undefined;
  const at = Number(header.readBigUInt64LE(32));
  const [entryBytes, count] = [header.readUInt16LE(54), header.readUInt16LE(56)];
  const table = read(at, entryBytes * count);
  let needed = at + entryBytes * count;
  for (let from = 0; from + 40 <= table.length && entryBytes >= 40; from += entryBytes) {
    if (table.readUInt32LE(from) !== PT_LOAD) continue;
    needed = Math.max(needed, Number(table.readBigUInt64LE(from + 8) + table.readBigUInt64LE(from + 32)));
  }
  return needed;
}

/** Which of the libraries in these folders is cut off, in words; undefined: none. Folders that are not there have none. */
export function whyCutOff(folders: readonly string[]): string | undefined {
  for (const folder of folders) {
    for (const name of librariesIn(folder)) {
      const file = path.join(folder, name);
      const lack = lackOf(file);
      if (lack) return `${file} is cut off: it has ${lack.bytes} bytes, and its header tells of ${lack.needed}`;
    }
  }
  return undefined;
}

function librariesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(node|so(\.[\d.]+)?)$/.test(entry.name))
      .map(({ name }) => name);
  } catch {
    return []; // loading says that it is missing
  }
}

function lackOf(file: string): { bytes: number; needed: number } | undefined {
  const fd = openSync(file, 'r');
  try {
    const bytes = fstatSync(fd).size;
    const needed = bytesNeeded((at, count) => {
      const into = Buffer.alloc(count);
      return into.subarray(0, readSync(fd, into, 0, count, at));
    });
    return needed !== undefined && bytes < needed ? { bytes, needed } : undefined;
  } finally {
    closeSync(fd);
  }
}
