/**
 * The key–value store where the ranks of a job meet, and where they report. The launcher serves it (main thread), for all generations; without a launcher rank 0 does
 * (communication thread), for one.
 *
 * A get of a key that is not there waits until it is set; the asker keeps the deadline and says when it has given up. Invariants: keys, values, waiting calls and unread
 * replies are bounded; what is refused is refused to the one who asked, with a sentence; bytes that are no request close that client's connection and nothing else;
 * of a client that has left nothing waits any more.
 */
import type { Duplex } from 'node:stream';
import { RendezvousError } from '../errors';
import { Listener, MOST_STRANGERS, type PortRange } from '../transport/listener';
import { endWithin } from '../transport/socket';
import { encodeFrame, FrameParser } from '../wire/frame';
import { khorovod } from '../wire/generated/messages';
import { LAUNCHER_RANK } from '../wire/handshake';
import { MOST_FRAME_BYTES, MOST_KEYS, MOST_STORED_BYTES, MOST_WAITING, refusalOf } from './limits';

export interface StoreServerOptions {
  jobId: string;
  key: Uint8Array;
  tls?: boolean;
  host: string;
  /** This port and no other. */
  port?: number;
  portRange?: PortRange;
  /** Number of ranks that may come at the same time. */
  size?: number;
  /** A client has closed its connection, or was lost. */
  onLeft?: (from: number) => void;
  /** `hvd.report` of a rank. */
  onReport?: (rank: number, json: string) => void;
}

/** A client that asks and does not read is put out. */
const MOST_UNREAD_BYTES = 64 << 20;

/** One connection. */
interface Client {
  readonly socket: Duplex;
  /** By the id of the call. */
  readonly waiting: Map<number, Waiter>;
}
/** A get of a key that is not there. */
interface Waiter {
  readonly client: Client;
  readonly id: number;
  readonly key: string;
}

export class StoreServer {
  private readonly values = new Map<string, Uint8Array>();
  private storedBytes = 0;
  /** By key; the same as all clients' `waiting`. */
  private readonly waiters = new Map<string, Set<Waiter>>();
  private readonly clients = new Set<Client>();

  private listener?: Listener;

  /** Listens nowhere: `serve` gives it its clients. @param onReport `hvd.report` of a rank */
  constructor(private readonly onReport?: (rank: number, json: string) => void) {}

  /** @throws RendezvousError it cannot listen there */
  static async start({ onReport, ...options }: StoreServerOptions): Promise<StoreServer> {
    const server = new StoreServer(onReport);
    await server.listen(options);
    return server;
  }

  /** @throws RendezvousError it cannot listen there */
  async listen({ jobId, key, tls, host, port, portRange, size, onLeft }: Omit<StoreServerOptions, 'onReport'>): Promise<void> {
    const identity = { jobId, key, tls, generation: 0, rank: LAUNCHER_RANK };
    this.listener = await Listener.open({ identity, host, port, portRange, maxStrangers: Math.max(MOST_STRANGERS, size ?? 0) });
    this.listener.onLink('store', (from, socket) => {
      if (onLeft) socket.once('close', () => onLeft(from));
      this.serve(socket);
    });
  }

  /** Of one that listens. */
  get port(): number {
    return this.listener!.port;
  }

  /** Sets a key from here, as a rank does. @throws RendezvousError it does not fit */
  put(key: string, value: Uint8Array): void {
    const refusal = this.set(key, Uint8Array.from(value));
    if (refusal) throw new RendezvousError(`The rendezvous does not take '${key}': ${refusal}.`);
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  /** Whoever waits for a key is refused with this sentence, and so is told why there will be none. */
  refuseWaiting(reason: string): void {
    for (const client of this.clients) {
      for (const id of [...client.waiting.keys()]) {
        this.forget(client, id);
        // The one who asked makes a sentence of it.
        reply(client, { id, error: reason.replace(/\.$/, '') });
      }
    }
  }

  /** Closes the port and every connection, after what they were told has left (at most `timeoutMs`). */
  async close(timeoutMs = 0): Promise<void> {
    this.listener?.close();
    if (timeoutMs > 0) await Promise.all([...this.clients].map(({ socket }) => endWithin(socket, timeoutMs)));
    for (const { socket } of this.clients) socket.destroy();
  }

  /** A connection that has proved the job key. */
  serve(socket: Duplex): void {
    const client: Client = { socket, waiting: new Map() };
    const parser = new FrameParser(MOST_FRAME_BYTES);
    this.clients.add(client);
    // The 'close' that follows is what counts.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.clients.delete(client);
      for (const id of [...client.waiting.keys()]) this.forget(client, id);
    });
    socket.on('data', (chunk) => {
      let requests: khorovod.StoreRequest[];
      try {
        requests = parser.push(chunk as Buffer).map((frame) => khorovod.StoreRequest.decode(frame));
      } catch {
        // A client of this job that does not speak its language; it hears of that by the closed connection.
        socket.destroy();
        return;
      }
      for (const request of requests) this.take(client, request);
    });
    socket.resume();
  }

  private take(client: Client, { id, set, get, report, forget }: khorovod.StoreRequest): void {
    if (set) {
      const error = this.set(set.key ?? '', Uint8Array.from(set.value ?? []));
      reply(client, { id, error });
    } else if (get) {
      const key = get.key ?? '';
      const value = this.values.get(key);
      const error =
        refusalOf(key, new Uint8Array(0)) ?? (client.waiting.size >= MOST_WAITING ? `${MOST_WAITING} calls wait already` : undefined);
      if (value || error) reply(client, { id, value, error });
      else this.wait(client, id, key);
    } else if (report) {
      this.onReport?.(report.rank ?? 0, report.json ?? '');
    } else if (forget) {
      this.forget(client, id);
    }
  }

  /** @returns why not */
  private set(key: string, value: Uint8Array): string | undefined {
    const refusal = refusalOf(key, value);
    if (refusal) return refusal;
    const old = this.values.get(key);
    const storedBytes = this.storedBytes + value.length - (old?.length ?? 0);
    if (!old && this.values.size >= MOST_KEYS) return `it holds ${MOST_KEYS} keys already`;
    if (storedBytes > MOST_STORED_BYTES) return `it would hold more than ${MOST_STORED_BYTES} bytes`;
    this.storedBytes = storedBytes;
    this.values.set(key, value);
    for (const { client, id } of this.waiters.get(key) ?? []) {
      client.waiting.delete(id);
      reply(client, { id, value });
    }
    this.waiters.delete(key);
    return undefined;
  }

  private wait(client: Client, id: number, key: string): void {
    this.forget(client, id);
    const waiter = { client, id, key };
    client.waiting.set(id, waiter);
    this.waiters.set(key, (this.waiters.get(key) ?? new Set()).add(waiter));
  }

  private forget(client: Client, id: number): void {
    const waiter = client.waiting.get(id);
    if (!waiter) return;
    client.waiting.delete(id);
    const others = this.waiters.get(waiter.key)!;
    others.delete(waiter);
    if (others.size === 0) this.waiters.delete(waiter.key);
  }
}

function reply({ socket }: Client, answer: khorovod.IStoreReply): void {
  if (!socket.writable) return;
  if (socket.writableLength > MOST_UNREAD_BYTES) socket.destroy();
  else socket.write(encodeFrame(khorovod.StoreReply.encode(answer).finish()));
}
