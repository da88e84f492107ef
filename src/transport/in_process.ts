/**
 * A transport whose ranks live in one process: for tests, for simulation and for a job of one rank. Any thread.
 *
 * Same promises as over sockets: messages between two ranks arrive in order, a receive names tag and length exactly, `abort` is final. A send
 * copies at once; with `lazy` it copies only when the receiver takes it, as late as any transport may, so that an operand overwritten too
 * early gives a wrong result. Nothing is completed inside the call that completes it: whoever waits goes on in a later microtask.
 */
import { type HvdError, PeerError, WireError } from '../errors';
import type { Transport } from './transport';

interface Settle {
  resolve(): void;
  reject(cause: HvdError): void;
}
interface Message extends Settle {
  readonly tag: number;
  readonly bytes: Uint8Array;
}
interface Receipt extends Settle {
  readonly tag: number;
  readonly into: Uint8Array;
}

/** One direction between two ranks: either messages wait for a receiver, or receivers for a message. */
export class Link {
  private readonly messages: Message[] = [];
  private readonly receipts: Receipt[] = [];

  constructor(
    private readonly from: number,
    private readonly to: number,
  ) {}

  put(message: Message): void {
    this.messages.push(message);
    this.match();
  }
  take(receipt: Receipt): void {
    this.receipts.push(receipt);
    this.match();
  }
  /** What waits on it fails: the sender's calls with one cause, the receiver's with another. */
  close(senderCause: HvdError, receiverCause: HvdError): void {
    for (const message of this.messages.splice(0)) message.reject(senderCause);
    for (const receipt of this.receipts.splice(0)) receipt.reject(receiverCause);
  }

  private match(): void {
    if (this.messages.length === 0 || this.receipts.length === 0) return;
    const message = this.messages.shift()!;
    const receipt = this.receipts.shift()!;
    if (message.tag === receipt.tag && message.bytes.byteLength === receipt.into.byteLength) {
      receipt.into.set(message.bytes);
      message.resolve();
      receipt.resolve();
      return;
    }
    message.resolve();
    const text = `Rank ${this.to} waited for ${receipt.into.byteLength} bytes with tag ${receipt.tag} from rank ${this.from}`;
    receipt.reject(
      new WireError(`${text}, which sent ${message.bytes.byteLength} with tag ${message.tag}. Please report it.`, { peer: this.from }),
    );
  }
}

export class InProcessTransport implements Transport {
  /** Payload handed to `send` so far. */
  bytesSent = 0;
  private cause?: HvdError;

  constructor(
    readonly rank: number,
    private readonly ranks: readonly InProcessTransport[],
    private readonly links: readonly (readonly Link[])[],
    private readonly lazy: boolean,
  ) {}

  get size(): number {
    return this.links.length;
  }

  async send(to: number, tag: number, bytes: Uint8Array): Promise<void> {
    this.refuse(to);
    this.bytesSent += bytes.byteLength;
    const link = this.links[this.rank]![to]!;
    if (!this.lazy) return link.put({ tag, bytes: bytes.slice(), resolve: () => {}, reject: () => {} });
    return new Promise((resolve, reject) => link.put({ tag, bytes, resolve, reject }));
  }

  async recv(from: number, tag: number, into: Uint8Array): Promise<void> {
    this.refuse(from);
    return new Promise((resolve, reject) => this.links[from]![this.rank]!.take({ tag, into, resolve, reject }));
  }

  /** Peers that wait for this rank get a PeerError that names it. */
  abort(cause: HvdError): void {
    if (this.cause) return;
    this.cause = cause;
    const gone = this.goneError();
    for (let peer = 0; peer < this.size; peer += 1) {
      this.links[this.rank]![peer]!.close(cause, gone);
      this.links[peer]![this.rank]!.close(gone, cause);
    }
  }

  private refuse(peer: number): void {
    if (this.cause) throw this.cause;
    if (this.ranks[peer]!.cause) throw this.ranks[peer]!.goneError();
  }
  private goneError(): PeerError {
    const text = `Rank ${this.rank} has left the transport: ${this.cause!.message}`;
    return new PeerError(text, { peer: this.rank, cause: this.cause });
  }
}

/** The transports of all ranks of one group. */
export function inProcessTransports(size: number, { lazy = false }: { lazy?: boolean } = {}): InProcessTransport[] {
  const links = Array.from({ length: size }, (_, from) => Array.from({ length: size }, (_, to) => new Link(from, to)));
  const ranks: InProcessTransport[] = [];
  for (let rank = 0; rank < size; rank += 1) ranks.push(new InProcessTransport(rank, ranks, links, lazy));
  return ranks;
}
