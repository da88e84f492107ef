import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { RendezvousError } from '../../../src/errors';
import { awaitNote, folderOf, leaveNote, removeNote } from '../../../src/rendezvous/one_host';

const base = t.testdir({});
const note = (fill: number, port = 4000) => ({ key: new Uint8Array(32).fill(fill), port });
let folders = 0;
const fresh = (): string => folderOf(`job-${(folders += 1)}`, base);

t.test('a note comes to whoever waits for it, and nobody else can read it', async (t) => {
  const folder = fresh();
  const waiting = awaitNote(folder, 10_000);
  leaveNote(folder, note(7));
  t.match(await waiting, { port: 4000 });
  t.same([...(await awaitNote(folder, 10_000)).key], [...note(7).key]);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.same(readdirSync(folder), ['note'], 'no draft is left');
  t.equal(statSync(path.join(folder, 'note')).mode & 0o777, 0o600);
  removeNote(folder);
  t.notOk(existsSync(folder));
  removeNote(folder);
});

t.test('jobs and users have folders of their own', async (t) => {
  t.not(folderOf('a', base), folderOf('b', base));
  t.equal(folderOf('a', base), folderOf('a', base));
  t.match(path.basename(folderOf('a', base)), new RegExp(`^khorovod-${process.getuid?.() ?? 'user'}-`));
  t.equal(path.dirname(folderOf('../../x', base)), base);
});

t.test('a note whose maker has died counts as none, and a new one takes its place', async (t) => {
  const folder = fresh();
  leaveNote(folder, note(1));
  const file = path.join(folder, 'note');
  // No process has such an id.
  writeFileSync(file, readFileSync(file, 'utf8').replace(/"pid":\d+/, '"pid":999999999'));
  const error = await awaitNote(folder, 60).catch((failure: unknown) => failure);
  t.ok(error instanceof RendezvousError);
  t.match(error, { message: /After 0.1 s rank 0 had not left the job key in .*TSRUN_KEY_FILE/ });
  const waiting = awaitNote(folder, 10_000);
  leaveNote(folder, note(2, 4001));
  t.match(await waiting, { port: 4001 });
});

t.test('what somebody else may have made is neither read nor written into', async (t) => {
  const [open, link, file] = [fresh(), fresh(), fresh()];
  mkdirSync(open, { mode: 0o700 });
  chmodSync(open, 0o777);
  const real = path.join(base, 'real');
  leaveNote(real, note(3));
  symlinkSync(real, link);
  writeFileSync(file, '');
  const table: Array<[string, RegExp]> = [
    [open, /is open to others \(mode 777\)/],
    [link, /is no folder/],
    [file, /is no folder/],
  ];
  for (const [folder, text] of table) {
    await t.rejects(awaitNote(folder, 1000), { code: 'ERR_HVD_RENDEZVOUS', message: text }, folder);
    t.throws(() => leaveNote(folder, note(4)), { code: 'ERR_HVD_RENDEZVOUS', message: text }, folder);
  }
  // Nor a note that is a link to somewhere.
  const linked = fresh();
  mkdirSync(linked, { mode: 0o700 });
  symlinkSync(path.join(real, 'note'), path.join(linked, 'note'));
  await t.rejects(awaitNote(linked, 1000), { code: 'ERR_HVD_RENDEZVOUS', message: /holds a note that is a link/ });
});

t.test('a folder of another user is refused', { skip: process.getuid?.() === 0 ? false : 'needs root, to make one' }, async (t) => {
  const folder = fresh();
  mkdirSync(folder, { mode: 0o700 });
  chownSync(folder, 12_345, 12_345);
  await t.rejects(awaitNote(folder, 1000), { message: /belongs to user 12345/ });
  t.throws(() => leaveNote(folder, note(5)), { message: /belongs to user 12345/ });
});
