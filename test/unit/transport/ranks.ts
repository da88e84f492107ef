/** Ranks of one job within this process, over loopback or Unix sockets; and the bare sockets with which tests play a peer or a stranger. */
import net from 'node:net';
import { HvdError } from '../../../src/errors';
import { dial } from '../../../src/transport/dial';
import { Listener } from '../../../src/transport/listener';
import type { Peer } from '../../../src/transport/peer';
import { TcpTransport } from '../../../src/transport/tcp';
import { namespaceOf, whyNoUnixSockets } from '../../../src/transport/unix';
import type { Channel, Identity } from '../../../src/wire/handshake';

export const HOST = '127.0.0.1';
export const identityOf = (rank: number, other: Partial<Identity> = {}): Identity => ({
  jobId: 'job',
  key: Buffer.alloc(32, 5),
  generation: 1,
  rank,
  ...other,
});
export const peersOf = (listeners: readonly Listener[]): Peer[] =>
  listeners.map(({ port }, rank) => ({ rank, host: `host${rank}`, address: HOST, port }));
export type Via = 'TCP' | 'Unix sockets';
/** What this system has. */
export const ways: readonly Via[] = whyNoUnixSockets(false, namespaceOf('net')) === undefined ? ['TCP', 'Unix sockets'] : ['TCP'];
/** By the Unix socket or not at all: that TCP is used after all fails the test. */
export const nearPeersOf = (listeners: readonly Listener[]): Promise<Peer[]> =>
  Promise.all(
    peersOf(listeners).map(async (peer, rank) => {
      const onRefused = (why: string): void => {
        throw new Error(why);
      };
      return { ...peer, near: { unixName: await listeners[rank]!.listenUnix(), onRefused } };
    }),
  );

export interface Lost {
  rank: number;
  peer: number;
  error: HvdError;
}
export interface Ranks {
  readonly listeners: Listener[];
  readonly transports: TcpTransport[];
  /** What onLinkLost was called with, on any rank. */
  readonly lost: Lost[];
  end(): void;
}

/** `transportsOf`: the ranks that get a transport; the others have a listener only, for the test to play them. */
export async function openRanks(
  size: number,
  {
    transportsOf = [...Array(size).keys()],
    connectTimeoutMs = 10_000,
    via = 'TCP',
    streams = 1,
  }: { transportsOf?: number[]; connectTimeoutMs?: number; via?: Via; streams?: number } = {},
): Promise<Ranks> {
  const listeners = await Promise.all(
    Array.from({ length: size }, (_, rank) => Listener.open({ identity: identityOf(rank), size, host: HOST })),
  );
  const peers = (via === 'TCP' ? peersOf(listeners) : await nearPeersOf(listeners)).map((peer) => ({ ...peer, streams }));
  const lost: Lost[] = [];
  const transports = transportsOf.map(
    (rank) =>
      new TcpTransport({
        identity: identityOf(rank),
        size,
        peers,
        listener: listeners[rank]!,
        connectTimeoutMs,
        onLinkLost: (peer, error) => void lost.push({ rank, peer, error }),
      }),
  );
  const end = (): void => {
    for (const transport of transports) transport.abort(new HvdError('the test is over'));
    for (const listener of listeners) listener.close();
  };
  return { listeners, transports, lost, end };
}

/** Rank 0 as it is, receiving from a rank 1 that the test plays: a socket to write anything to. */
export async function openPlayedSender(via?: Via): Promise<Ranks & { receiver: TcpTransport; socket: Promise<net.Socket> }> {
  const ranks = await openRanks(2, { transportsOf: [0], via });
  const socket = new Promise<net.Socket>((resolve) => {
    ranks.listeners[1]!.onLink('data', (_from, link) => {
      link.on('error', () => {});
      link.resume();
      resolve(link);
    });
  });
  return { ...ranks, receiver: ranks.transports[0]!, socket };
}

export const dialAs = (
  rank: number,
  to: number,
  port: number,
  channel: Channel = 'data',
  other: Partial<Identity> = {},
  stream = 0,
): Promise<net.Socket> => dial({ identity: identityOf(rank, other), to, host: HOST, port, channel, stream, timeoutMs: 60_000 });

export async function connectAsStranger(port: number): Promise<net.Socket> {
  const socket = net.connect({ host: HOST, port });
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return socket;
}

export const closed = (socket: net.Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed) return resolve();
    socket.resume();
    socket.once('close', () => resolve());
  });

/** One turn of the event loop: what has been written is read. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export async function until(holds: () => boolean, what: string, timeoutMs = 60_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await turn();
  }
}

/** Writes a piece at a time, each read before the next is written. */
export async function dribble(socket: net.Socket, bytes: Uint8Array, lengths: Iterable<number>): Promise<void> {
  let at = 0;
  for (const length of lengths) {
    if (at >= bytes.length) return;
    socket.write(bytes.subarray(at, at + length));
    at += length;
    await turn();
    await turn();
  }
  if (at < bytes.length) socket.write(bytes.subarray(at));
}
