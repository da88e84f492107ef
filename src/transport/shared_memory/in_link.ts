/**
 * A link through shared memory as its receiver has it: dialled by this rank (channel 'shm'). Communication thread.
 *
 * Takes the sender's offer (offer.ts), or dials channel 'data' instead and hands everything to that link. Invariants: receives are served in order; a piece counts as consumed when its bytes have been
 * copied, or when whoever was lent them gives them back; what is sent without being asked for is heard in order, and does not wait for what is not asked for yet; what has been read from a heap that was withdrawn meanwhile is not passed on; a link whose sender has gone still delivers what the ring holds.
 */
import type net from 'node:net';
import { type HvdError, PeerError } from '../../errors';
import { log } from '../../log';
import type { Identity } from '../../wire/handshake';
import { type InLink, mismatchError, type Receive } from '../in_link';
import { dialPeer, goneError, nameOf, type Peer } from '../peer';
import { Asides } from './asides';
import type { LocalMemory, Place } from './local_memory';
import { ANSWERS, BELL, OFFER_BYTES, readOffer } from './offer';
import type { Waiting } from './poller';
import { type Piece, RingReader } from './ring';

/** A piece, and the number under which the ring has it. */
interface Taken {
  readonly piece: Piece;
  readonly number: number;
}

export class SharedInLink implements Waiting {
  private readonly queue: Receive[] = [];
  /** What has come before it was asked for, in order; it stays where it lies. */
  private readonly early: Taken[] = [];
  /** Bytes of the first of the queue that have come. */
  private progress = 0;
  private readonly asides = new Asides();
  private place?: Place;
  private ring?: RingReader;
  private socket?: net.Socket;
  private plain?: InLink;
  private lost?: HvdError;
  private readonly dialling = new AbortController();

  /** @param makePlain the link of channel 'data' */
  constructor(
    private readonly peer: Peer,
    { identity, connectTimeoutMs }: { identity: Identity; connectTimeoutMs: number },
    private readonly local: LocalMemory,
    private readonly makePlain: () => InLink,
    private readonly onLost: (error: HvdError) => void,
  ) {
    dialPeer(peer, {
      identity,
      channel: 'shm',
      timeoutMs: connectTimeoutMs,
      signal: this.dialling.signal,
    }).then(
      (socket) => this.open(socket),
      (error: HvdError) => this.lose(error),
    );
  }

  receive(receive: Receive): void {
    if (this.plain) {
      this.plain.receive(receive);
      return;
    }
    this.queue.push(receive);
    if (this.ring && this.queue.length === 1) this.poll();
    if (this.queue.length === 0) return;
    if (this.lost) this.onLost(this.lost);
    else if (this.ring) this.local.poller.wake();
  }

  /** From now on; before the first of them comes. */
  hearAside(hear: (bytes: Uint8Array) => void): void {
    this.asides.hear = hear;
    if (this.ring) this.local.poller.wake();
  }

  /** What is pending fails with that; no byte is written to anybody's memory afterwards. */
  destroy(cause: HvdError): void {
    this.lost ??= cause;
    this.dialling.abort(cause);
    this.local.poller.remove(this);
    this.plain?.destroy(cause);
    this.socket?.destroy();
    for (const { reject } of this.queue.splice(0)) reject(cause);
  }

  /** This rank goes inside the sender's heap, to read and write there, until `leave`. @returns false: it has given up, and so has this link */
  enter(): boolean {
    if (this.lost || !this.ring) return false;
    if (this.ring.enter(process.pid)) return true;
    this.lose(this.gaveUpError());
    return false;
  }
  leave(): void {
    this.ring!.leave();
  }

  // ───── Waiting ─────

  get isWaiting(): boolean {
    return this.ring !== undefined && !this.lost && this.queue.length > 0;
  }
  get isListening(): boolean {
    return this.ring !== undefined && !this.lost && this.asides.hear !== undefined;
  }

  poll(): boolean {
    const ring = this.ring!;
    let isNews = this.look(ring);
    while (this.serve(ring)) {
      isNews = true;
      this.look(ring);
    }
    if (isNews) this.chime();
    this.asides.passOn();
    return isNews;
  }

  arm(): boolean {
    const ring = this.ring!;
    const isNothingForListeners = !this.isListening || ring.sleepListening();
    return (!this.isWaiting || ring.sleep()) && isNothingForListeners;
  }

  // ───── inside ─────

  /** Takes in what is heard without being asked for, wherever it lies; the rest waits its turn. @returns whether there was some */
  private look(ring: RingReader): boolean {
    let isNews = false;
    for (let piece = ring.peek(); piece; piece = ring.peek()) {
      const taken: Taken = { piece, number: ring.take() };
      if (piece.place === 'aside') {
        this.asides.take(piece, (into) => this.local.copyOut(into, this.place!.byteOffset + piece.at));
        ring.done(taken.number);
        isNews = true;
      } else this.early.push(taken);
    }
    return isNews;
  }

  /** The next piece goes to whoever asks for it. @returns false: there is none, or nobody does */
  private serve(ring: RingReader): boolean {
    const [next, first] = [this.early[0], this.queue[0]];
    if (!next || !first || !this.take(ring, next, first)) return false;
    this.early.shift();
    return true;
  }

  /** @returns whether it is taken */
  private take(ring: RingReader, { piece, number }: Taken, first: Receive): boolean {
    if (piece.tag !== first.tag || piece.messageBytes !== first.into.length || this.progress + piece.bytes > piece.messageBytes) {
      this.lose(mismatchError(this.peer, { tag: piece.tag, bytes: piece.messageBytes }, first));
      return false;
    }
    const from = (piece.place === 'heap' ? this.local.heapOf(this.peer.rank)! : this.place!.byteOffset) + piece.at;
    if (first.takesLoan && piece.bytes === piece.messageBytes) {
      this.queue.shift();
      first.resolve({ byteOffset: from, release: () => this.giveBack(ring, number, piece) });
      return true;
    }
    if (piece.bytes > 0) this.local.copyOut(first.into.subarray(this.progress, this.progress + piece.bytes), from);
    if (!this.isSound(ring, piece)) return false;
    ring.done(number);
    this.progress += piece.bytes;
    if (this.progress < piece.messageBytes) return true;
    this.progress = 0;
    this.queue.shift();
    first.resolve();
    return true;
  }

  private giveBack(ring: RingReader, number: number, piece: Piece): void {
    if (!this.isSound(ring, piece)) throw this.lost!;
    ring.done(number);
    this.chime();
  }

  /** What was read is what was sent. */
  private isSound(ring: RingReader, { place }: Piece): boolean {
    if (place === 'heap' && ring.isWithdrawn) {
      this.lose(this.gaveUpError());
      return false;
    }
    return true;
  }
  private gaveUpError(): PeerError {
    const { rank, host } = this.peer;
    return new PeerError(`${nameOf(this.peer)} gave up in the middle of an operation. See its own output.`, { peer: rank, host });
  }

  private chime(): void {
    if (this.ring!.takeWriterSleep() && !this.socket!.destroyed) this.socket!.write(BELL);
  }

  private open(socket: net.Socket): void {
    if (this.lost) return void socket.destroy();
    this.socket = socket;
    let offer = Buffer.alloc(0);
    let cause: Error | undefined;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => {
      if (this.plain) return;
      // An end before an offer: the sender has nothing to share.
      if (!this.ring && !this.lost && cause === undefined) return this.fallBack();
      if (this.ring && !this.lost) this.poll();
      this.lose(goneError(this.peer, `The shared memory of ${nameOf(this.peer)} is of no use any more`, cause));
    });
    socket.on('data', (bytes: Buffer) => {
      if (this.ring) return this.local.poller.wake();
      offer = Buffer.concat([offer, bytes]);
      if (offer.length >= OFFER_BYTES) this.accept(socket, offer.subarray(0, OFFER_BYTES));
    });
    socket.resume();
  }

  private accept(socket: net.Socket, bytes: Buffer): void {
    try {
      const offer = readOffer(bytes);
      if (!offer) throw new Error('no offer');
      const place = this.local.openRing(offer.pid, offer.ringFd);
      const ring = new RingReader(place.words);
      if (!ring.proves(offer.token)) throw new Error('another memory');
      const seesHeap = offer.heap !== undefined && this.local.openHeap(this.peer.rank, offer.pid, offer.heap);
      this.place = place;
      this.ring = ring;
      this.local.poller.add(this);
      log('DEBUG', `What ${nameOf(this.peer)} sends comes through shared memory.`);
      socket.write(Buffer.from([seesHeap ? ANSWERS.heap : ANSWERS.ring]));
      if (this.isWaiting || this.isListening) this.local.poller.wake();
    } catch {
      socket.end(Buffer.from([ANSWERS.none]));
      this.fallBack();
    }
  }

  private fallBack(): void {
    if (this.plain || this.lost) return;
    this.plain = this.makePlain();
    for (const receive of this.queue.splice(0)) this.plain.receive(receive);
  }

  private lose(error: HvdError): void {
    if (this.lost) return;
    this.lost = error;
    this.socket?.destroy();
    if (this.queue.length > 0) this.onLost(error);
  }
}
