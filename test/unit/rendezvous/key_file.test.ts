import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { RendezvousError } from '../../../src/errors';
import { problemOf, readKeyFile } from '../../../src/rendezvous/key_file';

const folder = t.testdir({});
function file(name: string, content: string | Buffer, mode = 0o600): string {
  const place = path.join(folder, name);
  writeFileSync(place, content);
  chmodSync(place, mode);
  return place;
}
const outside = { isInPod: false };

t.test('any content of 32 bytes or more is a key, byte for byte', async (t) => {
  const one = readKeyFile(file('one', 'x'.repeat(32)), outside);
  t.equal(one.length, 32);
  t.same(readKeyFile(file('same', 'x'.repeat(32), 0o400), outside), one);
  t.notSame(readKeyFile(file('newline', `${'x'.repeat(32)}\n`), outside), one);
  t.notSame(readKeyFile(file('long', 'x'.repeat(1 << 16)), outside), one);
  // A Secret's files are links into a folder that changes.
  mkdirSync(path.join(folder, '..data'));
  writeFileSync(path.join(folder, '..data', 'key'), 'x'.repeat(32), { mode: 0o400 });
  symlinkSync('..data/key', path.join(folder, 'linked'));
  t.same(readKeyFile(path.join(folder, 'linked'), outside), one);
});

t.test('what is no key is refused, with the command that makes one', async (t) => {
  const table: Array<[string, RegExp]> = [
    [path.join(folder, 'none'), /cannot be read: ENOENT.*head -c 32/],
    [file('empty', ''), /has 0 bytes; a key has 32 or more.*head -c 32/],
    [file('short', 'x'.repeat(31)), /has 31 bytes/],
    [file('huge', 'x'.repeat((1 << 16) + 1)), /more than 65536 bytes/],
    [folder, /is no file/],
    [file('open', 'x'.repeat(32), 0o640), /mode 0640: others than its owner.*chmod 600 .*open/],
  ];
  for (const [place, text] of table) {
    const error = t.throws(() => readKeyFile(place, outside), RendezvousError) as unknown as Error;
    t.match(error.message, text, place);
  }
  t.equal(readKeyFile(file('group', 'x'.repeat(32), 0o440), { isInPod: true }).length, 32);
});

t.test('who may read it', async (t) => {
  const table: Array<[string, number, number, number | undefined, boolean, RegExp | undefined]> = [
    ['the owner', 0o600, 1000, 1000, false, undefined],
    ['the owner, read only', 0o400, 1000, 1000, false, undefined],
    ['the group', 0o640, 1000, 1000, false, /chmod 600/],
    ['the world', 0o604, 1000, 1000, false, /chmod 600/],
    ['the group may write', 0o620, 1000, 1000, false, /chmod 600/],
    ['the file of another user', 0o600, 1001, 1000, false, /belongs to user 1001/],
    ["root's, a group's to read", 0o440, 0, 1000, false, /chmod 600/],
    ['a Secret for a user of the pod', 0o440, 0, 1000, true, undefined],
    ['a Secret of mode 0600 with the group of the pod', 0o640, 0, 1000, true, undefined],
    ['a Secret with the default mode', 0o644, 0, 0, true, /defaultMode: 0400/],
    ['a Secret that the group may write', 0o460, 0, 1000, true, /defaultMode: 0400/],
    ['a system without such permissions', 0o666, 0, undefined, false, undefined],
  ];
  for (const [title, mode, uid, user, isInPod, expected] of table) {
    const problem = problemOf({ mode: 0o100000 | mode, uid, user }, isInPod);
    if (expected) t.match(problem, expected, title);
    else t.equal(problem, undefined, title);
  }
});
