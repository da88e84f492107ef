/**
 * The transport between processes: one-way data links over TCP (on one host over Unix sockets or shared memory), made when first needed. Communication thread.
 *
 * A socket reads straight into given memory (`onread`) only where it dialled, so the RECEIVER dials the SENDER, and a link carries messages one way. in_link.ts and
 * out_link.ts are its two ends; this file keeps them by rank.
 *
 * Invariants: after `abort` or `close` every pending and later call fails with that first cause, and no memory handed in is touched any more. A lost link fails the calls
 * that need it only after GRACE_MS, and first asks `onLinkLost`, who may abort with a better cause; a link that nobody needs any more may close unnoticed, as those of
 * ranks that have left do.
 */
import { BugError, type HvdError, ShutdownError } from '../errors';
import type { Identity } from '../wire/handshake';
import type { Lane } from './control';
import { InLink } from './in_link';
import type { Listener } from './listener';
import { OutLink } from './out_link';
import type { Peer } from './peer';
import { SharedInLink } from './shared_memory/in_link';
import type { LocalMemory } from './shared_memory/local_memory';
import { SharedOutLink } from './shared_memory/out_link';
import { MOST_RANKS } from './shared_memory/windows';
import { addressText } from './socket';
import { StreamsInLink, StreamsOutLink } from './streams';
import type { Heaps, Loan, Transport } from './transport';

export interface TcpOptions {
  identity: Identity;
  size: number;
  /** Indexed by rank. */
  peers: readonly Peer[];
  listener: Listener;
  /** For a link, from the first call that needs it. */
  connectTimeoutMs: number;
  /** Called once, unless `abort` or `close` comes first; the transport then aborts with that error. */
  onLinkLost: (peer: number, error: HvdError) => void;
  /** Which of a rank's links these are. Default: data. */
  channel?: 'data' | 'push' | 'pull';
  /** Those who share memory with this rank, and think so too; why not after all is told once. */
  neighbours?: { readonly ranks: ReadonlySet<number>; readonly memory: LocalMemory; onRefused(rank: number, why: string): void };
  /** A lost link fails the calls with that peer only; `onLinkLost` is called once a peer, and nothing is aborted. */
  survivesLoss?: boolean;
}

/** The control plane knows better why a link ended, and is about to say so. */
const GRACE_MS = 300;

export class TcpTransport implements Transport {
  /** Payload handed to `send` so far. */
  bytesSent = 0;
  readonly rank: number;
  readonly size: number;
  private cause?: HvdError;
  private readonly inLinks: Array<InLink | StreamsInLink | SharedInLink | undefined> = [];
  private readonly outLinks: Array<OutLink | StreamsOutLink | SharedOutLink | undefined> = [];
  private grace?: NodeJS.Timeout;
  readonly heaps?: Heaps;
  /** By peer: why nothing is sent to it or received from it any more. */
  private readonly dropped: Array<HvdError | undefined> = [];
  private isClosing = false;

  constructor(private readonly options: TcpOptions) {
    this.rank = options.identity.rank;
    this.size = options.size;
    options.listener.onLink(options.channel ?? 'data', (from, socket, stream) => {
      const link = this.cause || this.dropped[from] ? undefined : (this.outLinks[from] ?? this.makeOutLink(from));
      if (link) link.attach(socket, stream);
      else socket.destroy();
    });
    if (options.neighbours)
      options.listener.onLink('shm', (from, socket) => {
        const link = this.cause || this.dropped[from] ? undefined : (this.outLinks[from] ?? this.makeOutLink(from));
        if (link instanceof SharedOutLink) link.attachShared(socket);
        else socket.destroy();
      });
    if (options.neighbours && options.neighbours.ranks.size < MOST_RANKS) this.heaps = this.heapsOf(options.neighbours);
  }

  send(to: number, tag: number, bytes: Uint8Array): Promise<void> {
    const cause = this.cause ?? this.dropped[to];
    if (cause) return Promise.reject(cause);
    const link = this.outLinks[to] ?? this.makeOutLink(to);
    if (!link) return Promise.reject(this.noLinkError(to));
    this.bytesSent += bytes.length;
    return link.send(tag, bytes);
  }

  recv(from: number, tag: number, into: Uint8Array): Promise<void> {
    const cause = this.cause ?? this.dropped[from];
    if (cause) return Promise.reject(cause);
    const link = this.inLinks[from] ?? this.makeInLink(from);
    if (!link) return Promise.reject(this.noLinkError(from));
    return new Promise((resolve, reject) => link.receive({ tag, into, resolve: () => resolve(), reject }));
  }

  recvOrBorrow(from: number, tag: number, into: Uint8Array): Promise<Loan | undefined> {
    const cause = this.cause ?? this.dropped[from];
    if (cause) return Promise.reject(cause);
    const link = this.inLinks[from] ?? this.makeInLink(from);
    if (!link) return Promise.reject(this.noLinkError(from));
    return new Promise((resolve, reject) => link.receive({ tag, into, takesLoan: true, resolve, reject }));
  }

  /**
   * Messages to and from that peer besides, heard without being asked for, through shared memory. To be called on both sides, before anything else is sent or received.
   * @returns undefined: this rank and that one share none, or are among so many that links are kept for data
   */
  lane(peer: number, hear: (bytes: Uint8Array) => void): Lane | undefined {
    if (!this.heaps?.ranks.has(peer)) return undefined;
    const [incoming, outgoing] = [this.inLinks[peer] ?? this.makeInLink(peer), this.outLinks[peer] ?? this.makeOutLink(peer)];
    if (!(incoming instanceof SharedInLink && outgoing instanceof SharedOutLink)) return undefined;
    incoming.hearAside(hear);
    return {
      get isOpen() {
        return outgoing.isShared;
      },
      send: (bytes) => outgoing.sendAside(bytes),
      drain: () => void (incoming.isListening && incoming.poll()),
      flush: (timeoutMs) => outgoing.flush(timeoutMs),
    };
  }

  abort(cause: HvdError): void {
    if (this.cause) return;
    this.cause = cause;
    clearTimeout(this.grace);
    for (const link of [...this.inLinks, ...this.outLinks]) link?.destroy(cause);
  }

  /** That peer is gone: what is pending with it fails with that, and what is asked for later. */
  drop(peer: number, cause: HvdError): void {
    this.dropped[peer] ??= cause;
    for (const link of [this.inLinks[peer], this.outLinks[peer]]) link?.destroy(cause);
  }

  /** Hands what was sent to the kernel, which delivers it even if this process ends then; takes at most `timeoutMs`. Receives that are still pending fail. */
  async close(timeoutMs: number): Promise<void> {
    this.isClosing = true;
    clearTimeout(this.grace);
    if (!this.cause) await Promise.all(this.outLinks.map((link) => link?.end(timeoutMs)));
    this.abort(new ShutdownError(`Rank ${this.rank} has left the job.`));
  }

  private heapsOf({ ranks, memory }: NonNullable<TcpOptions['neighbours']>): Heaps {
    return {
      ranks,
      placeOf: (bytes) => memory.onHeap(bytes),
      offsetOf: (rank) => memory.heapOf(rank),
      countsOf: (rank) => memory.boardOf(rank === this.rank ? undefined : rank),
      inside: (entering, work) => {
        if (this.cause) throw this.cause;
        const entered: SharedInLink[] = [];
        try {
          for (const rank of entering) {
            const link = this.inLinks[rank] as SharedInLink;
            if (!link.enter()) return rank;
            entered.push(link);
          }
          work();
          return undefined;
        } finally {
          for (const link of entered) link.leave();
        }
      },
    };
  }

  /** undefined: there is no such peer. */
  private makeInLink(from: number): InLink | StreamsInLink | SharedInLink | undefined {
    const { peers, neighbours } = this.options;
    const peer = from === this.rank ? undefined : peers[from];
    if (!peer) return undefined;
    const onLost = (error: HvdError): void => this.lose(from, error);
    const makePlain = (): InLink => new InLink(peer, this.options, onLost);
    const streams = this.streamsOf(peer, peer.streams);
    const makeSeveral = () =>
      new StreamsInLink(Array.from({ length: streams }, (_, stream) => new InLink(peer, this.options, onLost, stream)));
    const link = neighbours?.ranks.has(from)
      ? new SharedInLink(peer, this.options, neighbours.memory, makePlain, onLost)
      : streams > 1
        ? makeSeveral()
        : makePlain();
    this.inLinks[from] = link;
    return link;
  }
  private makeOutLink(to: number): OutLink | StreamsOutLink | SharedOutLink | undefined {
    const { listener, peers, connectTimeoutMs, neighbours } = this.options;
    const own = { rank: this.rank, where: addressText(listener.host, listener.port), connectTimeoutMs };
    const peer = to === this.rank ? undefined : peers[to];
    if (!peer) return undefined;
    const onLost = (error: HvdError): void => this.lose(to, error);
    const makePlain = (): OutLink => new OutLink(peer, own, onLost);
    const streams = this.streamsOf(peer, peers[this.rank]!.streams);
    const link = neighbours?.ranks.has(to)
      ? new SharedOutLink(peer, makePlain(), neighbours.memory, onLost, (why) => neighbours.onRefused(to, why))
      : streams > 1
        ? new StreamsOutLink(Array.from({ length: streams }, makePlain))
        : makePlain();
    this.outLinks[to] = link;
    return link;
  }
  /** Of a link with that peer on which its sender would have so many: the same on both ends. */
  private streamsOf({ near }: Peer, senders = 1): number {
    return near ? 1 : senders;
  }
  private noLinkError(peer: number): BugError {
    return new BugError(`Rank ${this.rank} of ${this.size} has no data link with rank ${peer}. Please report it.`);
  }

  private lose(peer: number, error: HvdError): void {
    if (this.cause || this.isClosing || this.dropped[peer]) return;
    if (this.options.survivesLoss) {
      this.drop(peer, error);
      this.options.onLinkLost(peer, error);
      return;
    }
    this.grace ??= setTimeout(() => {
      this.options.onLinkLost(peer, error);
      this.abort(error);
    }, GRACE_MS);
  }
}
