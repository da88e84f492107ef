/** The file of a timeline: valid after every write, and what becomes of it when it cannot be written any more. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { checkTimelineFile, makeTimelineFile, TimelineFile, type TimelineHandle, timelinePath } from '../../../src/engine/timeline_file';
import { UsageError } from '../../../src/errors';
import { until } from '../../helpers/processes';

const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-timeline-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const numbersIn = (file: string): number[] => JSON.parse(readFileSync(file, 'utf8')) as number[];

t.test('%r stands for the rank, as wide as the highest', async (t) => {
  for (const [given, rank, size, expected] of [
    ['/x/t.json', 0, 4, '/x/t.json'],
    ['/x/t.json', 1, 4, undefined],
    ['/x/t.%r.json', 1, 4, '/x/t.1.json'],
    ['/x/t.%r.json', 1, 10, '/x/t.1.json'],
    ['/x/t.%r.json', 1, 11, '/x/t.01.json'],
    ['/x/%r/%r', 7, 101, '/x/007/007'],
    ['t.json', 0, 1, path.resolve('t.json')],
  ] as const)
    t.equal(timelinePath(given, rank, size), expected, `${given}, rank ${rank} of ${size}`);
});

t.test('it is valid JSON after every write, and holds what was appended', async (t) => {
  const file = path.join(folder, 'grows');
  writeFileSync(file, 'what was here before, which is longer');
  makeTimelineFile(file, 'test');
  t.same(numbersIn(file), []);
  const handle = await open(file, 'r+');
  let writes = 0;
  const watched: TimelineHandle = {
    write: (async (...args: Parameters<typeof handle.write>) => {
      const result = await handle.write(...args);
      writes += 1;
      t.ok(Array.isArray(numbersIn(file)), `after write ${writes}`);
      return result;
    }) as typeof handle.write,
    stat: (() => handle.stat()) as typeof handle.stat,
    truncate: (bytes) => handle.truncate(bytes),
    close: () => handle.close(),
  };
  const output = new TimelineFile(
    file,
    (message) => t.fail(message),
    async () => watched,
  );
  output.append([]);
  for (let i = 0; i < 40; i += 1) {
    output.append([`${2 * i}`, `${2 * i + 1}`]);
    if (i % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await output.close();
  t.same(
    numbersIn(file),
    Array.from({ length: 80 }, (_, i) => i),
  );
  t.ok(writes > 1 && writes <= 40, 'in batches');
});

t.test('what cannot be written is an error at the call, and says which file', async (t) => {
  const link = path.join(folder, 'link');
  mkdirSync(path.join(folder, 'is a folder'));
  symlinkSync(path.join(folder, 'nowhere', 'x'), link);
  for (const file of [path.join(folder, 'no such folder', 't.json'), path.join(folder, 'is a folder'), link, '/dev/null'])
    for (const act of [makeTimelineFile, checkTimelineFile])
      t.throws(() => act(file, 'here'), { constructor: UsageError, message: `here: the timeline '${file}' cannot be written` }, file);
});

t.test('a check leaves what is there', async (t) => {
  const file = path.join(folder, 'stays');
  writeFileSync(file, '[1]');
  checkTimelineFile(file, 'here');
  t.same(numbersIn(file), [1]);
});

t.test('a full disk ends it: one message, and the file is valid with what had been written', async (t) => {
  const file = path.join(folder, 'full');
  makeTimelineFile(file, 'test');
  const handle = await open(file, 'r+');
  let room = 100;
  const full: TimelineHandle = {
    write: (async (body: Buffer, from: number, bytes: number, at: number) => {
      if (room === 0 && bytes > 3) throw new Error('ENOSPC: no space left on device, write');
      const fits = Math.min(bytes, room || bytes);
      room -= Math.min(room, fits);
      return handle.write(body, from, fits, at);
    }) as typeof handle.write,
    stat: (() => handle.stat()) as typeof handle.stat,
    truncate: (bytes) => handle.truncate(bytes),
    close: () => handle.close(),
  };
  const messages: string[] = [];
  const output = new TimelineFile(
    file,
    (message) => messages.push(message),
    async () => full,
  );
  output.append(['1', '2']);
  t.ok(await until(() => numbersIn(file).length === 2, 10_000));
  output.append(Array.from({ length: 100 }, (_, i) => `${i}`));
  t.ok(await until(() => messages.length > 0, 10_000));
  output.append(['3']);
  await output.close();
  t.match(messages, [/^The timeline '.*full' ends here: ENOSPC.* The job goes on without it\.$/]);
  t.equal(messages.length, 1);
  t.same(numbersIn(file), [1, 2]);
});

t.test('a file that is removed, or was never there, ends it too', async (t) => {
  for (const name of ['removed', 'never there']) {
    const file = path.join(folder, name);
    if (name === 'removed') makeTimelineFile(file, 'test');
    const messages: string[] = [];
    const output = new TimelineFile(file, (message) => messages.push(message));
    if (name === 'removed') {
      output.append(['1']);
      t.ok(await until(() => numbersIn(file).length === 1, 10_000));
      rmSync(file);
    }
    output.append(['2']);
    await output.close();
    t.equal(messages.length, 1, messages.join());
    t.notOk(existsSync(file));
  }
});
