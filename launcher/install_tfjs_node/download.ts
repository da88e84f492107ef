/**
 * Downloads that go on where they were cut off: tsrun's process.
 *
 * A file is `NAME.part` until it is whole and its check sum is right. Proxies as the environment says (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), which Node's own fetch does not heed
 * in all versions that are supported; undici can, and is kept by the makers of Node. Invariants: silence has a deadline; credentials of an address reach that host alone, and no message.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Agent, type Dispatcher, ProxyAgent, request } from 'undici';
import { environment } from '../../src/config';
import { LaunchError } from '../errors';
import { pause } from '../process';
import type { Progress } from './progress';
import { proxyFor } from './proxy';

const SILENCE_MS = 60_000;
const TRIES = 4;
const RETRY_MS = 1000;
const MAX_REDIRECTS = 5;
/** A page of an index has some hundred KB. */
const LONGEST_PAGE = 64 << 20;

const limits = { connect: { timeout: SILENCE_MS }, headersTimeout: SILENCE_MS, bodyTimeout: SILENCE_MS };
const agents = new Map<string | undefined, Dispatcher>();

/** One for each proxy. */
function agentFor(url: string): Dispatcher {
  const proxy = proxyFor(url, environment());
  const found = agents.get(proxy) ?? (proxy === undefined ? new Agent(limits) : new ProxyAgent({ uri: proxy, ...limits }));
  agents.set(proxy, found);
  return found;
}

/** An address without user and password, for messages. */
export function shownUrl(url: string): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

interface Answer {
  readonly url: string;
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Dispatcher.ResponseData['body'];
}

/** Follows redirects. @throws the network's error */
async function get(from: string, headers: Record<string, string>): Promise<Answer> {
  let url = new URL(from);
  for (let i = 0; ; i += 1) {
    const { username, password } = url;
    const authorization = username
      ? { authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}` }
      : {};
    const {
      statusCode,
      headers: found,
      body,
    } = await request(shownUrl(url.href), { dispatcher: agentFor(url.href), headers: { ...headers, ...authorization } });
    const { location } = found;
    if (statusCode < 300 || statusCode >= 400 || typeof location !== 'string') {
      const texts = Object.entries(found).map(([name, value]) => [name, [value].flat().join(', ')]);
      return { url: url.href, status: statusCode, headers: Object.fromEntries(texts), body };
    }
    await body.dump();
    if (i === MAX_REDIRECTS) throw new Error(`more than ${MAX_REDIRECTS} redirects`);
    const next = new URL(location, url);
    if (next.origin === url.origin) [next.username, next.password] = [username, password];
    url = next;
  }
}

/** @throws LaunchError it cannot be had */
export async function readPage(url: string, accept: string): Promise<{ text: string; contentType: string; url: string }> {
  try {
    const answer = await get(url, { accept });
    if (answer.status !== 200) {
      await answer.body.dump();
      throw new Error(`the server answered ${answer.status}`);
    }
    const parts: Buffer[] = [];
    let bytes = 0;
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      parts.push(part);
      if ((bytes += part.length) > LONGEST_PAGE) throw new Error(`it is longer than ${LONGEST_PAGE >> 20} MiB`);
    }
    return { text: Buffer.concat(parts).toString('utf8'), contentType: answer.headers['content-type'] ?? '', url: answer.url };
  } catch (error) {
    throw unreachable(url, error);
  }
}

function unreachable(url: string, error: unknown): LaunchError {
  const { code, message } = error as NodeJS.ErrnoException;
  const isUntrusted = /CERT|SELF_SIGNED|UNABLE_TO/.test(code ?? '');
  const mend = isUntrusted
    ? 'name the file with your certificate authority in NODE_EXTRA_CA_CERTS'
    : 'behind a firewall set HTTPS_PROXY, or name a mirror (--index-url URL) or a local file (--from FILE)';
  return new LaunchError(`${shownUrl(url)} could not be read: ${message || code}; ${mend}`, 3);
}

export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/**
 * @param file where it comes to lie; one that is there already, with the right check sum, is taken as it is
 * @param sha256 undefined: the source gives none; then nothing is checked, and a part is only continued where the server says that it is of the same file
 * @throws LaunchError it cannot be had, or is not what the check sum says
 */
export async function download(url: string, file: string, sha256: string | undefined, progress: Progress): Promise<void> {
  const part = `${file}.part`;
  const name = path.basename(file);
  mkdirSync(path.dirname(file), { recursive: true });
  if (sizeOf(file) > 0 && sha256 !== undefined && (await sha256OfFile(file)) === sha256) return;
  for (let i = 1; ; i += 1) {
    const before = sizeOf(part);
    try {
      await continuePart(url, part, sha256, progress, name);
      break;
    } catch (error) {
      if (error instanceof LaunchError) throw error;
      // What moves on may be cut off as often as it likes.
      if (sizeOf(part) > before) i = 0;
      if (i >= TRIES) throw unreachable(url, error);
      await pause(RETRY_MS);
    } finally {
      progress.end();
    }
  }
  const found = sha256 === undefined ? undefined : await sha256OfFile(part);
  if (found !== sha256) {
    rmSync(part);
    throw new LaunchError(
      `${name} from ${shownUrl(url)} has the check sum ${found}, but must have ${sha256}: it is removed; try again, or another source`,
      3,
    );
  }
  renameSync(part, file);
  rmSync(`${part}.etag`, { force: true });
}

async function continuePart(url: string, part: string, sha256: string | undefined, progress: Progress, name: string): Promise<void> {
  const tagFile = `${part}.etag`;
  const tag = sizeOf(tagFile) > 0 ? readFileSync(tagFile, 'utf8') : undefined;
  const from = sha256 === undefined && tag === undefined ? 0 : sizeOf(part);
  const condition = sha256 === undefined && tag !== undefined ? { 'if-range': tag } : undefined;
  const { status, headers, body } = await get(url, from > 0 ? { range: `bytes=${from}-`, ...condition } : {});
  if (status === 416 && from > 0) return body.dump(); // it was whole already
  if (status !== 200 && status !== 206) {
    await body.dump();
    const isOver = status >= 400 && status < 500 && status !== 408 && status !== 429;
    const error = new Error(`the server answered ${status}`);
    throw isOver ? unreachable(url, error) : error;
  }
  const isContinued = status === 206 && Number(/^bytes (\d+)-/.exec(headers['content-range'] ?? '')?.[1]) === from;
  if (status === 206 && !isContinued) throw new Error(`asked for bytes from ${from}, the server sent '${headers['content-range']}'`);
  const strongTag = /^"/.test(headers.etag ?? '') ? headers.etag : undefined;
  if (strongTag !== undefined) writeFileSync(tagFile, strongTag);
  else rmSync(tagFile, { force: true });
  let have = isContinued ? from : 0;
  const total = have + Number(headers['content-length'] ?? Number.NaN);
  body.on('data', (piece: Buffer) => progress.show(name, (have += piece.length), total));
  await pipeline(body, createWriteStream(part, { flags: isContinued ? 'a' : 'w' }));
  if (have < total) throw new Error(`the connection ended at ${have} of ${total} bytes`);
}
