/**
 * A stranger: makes hostile connections to ports of a job, and says in one line of JSON what came of them. Runs on a host of the test bed.
 *
 * Arguments: as JSON {targets: [{host, port}], jobId, keyFile, tls, short, long, atOnce}. The key only serves to record handshakes that some rank could have made, as a spy on the wire would: what is
 * sent afterwards is made without it.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { acceptTls, connectTls } from '../../src/transport/tls';
import { type Channel, channels, DialerHandshake, type Identity, LAUNCHER_RANK, REPLY_BYTES } from '../../src/wire/handshake';

interface Target {
  host: string;
  port: number;
}
interface Orders {
  targets: Target[];
  jobId: string;
  keyFile: string;
  tls: boolean;
  short: number;
  long: number;
  atOnce: number;
}
interface Transcript {
  hello: Uint8Array;
  proof: Uint8Array;
}

const HELD_MS = 150;
/** Nobody who is refused is kept waiting longer, however busy the machine is: a listener gives a handshake 5 s. */
const REFUSED_MS = 20_000;
const MEGABYTE = 1 << 20;
const orders = JSON.parse(process.argv[2]!) as Orders;
const seen = { connections: 0, replies: 0, replays: 0, accepted: 0 };

interface Manners {
  /** What is sent after the listener's answer to a hello; undefined: the connection is closed. */
  onReply?: (reply: Buffer) => Uint8Array | undefined;
  heldMs?: number;
}

/** One connection; resolves when it is closed, by whom. */
function connect({ host, port }: Target, bytes: Uint8Array, { onReply, heldMs = HELD_MS }: Manners = {}): Promise<'them' | 'us'> {
  return new Promise((resolve, reject) => {
    let reply: Buffer | undefined = Buffer.alloc(0);
    let by: 'them' | 'us' = 'them';
    const socket = net.connect({ host, port }, () => {
      seen.connections += 1;
      if (bytes.length > 0) socket.write(bytes);
      const timer = setTimeout(() => {
        by = 'us';
        socket.destroy();
      }, heldMs);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(by);
      });
    });
    // Once it is connected, the 'close' that follows is what counts.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') reject(error);
    });
    socket.on('data', (chunk: Buffer) => {
      if (!reply) return;
      reply = Buffer.concat([reply, chunk]);
      if (reply.length < REPLY_BYTES) return;
      seen.replies += 1;
      const next = onReply?.(reply);
      reply = undefined;
      if (next) socket.write(next);
      else if (onReply) socket.destroy();
    });
  });
}

/** With TLS: what a dialer sends first, and what it sends after the answer. Of a handshake with itself; any listener of the job would have answered the hello. */
async function recordTls(): Promise<Transcript> {
  const identity: Identity = { jobId: orders.jobId, key: readFileSync(orders.keyFile), generation: 0, rank: 0, tls: true };
  const sent: Buffer[] = [];
  const server = net.createServer((near) => {
    const { port } = inner.address() as net.AddressInfo;
    const far = net.connect(port, '127.0.0.1');
    near.on('error', () => {}).on('close', () => far.destroy());
    far.on('error', () => {}).on('close', () => near.destroy());
    near.on('data', (data) => {
      sent.push(data as Buffer);
      far.write(data);
    });
    far.on('data', (data) => near.write(data));
  });
  const inner = net.createServer((socket) => acceptTls(identity, socket, (secured) => secured.resume()));
  for (const one of [inner, server]) await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
  const dialer = connectTls(identity, { host: '127.0.0.1', port: (server.address() as net.AddressInfo).port });
  await new Promise((resolve) => dialer.once('secureConnect', () => dialer.write('hello', resolve)));
  while (sent.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  dialer.destroy();
  for (const one of [inner, server]) one.close();
  return { hello: sent[0]!, proof: Buffer.concat(sent.slice(1)) };
}

/** Handshakes that this listener answers. */
async function recordPlain(target: Target): Promise<Transcript[]> {
  const key = readFileSync(orders.keyFile);
  const found: Transcript[] = [];
  const ranks = [0, 1, 2];
  for (const [channel, from, to] of channels.flatMap((channel) =>
    ranks.flatMap((from) => [...ranks, LAUNCHER_RANK].map((to) => [channel, from, to] as [Channel, number, number])),
  )) {
    const handshake = new DialerHandshake({ jobId: orders.jobId, key, generation: 0, rank: from }, to, channel);
    const hello = Buffer.from(handshake.begin());
    await connect(target, hello, {
      onReply: (reply) => {
        found.push({ hello, proof: Buffer.from(handshake.prove(reply)) });
        return undefined;
      },
      heldMs: REFUSED_MS,
    });
  }
  return found;
}

async function replay(target: Target, { hello, proof }: Transcript): Promise<void> {
  let isAnswered = false;
  const end = await connect(target, hello, {
    onReply: () => {
      isAnswered = true;
      return proof;
    },
    heldMs: REFUSED_MS,
  });
  if (isAnswered) seen.replays += 1;
  if (isAnswered && end === 'us') seen.accepted += 1;
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)]!;
const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
/** TLS's own: a record as long as one may be, which never ends; a hello that says it is longer than all that is taken; one of a dialer without --tls. */
const record = Buffer.from([23, 3, 3, 0x40, 0x00, 1]);
const longHello = Buffer.from([22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3]);
const plainHello = Buffer.from('KHVD\x01\x01\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0', 'latin1');
const request = Buffer.from('GET / HTTP/1.1\r\nHost: job\r\n\r\n');

async function short(target: Target, transcripts: readonly Transcript[]): Promise<unknown> {
  const { hello, proof } = pick(transcripts);
  const garbage = randomBytes(1 + Math.floor(Math.random() * 2000));
  return pick([
    () => connect(target, new Uint8Array(0), { heldMs: 0 }),
    () => connect(target, garbage),
    () => connect(target, hello.subarray(0, Math.floor(Math.random() * hello.length))),
    () => connect(target, hello, { onReply: () => randomBytes(proof.length) }),
    () => connect(target, hello, { onReply: (reply) => reply }),
    () => connect(target, Buffer.concat([hello, proof])),
    () => connect(target, huge),
    () => connect(target, request),
    () => connect(target, pick([record, longHello, plainHello])),
    () => connect(target, hello, { onReply: () => Buffer.concat([record, Buffer.alloc(16_000)]) }),
    () => replay(target, pick(transcripts)),
  ])();
}

async function long(target: Target, transcripts: readonly Transcript[]): Promise<unknown> {
  const bulk = Buffer.alloc(MEGABYTE, pick(['\0', '\xff', 'khorovod']), 'latin1');
  const { hello, proof } = pick(transcripts);
  return pick([
    () => connect(target, bulk),
    () => connect(target, Buffer.concat([huge, bulk])),
    () => connect(target, Buffer.concat([hello, bulk])),
    () => connect(target, hello, { onReply: () => Buffer.concat([proof, bulk]) }),
    () => connect(target, Buffer.concat([pick([record, longHello]), bulk])),
    () => connect(target, hello, { onReply: () => Buffer.concat([record, bulk]) }),
  ])();
}

async function main(): Promise<void> {
  for (const target of orders.targets) {
    const transcripts = orders.tls ? [await recordTls()] : await recordPlain(target);
    if (transcripts.length === 0) throw new Error(`${target.host}:${target.port} answers no handshake`);
    const acts = [...Array.from({ length: orders.short }, () => short), ...Array.from({ length: orders.long }, () => long)];
    const work = async () => {
      for (let act = acts.pop(); act; act = acts.pop()) await act(target, transcripts);
    };
    await Promise.all(Array.from({ length: orders.atOnce }, work));
  }
  console.log(JSON.stringify(seen));
}

void main();
