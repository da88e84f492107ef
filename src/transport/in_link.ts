/**
 * A data link as its receiver has it: dialled by this rank, read straight into the memory of whoever waits. Communication thread.
 *
 * At a message boundary with a large receive posted, the kernel is given the header's room and then exactly the bytes missing; small messages, and what nobody has asked
 * for yet, go through a stash. Where the bytes of a read go is chosen when the read before it is over, so a large message whose receive was posted later begins in
 * the stash and goes on in place. When the stash holds STASH_BYTES that nobody asks for, reading stops (the sender feels it) until a receive has emptied it.
 *
 * Invariants: of the bytes that have come, those before the stash's are delivered and those in it are next; the room that the socket holds begins at `until` of the
 * stash, or is the rest of the header or of the first receive, and nobody else writes there. A link that has closed still delivers what it has stashed; what it cannot
 * deliver is reported, as often as it is asked for, and stays pending until `destroy`.
 */
import type net from 'node:net';
import { type HvdError, WireError } from '../errors';
import type { Channel, Identity } from '../wire/handshake';
import { HEADER_BYTES, type Header, readHeader, SMALL_BYTES } from './data_message';
import { dialPeer, goneError, nameOf, type Peer } from './peer';
import { capitalized } from './socket';
import type { Loan } from './transport';

export interface Receive {
  readonly tag: number;
  readonly into: Uint8Array;
  /** `resolve` may be given a loan instead. */
  readonly takesLoan?: boolean;
  resolve(loan?: Loan): void;
  reject(cause: HvdError): void;
}

const STASH_BYTES = 64 << 10;

/** @param header of what came; undefined: it has none */
export function mismatchError(peer: Peer, header: Header | undefined, { tag, into }: Receive): WireError {
  const sent = header ? `operation ${header.tag} with ${header.bytes} bytes` : 'bytes that are no message';
  return new WireError(
    `${capitalized(nameOf(peer))} sent ${sent} where operation ${tag} with ${into.length} bytes was due. Please report it.`,
    { peer: peer.rank, host: peer.host },
  );
}

export class InLink {
  private readonly queue: Receive[] = [];
  private readonly header = Buffer.alloc(HEADER_BYTES);
  /** Room for what may be held when reading stops (just under 2 × STASH_BYTES) and for one read more. */
  private readonly stash = Buffer.allocUnsafeSlow(3 * STASH_BYTES);
  /** What the stash holds. */
  private from = 0;
  private until = 0;
  /** Whose room the socket has now. */
  private given: 'stash' | 'header' | 'payload' = 'stash';
  private headerBytes = 0;
  /** The first of the queue has had its header, and so many bytes. */
  private isInMessage = false;
  private progress = 0;
  private isPaused = false;
  private lost?: HvdError;
  private socket?: net.Socket;
  private readonly dialling = new AbortController();

  constructor(
    private readonly peer: Peer,
    { identity, connectTimeoutMs, channel = 'data' }: { identity: Identity; connectTimeoutMs: number; channel?: Channel },
    private readonly onLost: (error: HvdError) => void,
    stream?: number,
  ) {
    dialPeer(peer, {
      identity,
      channel,
      stream,
      timeoutMs: connectTimeoutMs,
      onread: { room: () => this.room(), took: (bytes) => this.took(bytes) },
      signal: this.dialling.signal,
    }).then(
      (socket) => this.open(socket),
      (error: HvdError) => this.lose(error),
    );
  }

  receive(receive: Receive): void {
    this.queue.push(receive);
    this.drain();
    if (this.lost && this.queue.length > 0) this.onLost(this.lost);
    if (this.isPaused && this.until - this.from < STASH_BYTES) {
      this.isPaused = false;
      this.socket?.resume();
    }
  }

  /** What is pending fails with that; no byte is written to anybody's memory afterwards. */
  destroy(cause: HvdError): void {
    this.lost ??= cause;
    this.dialling.abort(cause);
    this.socket?.destroy();
    for (const { reject } of this.queue.splice(0)) reject(cause);
  }

  private open(socket: net.Socket): void {
    if (this.lost) return void socket.destroy();
    this.socket = socket;
    let cause: Error | undefined;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => {
      this.lose(goneError(this.peer, `The data link from ${nameOf(this.peer)} is gone`, cause));
    });
    // A receive may have wanted that while there was no socket yet.
    if (!this.isPaused) socket.resume();
  }

  /** Where the kernel writes next. Never empty: a socket that is paused uses it when it goes on. */
  private room(): Uint8Array {
    if (this.from === this.until) {
      this.from = this.until = 0;
      const first = this.queue[0];
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

  /** @returns whether to go on reading */
  private took(bytes: number): boolean {
    switch (this.given) {
      case 'header':
        this.headerBytes += bytes;
        if (this.headerBytes < HEADER_BYTES) return true;
        this.headerBytes = 0;
        return this.begin(this.header, 0);
      case 'payload':
        this.progress += bytes;
        if (this.progress === this.queue[0]!.into.length) this.complete();
        return true;
      case 'stash':
        this.until += bytes;
        this.drain();
        this.isPaused = this.until - this.from >= STASH_BYTES;
        return !this.isPaused && !this.lost;
    }
  }

  /** Moves what the stash holds to whom it belongs. */
  private drain(): void {
    for (let first = this.queue[0]; first; first = this.queue[0]) {
      if (!this.isInMessage) {
        if (this.until - this.from < HEADER_BYTES || !this.begin(this.stash, this.from)) return;
        this.from += HEADER_BYTES;
      }
      const bytes = Math.min(this.until - this.from, first.into.length - this.progress);
      if (bytes > 0) first.into.set(this.stash.subarray(this.from, this.from + bytes), this.progress);
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

  /** The first of the queue gets the message with that header. @returns whether it is the right one */
  private begin(from: Buffer, at: number): boolean {
    const header = readHeader(from, at);
    const { tag, into } = this.queue[0]!;
    if (header?.tag === tag && header.bytes === into.length) {
      this.isInMessage = true;
      this.progress = 0;
      return true;
    }
    // Nothing that follows can be told apart any more.
    this.from = this.until;
    this.lose(mismatchError(this.peer, header, this.queue[0]!));
    return false;
  }

  private lose(error: HvdError): void {
    if (this.lost) return;
    this.lost = error;
    this.socket?.destroy();
    if (this.queue.length > 0) this.onLost(error);
  }
}
