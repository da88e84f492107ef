/** Downloads from a server of this test: continued after a cut, checked, and refused as they should be. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { LaunchError } from '../../launcher/errors';
import { download, readPage } from '../../launcher/install_tfjs_node/download';
import { Progress } from '../../launcher/install_tfjs_node/progress';
import { until } from '../helpers/processes';
import { Job } from '../helpers/tsrun';

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) & 0xff));
const sha256 = createHash('sha256').update(content).digest('hex');
const quiet = new Progress({ write: () => {} });
const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-download-'));
t.teardown(() => rmSync(folder, { recursive: true }));

interface Asked {
  readonly url: string;
  readonly range?: string;
  readonly ifRange?: string;
  readonly authorization?: string;
}

/** Serves `content` under any name; the first answers end after so many bytes, as soon as some of them are in the part. */
async function serving(
  t: { teardown(act: () => void): unknown },
  {
    cuts = [],
    part = '',
    etag,
    answer,
  }: { cuts?: number[]; part?: string; etag?: string; answer?: (request: IncomingMessage, response: ServerResponse) => boolean },
): Promise<{ url: string; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const { range, authorization } = request.headers;
    const ifRange = request.headers['if-range'] as string | undefined;
    asked.push({ url: request.url!, range, ifRange, authorization });
    if (answer?.(request, response)) return;
    const isPartial = range !== undefined && (ifRange === undefined || ifRange === etag);
    const from = isPartial ? Number(/\d+/.exec(range)![0]) : 0;
    if (from >= content.length) {
      response.writeHead(416).end();
      return;
    }
    response.writeHead(isPartial ? 206 : 200, {
      'content-length': content.length - from,
      ...(isPartial ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}),
      ...(etag === undefined ? {} : { etag }),
    });
    const cut = cuts.shift();
    if (cut === undefined) response.end(content.subarray(from));
    else {
      response.write(content.subarray(from, from + cut));
      void until(() => (statSync(part, { throwIfNoEntry: false })?.size ?? 0) > from, 10_000).then(() => response.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/file.whl`, asked };
}

t.test('what was cut off goes on where it was', async (t) => {
  const file = path.join(folder, 'cut', 'file.whl');
  const { url, asked } = await serving(t, { cuts: [100_000, 50_000], part: `${file}.part` });
  await download(url, file, sha256, quiet);
  t.ok(readFileSync(file).equals(content));
  t.equal(existsSync(`${file}.part`), false);
  t.equal(asked.length, 3);
  t.equal(asked[0]!.range, undefined);
  for (const { range } of asked.slice(1)) t.match(range, /^bytes=[1-9]\d*-$/);
  await download(url, file, sha256, quiet);
  t.equal(asked.length, 3, 'a whole file with the right check sum is not asked for again');
});

t.test('a part that an earlier run left is continued, a whole one too', async (t) => {
  const { url, asked } = await serving(t, {});
  for (const [name, bytes] of [
    ['some', 1000],
    ['whole', content.length],
  ] as const) {
    const file = path.join(folder, name);
    writeFileSync(`${file}.part`, content.subarray(0, bytes));
    await download(url, file, sha256, quiet);
    t.ok(readFileSync(file).equals(content), name);
  }
  t.same(
    asked.map(({ range }) => range),
    ['bytes=1000-', `bytes=${content.length}-`],
  );
});

t.test('without a check sum, only what the server says is the same file is continued', async (t) => {
  const { url, asked } = await serving(t, { etag: '"new"' });
  const file = path.join(folder, 'tagged');
  writeFileSync(`${file}.part`, 'of another file');
  await download(url, file, undefined, quiet);
  t.equal(asked[0]!.range, undefined, 'no tag: from the start');
  writeFileSync(`${file}.part`, 'of another file');
  writeFileSync(`${file}.part.etag`, '"old"');
  await download(url, file, undefined, quiet);
  t.match(asked[1], { range: 'bytes=15-', ifRange: '"old"' });
  t.ok(readFileSync(file).equals(content), 'the server sent the whole file');
});

t.test('a wrong check sum is said, and the file removed', async (t) => {
  const { url } = await serving(t, {});
  const file = path.join(folder, 'wrong');
  await t.rejects(download(url, file, '0'.repeat(64), quiet), /wrong from http.* has the check sum .*, but must have 0{64}/);
  t.equal(existsSync(file) || existsSync(`${file}.part`), false);
});

t.test('what the server refuses is asked for once and said without the password', async (t) => {
  const { url, asked } = await serving(t, { answer: (_, response) => Boolean(response.writeHead(404).end()) });
  const secret = url.replace('//', '//me:secret@');
  for (const trial of [download(secret, path.join(folder, 'none'), sha256, quiet), readPage(secret, 'text/html')]) {
    const error = await trial.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    t.ok(error instanceof LaunchError);
    t.match((error as Error).message, /the server answered 404; .*--index-url.*--from FILE/);
    t.notMatch((error as Error).message, /secret/);
  }
  t.equal(asked.length, 2);
  t.equal(asked[0]!.authorization, `Basic ${Buffer.from('me:secret').toString('base64')}`);
});

t.test('redirects are followed; credentials stay with their host', async (t) => {
  const { url: target, asked } = await serving(t, {});
  const { url } = await serving(t, { answer: (_, response) => Boolean(response.writeHead(302, { location: target }).end()) });
  const page = await readPage(url.replace('//', '//me:secret@'), 'text/html');
  t.equal(page.url, target);
  t.equal(asked[0]!.authorization, undefined);
  const { url: round } = await serving(t, { answer: (_, response) => Boolean(response.writeHead(302, { location: '/again' }).end()) });
  await t.rejects(readPage(round, 'text/html'), /more than 5 redirects/);
});

t.test('the command line: help, a wrong word, a folder without a project', async (t) => {
  const help = new Job(['install-tfjs-node', '--help']);
  t.equal(await help.status(), 0);
  t.match(help.out, /tsrun install-tfjs-node \[--gpu\]/);
  const wrong = new Job(['install-tfjs-node', '--cpu']);
  t.equal(await wrong.status(), 2);
  t.match(wrong.err, /'--cpu' is no option of it/);
  const nowhere = new Job(['install-tfjs-node'], { cwd: folder });
  t.equal(await nowhere.status(), 2);
  t.match(nowhere.err, /is no folder of an npm project: it has no package\.json.*npm init -y/);
});
