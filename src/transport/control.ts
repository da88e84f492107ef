/**
 * A control link: protobuf messages both ways between one rank and the coordinator. Communication thread; made by the session, owned by the control plane.
 *
 * It begins to read in the next turn of the loop: set `onMessage` and `onClose` in this one. Invariants: messages arrive in the order sent; a frame longer than
 * MAX_FRAME_BYTES, or one that is no message, closes the link with a WireError; two ranks that share memory go over to a lane there, once on each side, and the order stays; `onClose` is called once, and after it (or after `destroy`) no message; sending
 * on a closed link does nothing, for its closing has been reported or was wanted. There is no back-pressure: what is negotiated is small, and a peer that does not
 * read falls silent too and is given up for that.
 */
import type { Socket } from 'node:net';
import { BugError, WireError } from '../errors';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';
import { endWithin } from './socket';

/** Requests for more than 100,000 tensors at once. */
export const MAX_FRAME_BYTES = 16 << 20;

/** Another way to the same peer, faster than the socket, both ways and each in order. */
export interface Lane {
  /** Something may be sent. */
  readonly isOpen: boolean;
  /** @returns false: it is not open any more, and this was not sent */
  send(bytes: Uint8Array): boolean;
  /** What has come is heard now. */
  drain(): void;
  /** Resolves when the peer can hear all that was sent, or will not any more, or after `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>;
}

export class ControlLink {
  onMessage: (message: khorovod.IControl) => void = () => {};
  /** `error`: what went wrong, if it is known; the peer's own doing otherwise. */
  onClose: (error: Error | undefined) => void = () => {};
  lastHeardMs = performance.now();
  private readonly parser = new FrameParser(MAX_FRAME_BYTES);
  private cause?: Error;
  /** Nothing is heard any more. */
  private isOver = false;
  private lane?: Lane;
  /** Of this side: what is said goes by the lane. */
  private usesLane = false;
  /** What has come by the lane before all that the peer had said by the socket; undefined: the peer has said that all the rest comes by it. */
  private early?: khorovod.Control[] = [];

  /** @param socket paused, after the handshake */
  constructor(
    readonly peer: number,
    private readonly socket: Socket,
  ) {
    socket.on('error', (error) => {
      this.cause ??= error;
    });
    socket.on('close', () => {
      this.lane?.drain();
      this.isOver = true;
      this.onClose(this.cause);
    });
    // Nothing comes after the peer's end, and nobody reads there any more.
    socket.on('end', () => socket.destroy());
    socket.on('data', (chunk) => this.take(chunk as Buffer));
    setImmediate(() => socket.resume());
  }

  /** @throws BugError the message is longer than the peer accepts */
  send(message: khorovod.IControl): void {
    if (!this.socket.writable) return;
    const payload = khorovod.Control.encode(message).finish();
    if (payload.length > MAX_FRAME_BYTES) {
      throw new BugError(
        `A control message of ${payload.length} bytes for rank ${this.peer} is longer than ${MAX_FRAME_BYTES}. Please report it.`,
      );
    }
    // Who has failed gives up its lane at once, with what it has no room for yet.
    const staysWithSocket = message.heartbeat || message.failure || message.goodbye?.failed;
    if (!staysWithSocket && this.lane?.isOpen) {
      if (!this.usesLane) this.socket.write(encodeFrame(khorovod.Control.encode({ lane: {} }).finish()));
      this.usesLane = true;
      if (this.lane.send(payload)) return;
    }
    this.socket.write(encodeFrame(payload));
  }

  /** From now on messages go by it when it is open; heartbeats go by the socket, whose end still tells of the peer's, and so does the news of a failure. @param open given what hears the lane */
  useLane(open: (hear: (bytes: Uint8Array) => void) => Lane | undefined): void {
    this.lane = open((bytes) => this.hear(khorovod.Control.decode(bytes)));
  }

  /** Ends the link. Resolves when all that was sent is in the kernel's hands, or nobody is there to get it, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    // The end of the socket is the end of all: what the lane has no room for yet comes before it.
    await this.lane?.flush(timeoutMs);
    await endWithin(this.socket, Math.max(1, deadlineMs - performance.now()));
  }

  destroy(): void {
    this.isOver = true;
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.lastHeardMs = performance.now();
    // The peer's lane may have come to its end: what it said there came first.
    if (!this.early) this.lane?.drain();
    // What a handler throws is not the peer's doing and passes through.
    for (const message of this.decode(chunk)) {
      if (this.socket.destroyed) return;
      if (message.lane) this.join();
      else this.onMessage(message);
    }
  }

  private hear(message: khorovod.Control): void {
    if (this.isOver) return;
    if (this.early) this.early.push(message);
    else this.onMessage(message);
  }

  /** All that the peer said by the socket has been heard. */
  private join(): void {
    const { early = [] } = this;
    // Hearing one may have the lane looked at: what comes by that is the last of these.
    for (let next = early.shift(); next && !this.isOver; next = early.shift()) this.onMessage(next);
    this.early = undefined;
    // What follows by the socket was said later.
    this.lane?.drain();
  }

  private decode(chunk: Buffer): khorovod.Control[] {
    try {
      return this.parser.push(chunk).map((frame) => khorovod.Control.decode(frame));
    } catch (error) {
      this.cause ??= new WireError(`Rank ${this.peer} sent what is no control message: ${(error as Error).message}`, {
        peer: this.peer,
        cause: error,
      });
      this.socket.destroy();
      return [];
    }
  }
}
