/** The directory of a zip file, against one that is made here. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import t from 'tap';
import { extractEntry, findDirectory, readDirectory, readEntry, zipEntries } from '../../../../launcher/install_tfjs_node/zip';

/** As PKWARE's note describes the format. The local header's extra field is longer than the directory's, as in real files. */
function zipOf(files: Record<string, { text: string; isStored?: boolean; crc?: number; method?: number }>, comment = ''): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, { text, isStored = false, crc = crc32(text), method = isStored ? 0 : 8 }] of Object.entries(files)) {
    const data = isStored ? Buffer.from(text) : deflateRawSync(text);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(method, 4);
    fields.writeUInt32LE(crc, 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(text.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), Buffer.alloc(7)]);
    local.writeUInt16LE(7, 28);
    const central = Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), fields, Buffer.alloc(14), Buffer.from(name)]);
    central.writeUInt32LE(at, 42);
    directory.push(central);
    parts.push(local, data);
    at += local.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(at, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, ...directory, end, Buffer.from(comment)]);
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-zip-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const written = (name: string, bytes: Buffer): string => {
  writeFileSync(path.join(folder, name), bytes);
  return path.join(folder, name);
};

t.test('entries are listed and read, deflated and stored', async (t) => {
  const long = 'a line\n'.repeat(50_000);
  const file = written('good.whl', zipOf({ 'a/long': { text: long }, b: { text: 'short', isStored: true } }, 'a comment'));
  const [first, second] = await zipEntries(file);
  t.match(first, { name: 'a/long', isDeflated: true, bytes: long.length });
  t.match(second, { name: 'b', isDeflated: false, bytes: 5, compressedBytes: 5 });
  t.equal((await readEntry(file, first!)).toString(), long);
  t.equal((await readEntry(file, second!)).toString(), 'short');
  await extractEntry(file, first!, path.join(folder, 'long'));
  t.equal(readFileSync(path.join(folder, 'long'), 'utf8'), long);
});

t.test('what is damaged or packed otherwise is refused, with the name of the file', async (t) => {
  const wrong = written('wrong.whl', zipOf({ a: { text: 'text', crc: 1 } }));
  await t.rejects(extractEntry(wrong, (await zipEntries(wrong))[0]!, path.join(folder, 'a')), /a of .*wrong\.whl is damaged/);
  await t.rejects(
    zipEntries(written('cut.whl', zipOf({ a: { text: 'text' } }).subarray(0, 60))),
    /cut\.whl cannot be unpacked: it is no zip file/,
  );
  await t.rejects(zipEntries(written('bz.whl', zipOf({ a: { text: 'text', method: 12 } }))), /packed by method 12/);
  t.throws(() => readDirectory(Buffer.alloc(10), 1), /damaged at entry 0 of 1/);
  const zip64 = zipOf({});
  zip64.fill(0xff, 16, 20);
  t.throws(() => findDirectory(zip64), /zip64/);
});
