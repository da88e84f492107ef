/**
 * A link through shared memory as its sender has it. Communication thread.
 *
 * The receiver dials (channel 'shm'); this side makes a ring and offers it; the receiver maps it and says what it sees. Then messages go through the ring, and the socket carries bells only and tells when
 * the other process is gone. Where the receiver sees nothing, it dials channel 'data', and all goes by that socket, as it would have without an offer (out_link.ts of this folder's parent).
 *
 * Invariants: messages leave in the order of the calls, but that those which the receiver gets without asking (asides) go before those which it asks for; one that is staged resolves when it is copied, one that lies on the heap when the receiver has consumed it; before memory on the heap may be used
 * otherwise after a failure, the heap is withdrawn, and the receiver is not inside it any more.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { HvdError } from '../../errors';
import { log } from '../../log';
import { SMALL_BYTES } from '../data_message';
import type { OutLink, Pending } from '../out_link';
import { goneError, nameOf, type Peer } from '../peer';
import { endWithin } from '../socket';
import type { LocalMemory, Place } from './local_memory';
import { ANSWERS, BELL, writeOffer } from './offer';
import type { Waiting } from './poller';
import { MOST_ASIDE_PIECE_BYTES, MOST_PIECE_BYTES, RingWriter, TOKEN_BYTES } from './ring';

/** On its way into the ring: so many of its bytes are there. */
interface Leaving extends Pending {
  progress: number;
}

export class SharedOutLink implements Waiting {
  private socket?: Socket;
  private place?: Place;
  private ring?: RingWriter;
  private seesHeap = false;
  private readonly queue: Leaving[] = [];
  private readonly asides: Leaving[] = [];
  /** On the heap, not consumed yet, in order. */
  private readonly lying: Array<{ readonly send: Pending; readonly count: number }> = [];
  private lost?: HvdError;
  private readonly whenDrained: Array<() => void> = [];

  /** @param plain holds what is sent before the receiver has dialled, and has the link if it is not to be this one */
  constructor(
    private readonly peer: Peer,
    private readonly plain: OutLink,
    private readonly local: LocalMemory,
    private readonly onLost: (error: HvdError) => void,
    private readonly onRefused: (why: string) => void,
  ) {}

  attach(socket: Socket, stream: number): void {
    this.plain.attach(socket, stream);
  }

  /** @param socket of channel 'shm', paused */
  attachShared(socket: Socket): void {
    if (this.socket || this.lost) return void socket.destroy();
    this.socket = socket;
    let offered: RingWriter | undefined;
    let fd: number | undefined;
    const closeFile = (): void => {
      if (fd !== undefined) this.local.closeRing(fd);
      fd = undefined;
    };
    let cause: Error | undefined;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => {
      closeFile();
      if (this.ring) this.gone(cause);
    });
    socket.on('data', (bytes: Buffer) => {
      if (this.ring) return this.local.poller.wake();
      closeFile();
      if (bytes[0] === ANSWERS.none) {
        this.onRefused('the receiver cannot map it');
        return void socket.end();
      }
      this.seesHeap = bytes[0] === ANSWERS.heap;
      this.ring = offered;
      this.local.poller.add(this);
      for (const send of this.plain.takeWaiting()) this.enqueue(this.queue, send);
    });
    try {
      const made = this.local.makeRing();
      ({ fd } = made);
      this.place = made;
      const token = randomBytes(TOKEN_BYTES);
      offered = new RingWriter(made.words, token);
      socket.write(writeOffer({ pid: process.pid, ringFd: made.fd, token, heap: this.local.heap }));
      socket.resume();
    } catch (error) {
      this.onRefused((error as Error).message);
      // Without an offer the receiver dials the other channel.
      socket.end();
    }
  }

  send(tag: number, bytes: Uint8Array): Promise<void> {
    if (!this.ring) return this.plain.send(tag, bytes);
    return new Promise((resolve, reject) => this.enqueue(this.queue, { tag, bytes, resolve, reject }));
  }

  /** A message that the receiver gets without asking for it, in the order of such messages; it does not wait for others to be asked for. `bytes` stay as they are. @returns false: there is no way through shared memory */
  sendAside(bytes: Uint8Array): boolean {
    if (!this.ring || this.lost) return false;
    this.enqueue(this.asides, { tag: 0, bytes, resolve: () => {}, reject: () => {} });
    return true;
  }
  get isShared(): boolean {
    return this.ring !== undefined && !this.lost;
  }

  /** Resolves when all that was sent is in the ring, or cannot get there any more, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    if (!this.isWaiting) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.whenDrained.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** As `flush`; then the link ends. */
  async end(timeoutMs: number): Promise<void> {
    if (!this.ring) {
      await this.plain.end(timeoutMs);
      this.socket?.destroy();
      return;
    }
    const deadlineMs = performance.now() + timeoutMs;
    await this.flush(timeoutMs);
    if (this.socket) await endWithin(this.socket, Math.max(1, deadlineMs - performance.now()));
  }

  destroy(cause: HvdError): void {
    this.plain.destroy(cause);
    this.lost ??= cause;
    this.local.poller.remove(this);
    if (this.ring && this.seesHeap) this.takeHeapBack(this.ring);
    this.socket?.destroy();
    this.asides.length = 0;
    for (const { reject } of this.queue.splice(0)) reject(cause);
    for (const { send } of this.lying.splice(0)) send.reject(cause);
    this.drained();
  }

  // ───── Waiting ─────

  get isWaiting(): boolean {
    return !this.lost && (this.asides.length > 0 || this.queue.length > 0 || this.lying.length > 0);
  }

  readonly isListening = false;

  poll(): boolean {
    const ring = this.ring!;
    let isNews = false;
    for (let first = this.lying[0]; first && ring.isConsumed(first.count); first = this.lying[0]) {
      this.lying.shift();
      first.send.resolve();
      isNews = true;
    }
    const hasAside = this.writeAll(this.asides);
    // An aside that there is no room for yet must not find it taken again and again.
    const hasMessage = this.asides.length === 0 && this.writeAll(this.queue);
    isNews ||= hasAside || hasMessage;
    if (isNews && ring.takeReaderSleep(hasAside)) this.socket!.write(BELL);
    if (!this.isWaiting) this.drained();
    return isNews;
  }

  arm(): boolean {
    return this.ring!.sleep();
  }

  // ───── inside ─────

  private drained(): void {
    for (const done of this.whenDrained.splice(0)) done();
  }

  private enqueue(queue: Leaving[], { tag, bytes, resolve, reject }: Pending): void {
    queue.push({ tag, bytes, resolve, reject, progress: 0 });
    if (this.lost) {
      this.onLost(this.lost);
      return;
    }
    // What came before waits already, and is looked at.
    if (queue.length === 1) this.poll();
    if (this.isWaiting) this.local.poller.wake();
  }

  /** Until there is no room. @returns whether anything got into the ring */
  private writeAll(queue: Leaving[]): boolean {
    let isNews = false;
    for (let first = queue[0]; first && this.write(first, queue === this.asides); first = queue[0]) {
      isNews = true;
      if (first.progress === first.bytes.length) queue.shift();
    }
    return isNews;
  }

  /** The next piece of a message. @returns whether it got into the ring */
  private write(send: Leaving, isAside: boolean): boolean {
    const { tag, bytes } = send;
    const ring = this.ring!;
    const at = this.seesHeap && !isAside && bytes.length > SMALL_BYTES && send.progress === 0 ? this.local.onHeap(bytes) : undefined;
    if (at !== undefined) {
      if (!ring.hasSlot) return false;
      const count = ring.publish({ tag, messageBytes: bytes.length, place: 'heap', at, bytes: bytes.length });
      this.lying.push({ send, count });
      send.progress = bytes.length;
      return true;
    }
    const pieceBytes = Math.min(isAside ? MOST_ASIDE_PIECE_BYTES : MOST_PIECE_BYTES, bytes.length - send.progress);
    const room = ring.room(pieceBytes, isAside);
    if (room === undefined) return false;
    if (pieceBytes > 0) this.local.copyIn(this.place!.byteOffset + room, bytes.subarray(send.progress, send.progress + pieceBytes));
    ring.publish({ tag, messageBytes: bytes.length, place: isAside ? 'aside' : 'ring', at: room, bytes: pieceBytes });
    send.progress += pieceBytes;
    if (send.progress === bytes.length) send.resolve();
    return true;
  }

  /** From now on its arrays are the program's own. */
  private takeHeapBack(ring: RingWriter): void {
    ring.withdraw();
    if (this.local.awaitLeft(ring)) return;
    const text = `${nameOf(this.peer)} was stopped while it wrote into this rank's memory, and may go on: arrays of hvd.allocate may change. Start this rank anew.`;
    log('ERROR', text);
  }

  private gone(cause: Error | undefined): void {
    this.lost ??= goneError(this.peer, `The shared memory to ${nameOf(this.peer)} is of no use any more`, cause);
    this.drained();
    if (this.asides.length > 0 || this.queue.length > 0 || this.lying.length > 0) this.onLost(this.lost);
  }
}
