/**
 * A data link as its sender has it: accepted from the receiver, written to, never read from. Communication thread.
 *
 * Sends made before the receiver has dialled wait for it, in order. Invariants: messages leave in the order of the calls; a small message is copied at once into one
 * write, a large one is written from where it lies and resolves when the kernel has it; a link that has ended is not replaced, as nobody knows what arrived of it;
 * what cannot be sent is reported and stays pending until `destroy`.
 */
import type { Socket } from 'node:net';
import { type HvdError, PeerError, WireError } from '../errors';
import { HEADER_BYTES, SMALL_BYTES, writeHeader } from './data_message';
import { goneError, nameOf, type Peer } from './peer';
import { capitalized, endWithin } from './socket';

export interface Pending {
  readonly tag: number;
  readonly bytes: Uint8Array;
  resolve(): void;
  reject(cause: HvdError): void;
}

const SENT = Promise.resolve();

export class OutLink {
  private socket?: Socket;
  /** Until the receiver has dialled. */
  private readonly waiting: Pending[] = [];
  private readonly underWay = new Set<Pending>();
  private timer?: NodeJS.Timeout;
  private lost?: HvdError;
  private onAttached?: () => void;

  constructor(
    private readonly peer: Peer,
    private readonly own: { rank: number; where: string; connectTimeoutMs: number },
    private readonly onLost: (error: HvdError) => void,
  ) {}

  /** @param socket paused, after the handshake @param stream the first only: this link has no other */
  attach(socket: Socket, stream = 0): void {
    if (this.socket || this.lost || stream > 0) return void socket.destroy();
    clearTimeout(this.timer);
    this.socket = socket;
    let cause: Error | undefined;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('data', () => socket.destroy(new WireError('it sent bytes where it only receives')));
    socket.on('close', () => {
      this.lost ??= goneError(this.peer, `The data link to ${nameOf(this.peer)} is gone`, cause);
      if (this.underWay.size > 0) this.onLost(this.lost);
    });
    socket.resume();
    for (const send of this.waiting.splice(0)) this.write(socket, send.tag, send.bytes).then(send.resolve, send.reject);
    this.onAttached?.();
  }

  send(tag: number, bytes: Uint8Array): Promise<void> {
    if (this.socket) return this.write(this.socket, tag, bytes);
    const { connectTimeoutMs } = this.own;
    this.timer ??= setTimeout(() => this.onLost(this.lateError(tag)), connectTimeoutMs);
    return new Promise((resolve, reject) => {
      this.waiting.push({ tag, bytes, resolve, reject });
    });
  }

  /** What was sent before the receiver has dialled goes another way. */
  takeWaiting(): Pending[] {
    clearTimeout(this.timer);
    return this.waiting.splice(0);
  }

  /** Resolves when all that was sent is in the kernel's hands, or cannot get there any more, or after `timeoutMs`. */
  async end(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    if (this.waiting.length > 0 && !this.lost) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.onAttached = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (this.socket) await endWithin(this.socket, Math.max(1, deadlineMs - performance.now()));
  }

  /** What is pending fails with that. */
  destroy(cause: HvdError): void {
    clearTimeout(this.timer);
    this.lost ??= cause;
    this.socket?.destroy();
    for (const { reject } of [...this.waiting.splice(0), ...this.underWay]) reject(cause);
    this.underWay.clear();
    this.onAttached?.();
  }

  private write(socket: Socket, tag: number, bytes: Uint8Array): Promise<void> {
    const isSmall = bytes.length <= SMALL_BYTES;
    const head = Buffer.allocUnsafe(HEADER_BYTES + (isSmall ? bytes.length : 0));
    writeHeader(head, tag, bytes.length);
    if (isSmall) {
      head.set(bytes, HEADER_BYTES);
      // With something still on its way to the kernel it waits its turn like a large one: a sender may not run ahead of its receiver without bound.
      if (socket.writable && socket.writableLength === 0) {
        socket.write(head);
        return SENT;
      }
    }
    return new Promise((resolve, reject) => {
      const send: Pending = { tag, bytes, resolve, reject };
      this.underWay.add(send);
      if (!socket.writable) {
        // If it has not closed yet, its 'close' reports.
        if (this.lost) this.onLost(this.lost);
        return;
      }
      const done = (error?: Error | null): void => {
        // Node reports a write that was cut off by the end of its socket as done, without an error.
        if (!error && !socket.destroyed && this.underWay.delete(send)) resolve();
      };
      if (isSmall) return void socket.write(head, done);
      // Header and bytes in one system call.
      socket.cork();
      socket.write(head);
      socket.write(bytes, done);
      socket.uncork();
    });
  }

  private lateError(tag: number): PeerError {
    const { rank, host } = this.peer;
    return new PeerError(
      `${capitalized(nameOf(this.peer))} did not connect to rank ${this.own.rank} at ${this.own.where} within ${this.own.connectTimeoutMs / 1000} s ` +
        `to receive operation ${tag}. Look for a firewall between the hosts (--port-range names the ports), or raise --start-timeout.`,
      { peer: rank, host },
    );
  }
}
