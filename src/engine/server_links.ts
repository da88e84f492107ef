/**
 * A rank's connections with the parameter servers: a stream each way, and with servers that are processes of their own a control link besides, over which both notice that the other is gone.
 *
 * Communication thread. Streams are opened when first used: a job without servers pays nothing. Where no servers were started every rank may serve a share, and reaches its own without a socket.
 */
import type { Config } from '../config';
import type { HvdError } from '../errors';
import { ControlLink } from '../transport/control';
import { inProcessTransports } from '../transport/in_process';
import type { Listener } from '../transport/listener';
import { dialPeer, type Peer } from '../transport/peer';
import { withSelf } from '../transport/self_link';
import { TcpTransport } from '../transport/tcp';
import type { Transport } from '../transport/transport';
import type { Identity } from '../wire/handshake';
import { ControlPlane } from './control_plane';

export interface WorkerLinks {
  readonly pushes: Transport;
  readonly pulls: Transport;
  /** Their numbers in the transports. */
  readonly servers: readonly number[];
  /** Every rank serves a share. */
  readonly isColocated: boolean;
  /** One beat. */
  tick(): void;
  /** Tells servers of their own that this rank leaves, or has failed. */
  part(failed: boolean, reason: string): void;
  abort(error: HvdError): void;
}
interface Events {
  /** Of a server of its own. */
  onFailure(error: Error): void;
  onPeerLost(peer: number, error: HvdError): void;
}

/** A server that is a process of its own, as users see it. In the transports servers come behind the ranks. */
export const ownName = (server: number): string => `ps${server}`;

/** When a server says who waits for whom, and when it gives up; 0: never. */
export const stallLimitsOf = ({ stallCheckDisable, stallWarningSeconds, stallShutdownSeconds }: Config) => ({
  stallWarningMs: stallCheckDisable ? 0 : stallWarningSeconds * 1000,
  stallFailMs: stallCheckDisable ? 0 : stallShutdownSeconds * 1000,
});

/** A server may take long to come to the first push: it is the stall check that loses patience. */
const PATIENCE_MS = 2 ** 31 - 1;

export class ServerLinks implements WorkerLinks {
  readonly pushes: Transport;
  readonly pulls: Transport;
  readonly servers: readonly number[];
  readonly isColocated: boolean;
  private readonly control: ControlPlane;
  private readonly streams: readonly TcpTransport[];

  /** @param peers ranks, then servers */
  constructor(
    private readonly config: Config,
    private readonly identity: Identity,
    private readonly peers: readonly Peer[],
    listener: Listener,
    hostOf: (peer: number) => string,
    { onFailure, onPeerLost }: Events,
  ) {
    const { size, servers, peerTimeoutSeconds } = config;
    this.isColocated = servers === 0;
    this.servers = this.isColocated ? peers.map(({ rank }) => rank) : peers.slice(size).map(({ rank }) => rank);
    this.streams = (['push', 'pull'] as const).map(
      (channel) =>
        new TcpTransport({
          identity,
          size: peers.length,
          peers,
          listener,
          connectTimeoutMs: PATIENCE_MS,
          onLinkLost: onPeerLost,
          channel,
        }),
    );
    const [pushes, pulls] = this.streams.map((stream) => (this.isColocated ? withSelf(stream) : stream));
    [this.pushes, this.pulls] = [pushes!, pulls!];
    const nothing = () => {};
    const name = (peer: number): string => `The ${peers[peer]!.name}`;
    this.control = new ControlPlane(
      config.rank,
      hostOf,
      peerTimeoutSeconds * 1000,
      { onFailure, onMessage: nothing, onDeparted: nothing },
      name,
    );
  }

  /** Dials the servers that are processes of their own. */
  async link(timeoutMs: number): Promise<void> {
    if (this.isColocated) return;
    const { identity } = this;
    await Promise.all(
      this.peers.slice(this.config.size).map(async (server) => {
        this.control.add(new ControlLink(server.rank, await dialPeer(server, { identity, channel: 'control', timeoutMs })));
      }),
    );
  }

  tick(): void {
    this.control.tick();
  }

  part(failed: boolean, reason: string): void {
    this.control.sendAll({ goodbye: { failed, reason } });
  }

  abort(error: HvdError): void {
    this.pushes.abort(error);
    this.pulls.abort(error);
  }

  async close(timeoutMs: number): Promise<void> {
    await Promise.all([this.control.close(timeoutMs), ...this.streams.map((stream) => stream.close(timeoutMs))]);
  }
}

export function aloneServerLinks(): WorkerLinks {
  const [[pushes], [pulls]] = [inProcessTransports(1, { lazy: true }), inProcessTransports(1, { lazy: true })];
  return {
    pushes: pushes!,
    pulls: pulls!,
    servers: [0],
    isColocated: true,
    tick() {},
    part() {},
    abort(error) {
      pushes!.abort(error);
      pulls!.abort(error);
    },
  };
}
