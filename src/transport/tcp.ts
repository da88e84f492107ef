/**
 * The transport between processes: one-way data links over TCP, read in place.
 *
 * Communication thread. A socket reads straight into given memory (`onread`) only where it dialled, so the RECEIVER dials the SENDER, and a link carries messages one way. Links
 * are made when first needed. A message is a header (magic, tag, length) and its bytes. At a message boundary with a large receive posted the kernel is given the header's room and
 * then exactly the bytes missing; small messages, and what nobody has asked for yet, go through a 64 KiB stash. When the stash holds data that nobody asks for,
 * reading stops: the sender feels it.
 */
import net from 'node:net';
import { type HvdError, PeerError, WireError } from '../errors';
import { DialerHandshake, type Identity, REPLY_BYTES } from '../wire/handshake';
import type { Listener } from './listener';
import type { Transport } from './transport';

export interface Peer {
  rank: number;
  host: string;
  address: string;
  port: number;
}
const HEADER_BYTES = 16;
const MAGIC = 0x4b485644;
const STASH_BYTES = 64 << 10;
/** Up to here a message is copied together with its header, and received through the stash. */
const SMALL_BYTES = 16 << 10;
const GRACE_MS = 300;

interface Receive {
  tag: number;
  into: Uint8Array;
  resolve: () => void;
  reject: (error: Error) => void;
}
interface Options {
  identity: Identity;
  size: number;
  peers: readonly Peer[];
  listener: Listener;
  connectTimeoutMs: number;
  onLinkLost: (peer: number, error: HvdError) => void;
}

class InLink {
  private readonly queue: Receive[] = [];
  private readonly reply = Buffer.alloc(REPLY_BYTES);
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private readonly stash = Buffer.allocUnsafeSlow(3 * STASH_BYTES);
  /** What the stash holds. */
  private from = 0;
  private until = 0;
  /** Whose room the socket was given last: it is chosen when the read before it is over, not when bytes arrive. */
  private given: 'reply' | 'stash' | 'header' | 'payload' = 'reply';
  private replyBytes = 0;
  private headerBytes = 0;
  /** The first of the queue has had its header, and so many bytes. */
  private isInMessage = false;
  private progress = 0;
  private isPaused = false;
  private isEnded = false;
  private readonly socket: net.Socket;
  private readonly timer: NodeJS.Timeout;
  private readonly handshake: DialerHandshake;

  constructor(
    private readonly peer: Peer,
    { identity, connectTimeoutMs }: Options,
    private readonly onLost: (error: HvdError) => void,
  ) {
    this.handshake = new DialerHandshake(identity, peer.rank, 'data');
    const onread = { buffer: () => this.room(), callback: (bytes: number) => this.took(bytes) };
    this.socket = net.connect({ host: peer.address, port: peer.port, onread });
    this.timer = setTimeout(() => this.lose(new Error(`no link within ${connectTimeoutMs / 1000} s`)), connectTimeoutMs);
    this.socket.setNoDelay(true);
    this.socket.on('error', (error) => this.lose(error));
    this.socket.on('close', () => this.lose(new Error('the connection closed')));
    this.socket.write(this.handshake.begin());
  }

  receive(receive: Receive): void {
    this.queue.push(receive);
    this.drain();
    if (this.isEnded && this.queue.includes(receive)) this.onLost(this.lostError(new Error('the connection had closed')));
    if (this.isPaused && this.until - this.from < STASH_BYTES) {
      this.isPaused = false;
      this.socket.resume();
    }
  }
  destroy(cause: HvdError): void {
    clearTimeout(this.timer);
    this.isEnded = true;
    this.socket.destroy();
    for (const { reject } of this.queue.splice(0)) reject(cause);
  }

  /** Where the kernel writes next. Never empty: a paused socket uses it when it goes on. */
  private room(): Uint8Array {
    if (this.replyBytes < REPLY_BYTES) return this.reply.subarray(this.replyBytes);
    const first = this.queue[0];
    if (this.from === this.until) {
      this.from = this.until = 0;
      if (first && this.isInMessage) {
        this.given = 'payload';
        return first.into.subarray(this.progress);
      }
      if (first && first.into.length > SMALL_BYTES) {
        this.given = 'header';
        return this.header.subarray(this.headerBytes);
      }
    }
    this.given = 'stash';
    if (this.until > STASH_BYTES) {
      this.stash.copyWithin(0, this.from, this.until);
      this.until -= this.from;
      this.from = 0;
    }
    return this.stash.subarray(this.until, this.until + STASH_BYTES);
  }

  private took(bytes: number): boolean {
    switch (this.given) {
      case 'reply':
        this.replyBytes += bytes;
        return this.replyBytes < REPLY_BYTES || this.prove();
      case 'header':
        this.headerBytes += bytes;
        if (this.headerBytes < HEADER_BYTES) return true;
        this.headerBytes = 0;
        return this.begin(this.header);
      case 'payload':
        this.progress += bytes;
        if (this.progress === this.queue[0]!.into.length) this.complete();
        return true;
      case 'stash':
        this.until += bytes;
        this.drain();
        this.isPaused = this.until - this.from >= STASH_BYTES;
        return !this.isPaused && !this.isEnded;
    }
  }

  private prove(): boolean {
    clearTimeout(this.timer);
    try {
      this.socket.write(this.handshake.prove(this.reply));
      return true;
    } catch (error) {
      this.lose(error as Error);
      return false;
    }
  }

  /** Moves what the stash holds to whom it belongs. */
  private drain(): void {
    for (let first = this.queue[0]; first; first = this.queue[0]) {
      if (!this.isInMessage) {
        if (this.until - this.from < HEADER_BYTES || this.headerBytes > 0) return;
        if (!this.begin(this.stash.subarray(this.from, this.from + HEADER_BYTES))) return;
        this.from += HEADER_BYTES;
      }
      const bytes = Math.min(this.until - this.from, first.into.length - this.progress);
      first.into.set(this.stash.subarray(this.from, this.from + bytes), this.progress);
      this.from += bytes;
      this.progress += bytes;
      if (this.progress < first.into.length) return;
      this.complete();
    }
  }

  private complete(): void {
    this.isInMessage = false;
    this.queue.shift()!.resolve();
  }

  /** A message whose header has come. */
  private begin(header: Buffer): boolean {
    const { tag, into } = this.queue[0]!;
    if (header.readUInt32LE(0) === MAGIC && header.readUInt32LE(4) === tag && header.readUInt32LE(8) === into.length) {
      this.isInMessage = true;
      this.progress = 0;
      return true;
    }
    const { rank, host } = this.peer;
    const [sentTag, sentBytes] = [header.readUInt32LE(4), header.readUInt32LE(8)];
    this.isEnded = true;
    this.socket.destroy();
    this.onLost(
      new WireError(
        `Rank ${rank} on host ${host} sent operation ${sentTag} with ${sentBytes} bytes where operation ${tag} with ${into.length} bytes was due. Please report it.`,
        { peer: rank, host },
      ),
    );
    return false;
  }

  private lostError(cause: Error): PeerError {
    return new PeerError(
      `The data link from rank ${this.peer.rank} on host ${this.peer.host} is gone: ${cause.message}. See that rank's own output.`,
      { peer: this.peer.rank, host: this.peer.host },
    );
  }
  private lose(cause: Error): void {
    clearTimeout(this.timer);
    if (this.isEnded) return;
    this.isEnded = true;
    this.socket.destroy();
    if (this.queue.length > 0) this.onLost(this.lostError(cause));
  }
}

export class TcpTransport implements Transport {
  bytesSent = 0;
  readonly rank: number;
  readonly size: number;
  private cause?: HvdError;
  private readonly inLinks = new Map<number, InLink>();
  private readonly outLinks = new Map<number, net.Socket>();
  private readonly awaited = new Map<number, Array<() => void>>();
  private readonly rejects = new Set<(error: Error) => void>();

  constructor(private readonly options: Options) {
    this.rank = options.identity.rank;
    this.size = options.size;
    options.listener.onLink('data', (from, socket) => {
      socket.on('error', () => {});
      socket.on('close', () => {
        if (this.outLinks.get(from) === socket) this.outLinks.delete(from);
      });
      socket.resume();
      this.outLinks.set(from, socket);
      for (const go of this.awaited.get(from) ?? []) go();
      this.awaited.delete(from);
    });
  }

  async send(to: number, tag: number, bytes: Uint8Array): Promise<void> {
    if (this.cause) throw this.cause;
    this.bytesSent += bytes.length;
    const socket = this.outLinks.get(to);
    if (socket) return this.write(socket, tag, bytes);
    await new Promise<void>((resolve, reject) => {
      this.rejects.add(reject);
      this.awaited.set(to, [...(this.awaited.get(to) ?? []), resolve]);
    });
    return this.write(this.outLinks.get(to)!, tag, bytes);
  }

  private write(socket: net.Socket, tag: number, bytes: Uint8Array): Promise<void> {
    const isSmall = bytes.length <= SMALL_BYTES;
    const head = Buffer.allocUnsafe(HEADER_BYTES + (isSmall ? bytes.length : 0));
    head.writeUInt32LE(MAGIC, 0);
    head.writeUInt32LE(tag, 4);
    head.writeUInt32LE(bytes.length, 8);
    head.writeUInt32LE(0, 12);
    if (isSmall) {
      head.set(bytes, HEADER_BYTES);
      socket.write(head);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.rejects.add(reject);
      socket.cork();
      socket.write(head);
      socket.write(bytes, (error) => {
        this.rejects.delete(reject);
        if (!error) resolve();
      });
      socket.uncork();
    });
  }

  recv(from: number, tag: number, into: Uint8Array): Promise<void> {
    if (this.cause) return Promise.reject(this.cause);
    return new Promise((resolve, reject) => {
      let link = this.inLinks.get(from);
      if (!link) {
        link = new InLink(this.options.peers[from]!, this.options, (error) => this.lose(from, error));
        this.inLinks.set(from, link);
      }
      link.receive({ tag, into, resolve, reject });
    });
  }

  abort(cause: HvdError): void {
    if (this.cause) return;
    this.cause = cause;
    for (const link of this.inLinks.values()) link.destroy(cause);
    for (const socket of this.outLinks.values()) socket.destroy();
    for (const reject of this.rejects) reject(cause);
    this.rejects.clear();
  }

  /** The control plane knows better why a link ended, and is about to say so. */
  private lose(peer: number, error: HvdError): void {
    setTimeout(() => {
      if (!this.cause) this.options.onLinkLost(peer, error);
    }, GRACE_MS);
  }

  async close(timeoutMs: number): Promise<void> {
    await Promise.all(
      [...this.outLinks.values()].map(
        (socket) =>
          new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, timeoutMs);
            socket.end(() => {
              clearTimeout(timer);
              resolve();
            });
          }),
      ),
    );
    for (const link of this.inLinks.values()) link.destroy(new PeerError('closed'));
    for (const socket of this.outLinks.values()) socket.destroy();
  }
}
