/** Whether a shared library is whole: files made here, and the running Node. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { bytesNeeded, whyCutOff } from '../../../src/tensorflow/backends/tfjs_node/elf';

const PT_LOAD = 1;
const PT_NOTE = 4;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly fileBytes: number;
}

/** A library with these segments; its table of them lies behind its header. */
function library(bytes: number, segments: readonly Segment[], { elfClass = 2, entryBytes = 56 } = {}): Buffer {
  const file = Buffer.alloc(bytes);
  file.write('\x7fELF', 'latin1');
  file[4] = elfClass;
  file[5] = 1;
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(entryBytes, 54);
  file.writeUInt16LE(segments.length, 56);
  for (const [i, { type, offset, fileBytes }] of segments.entries()) {
    const at = 64 + i * entryBytes;
    file.writeUInt32LE(type, at);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(BigInt(fileBytes), at + 32);
  }
  return file;
}
const neededOf = (file: Buffer): number | undefined => bytesNeeded((at, count) => file.subarray(at, at + count));
const segments = [
  { type: PT_LOAD, offset: 0, fileBytes: 500 },
  { type: PT_LOAD, offset: 4096, fileBytes: 700 },
  { type: PT_NOTE, offset: 8000, fileBytes: 100 },
];

t.test('the end of the last segment that is mapped, or of the table', async (t) => {
  t.equal(neededOf(library(5000, segments)), 4796);
  t.equal(neededOf(library(400, segments)), 4796, 'though the rest is missing');
  t.equal(neededOf(library(300, [])), 64);
  t.equal(neededOf(library(5000, segments).subarray(0, 100)), 64 + 3 * 56, 'the table itself is cut off');
});

t.test('what is no such library', async (t) => {
  t.equal(neededOf(Buffer.alloc(0)), undefined);
  t.equal(neededOf(Buffer.from('\x7fELF', 'latin1')), undefined);
  t.equal(neededOf(Buffer.alloc(5000, 'text')), undefined);
  t.equal(neededOf(library(5000, segments, { elfClass: 1 })), undefined, '32 bits');
});

t.test('of the files in folders', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-elf-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const [addons, libraries] = [path.join(folder, 'lib'), path.join(folder, 'deps')];
  for (const one of [addons, libraries]) mkdirSync(one);
  writeFileSync(path.join(addons, 'addon.node'), library(5000, segments));
  writeFileSync(path.join(libraries, 'libgood.so.2'), library(4796, segments));
  writeFileSync(path.join(libraries, 'notes.txt'), library(900, segments));
  symlinkSync('nowhere', path.join(libraries, 'libgone.so'));
  const folders = [addons, libraries, path.join(folder, 'none')];
  t.equal(whyCutOff(folders), undefined);
  writeFileSync(path.join(libraries, 'libbad.so.2.20.0'), library(4795, segments));
  t.match(whyCutOff(folders), /deps\/libbad\.so\.2\.20\.0 is cut off: it has 4795 bytes, and its header tells of 4796/);
  rmSync(path.join(libraries, 'libbad.so.2.20.0'));
  writeFileSync(path.join(addons, 'addon.node'), library(900, segments));
  t.match(whyCutOff(folders), /lib\/addon\.node is cut off/);
});

t.test('a real one is whole', { skip: process.platform !== 'linux' && 'other systems have other formats' }, async (t) => {
  const fd = openSync(process.execPath, 'r');
  t.teardown(() => closeSync(fd));
  const needed = bytesNeeded((at, count) => {
    const into = Buffer.alloc(count);
    return into.subarray(0, readSync(fd, into, 0, count, at));
  })!;
  const { size } = statSync(process.execPath);
  t.ok(needed > size / 2 && needed <= size, `${needed} of ${size}`);
});
