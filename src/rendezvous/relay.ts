/**
 * Where the ranks of one host find the store: a port of loopback whose connections are passed on to the launcher, as bytes. Agent process.
 *
 * Ranks need no way to the launcher's machine then: what its agent is reached by carries theirs too. A connection has proved the job key before a byte of it is passed on.
 */
import type { Socket } from 'node:net';
import { Listener, MOST_STRANGERS, type PortRange } from '../transport/listener';
import { LAUNCHER_RANK } from '../wire/handshake';

export type { PortRange };

const LOOPBACK = '127.0.0.1';

export interface RelayOptions {
  jobId: string;
  key: Uint8Array;
  tls?: boolean;
  /** Number of processes that may come at the same time. */
  size: number;
  portRange?: PortRange;
  /** `end`: the last of that link. */
  onBytes(link: number, data: Uint8Array, end: boolean): void;
}

export class StoreRelay {
  private readonly links = new Map<number, Socket>();
  private nextLink = 1;

  private constructor(
    private readonly listener: Listener,
    private readonly onBytes: RelayOptions['onBytes'],
  ) {
    listener.onLink('store', (_from, socket) => this.accept(socket));
  }

  /** @throws RendezvousError it cannot listen */
  static async open({ jobId, key, tls, size, portRange, onBytes }: RelayOptions): Promise<StoreRelay> {
    const identity = { jobId, key, tls, generation: 0, rank: LAUNCHER_RANK };
    return new StoreRelay(
      await Listener.open({ identity, host: LOOPBACK, portRange, maxStrangers: Math.max(MOST_STRANGERS, size) }),
      onBytes,
    );
  }

  /** HOST:PORT, for the ranks. */
  get place(): string {
    return `${this.listener.host}:${this.listener.port}`;
  }

  /** What the store answers. */
  give(link: number, data: Uint8Array, end: boolean): void {
    const socket = this.links.get(link);
    if (data.length > 0 && socket?.writable) socket.write(data);
    if (end) socket?.end();
  }

  close(): void {
    this.listener.close();
    for (const socket of this.links.values()) socket.destroy();
  }

  private accept(socket: Socket): void {
    const link = this.nextLink++;
    this.links.set(link, socket);
    // The 'close' that follows is what counts.
    socket.on('error', () => {});
    socket.on('data', (data: Buffer) => this.onBytes(link, data, false));
    socket.on('close', () => {
      this.links.delete(link);
      this.onBytes(link, new Uint8Array(0), true);
    });
    socket.resume();
  }
}
