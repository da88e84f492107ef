/**
 * The one listening port of a process, and where it is asked for a Unix socket beside it: accepts connections, has each prove the job key, and gives it to whoever handles its channel. Communication thread (the store's: the
 * launcher's main thread).
 *
 * Invariants: it listens on the given address only. Of a stranger, the bytes of one handshake message are kept and no more; what is longer, late or wrong closes that
 * connection and touches nothing else. At most `maxStrangers` connections are in their handshake; one more closes the oldest, so that strangers who sit there do not
 * keep a rank out (a handshake takes a round trip; a dialer closed by that dials again). Of a rank there is one control link at a time, and one data link a stream: a second is closed
 * while the first lives. A link that nobody handles yet waits for its handler, paused.
 */
import net from 'node:net';
import { RendezvousError } from '../errors';
import { type Channel, HELLO_BYTES, type Identity, ListenerHandshake, PROOF_BYTES } from '../wire/handshake';
import { alerts, beginsAsTls } from './client_hello';
import { addressText } from './socket';
import { acceptTls, closeWithAlert } from './tls';
import { newUnixName, unixPath } from './unix';

/** Gets a paused socket: resume() it once its events are listened to. */
export type LinkHandler = (from: number, socket: net.Socket, stream: number) => void;
export interface PortRange {
  readonly first: number;
  readonly last: number;
}
export interface ListenerOptions {
  identity: Identity;
  host: string;
  /** Number of ranks, where known: others are refused, and so many may be in their handshake at once. */
  size?: number;
  /** This port and no other. */
  port?: number;
  /** Default: any port. */
  portRange?: PortRange;
  handshakeTimeoutMs?: number;
  maxStrangers?: number;
}

const HANDSHAKE_TIMEOUT_MS = 5000;
/** Or as many as there are ranks, which may all come at once. */
export const MOST_STRANGERS = 64;

export class Listener {
  private readonly handlers = new Map<Channel, LinkHandler>();
  /** Proved, and waiting for a handler. */
  private readonly unclaimed = new Set<{ channel: Channel; from: number; stream: number; socket: net.Socket }>();
  /** `channel/rank/stream` of living control and data links. */
  private readonly living = new Set<string>();
  /** In the order they came. */
  private readonly strangers = new Set<net.Socket>();
  private unixServer?: net.Server;

  private constructor(
    readonly host: string,
    readonly port: number,
    private readonly server: net.Server,
    private readonly options: ListenerOptions,
  ) {
    this.serve(server);
  }

  /** @throws RendezvousError no port of the range is free, or the address is not this host's */
  static async open(options: ListenerOptions): Promise<Listener> {
    const { host, port, portRange } = options;
    if (host === '')
      throw new RendezvousError('A rank was to listen on no address at all (TSRUN_BIND_ADDRESS is empty). Start the job with tsrun.');
    const server = net.createServer();
    if (port === undefined && portRange) await listenInRange(server, host, portRange);
    else await listenOn(server, host, port ?? 0).catch(refuse(`on ${port === undefined ? host : addressText(host, port)}`));
    return new Listener(host, (server.address() as net.AddressInfo).port, server, options);
  }

  /** Accepts by a Unix socket too. @returns its name @throws Error the system has none, or refuses */
  async listenUnix(): Promise<string> {
    const name = newUnixName();
    const server = net.createServer();
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(unixPath(name), resolve));
    this.serve(server);
    this.unixServer = server;
    return name;
  }

  /** Also gets the links that came before. One handler a channel. */
  onLink(channel: Channel, handler: LinkHandler): void {
    this.handlers.set(channel, handler);
    for (const link of [...this.unclaimed].filter((one) => one.channel === channel)) {
      this.unclaimed.delete(link);
      handler(link.from, link.socket, link.stream);
    }
  }

  /** Ends listening and closes what nobody has claimed; links that were handed over live on. */
  close(): void {
    this.server.close();
    this.unixServer?.close();
    for (const socket of [...this.strangers, ...[...this.unclaimed].map(({ socket }) => socket)]) socket.destroy();
  }

  private serve(server: net.Server): void {
    server.on('connection', (socket) => this.greet(socket));
    // A connection that could not be accepted (no file descriptor left); listening goes on.
    server.on('error', () => {});
  }

  /** One deadline and one place among the strangers, from the first byte to the proof. */
  private greet(socket: net.Socket): void {
    const { identity, size, handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS, maxStrangers = Math.max(MOST_STRANGERS, size ?? 0) } = this.options;
    const timer = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    const leave = (): void => {
      clearTimeout(timer);
      this.strangers.delete(socket);
    };
    // The 'close' that follows is what counts.
    socket.on('error', () => {});
    socket.once('close', leave);
    socket.setNoDelay(true);
    this.strangers.add(socket);
    for (const oldest of this.strangers) {
      if (this.strangers.size <= maxStrangers) break;
      this.strangers.delete(oldest);
      oldest.destroy();
    }
    const onProved = (): void => {
      leave();
      socket.removeListener('close', leave);
    };
    if (identity.tls) acceptTls(identity, socket, (secured) => this.challenge(secured, onProved));
    else this.challenge(socket, onProved);
  }

  private challenge(socket: net.Socket, onProved: () => void): void {
    const { identity, size } = this.options;
    const handshake = new ListenerHandshake(identity, size);
    const message = Buffer.alloc(HELLO_BYTES);
    let bytes = 0;
    let isProving = false;
    // Not said to the stranger why, unless it is a rank that has --tls where this one has not.
    const fail = (): void => {
      socket.removeListener('data', onData);
      if (!isProving && beginsAsTls(message)) closeWithAlert(socket, alerts.noTls);
      else socket.destroy();
    };
    const onData = (chunk: Buffer): void => {
      const due = isProving ? PROOF_BYTES : HELLO_BYTES;
      const taken = chunk.copy(message, bytes, 0, due - bytes);
      bytes += taken;
      // Nobody who keeps to the protocol goes on before the reply to the hello.
      if (!isProving && chunk.length > taken) return void fail();
      if (bytes < due) return;
      try {
        if (isProving) handshake.verify(message.subarray(0, PROOF_BYTES));
        else socket.write(handshake.reply(message));
      } catch {
        return void fail();
      }
      bytes = 0;
      if (!isProving) {
        isProving = true;
        return;
      }
      onProved();
      socket.removeListener('data', onData);
      socket.pause();
      // What came right behind the proof is the first of the link.
      if (chunk.length > taken) socket.unshift(chunk.subarray(taken));
      this.give(handshake, socket);
    };
    socket.on('data', onData);
  }

  private give({ channel, from, stream }: ListenerHandshake, socket: net.Socket): void {
    if (channel !== 'store') {
      const name = `${channel}/${from}/${stream}`;
      if (this.living.has(name)) {
        socket.destroy();
        return;
      }
      this.living.add(name);
      socket.once('close', () => this.living.delete(name));
    }
    const handler = this.handlers.get(channel);
    if (handler) {
      handler(from, socket, stream);
      return;
    }
    const link = { channel, from, stream, socket };
    this.unclaimed.add(link);
    socket.once('close', () => this.unclaimed.delete(link));
  }
}

function listenOn(server: net.Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => (): void => {
      server.removeAllListeners('error').removeAllListeners('listening');
      act();
    };
    server.once('error', (error) => settle(() => reject(error))());
    server.once('listening', settle(resolve));
    server.listen({ host, port, exclusive: true });
  });
}

/** From a random port on, so that many ranks which start together do not all try the same ones. */
async function listenInRange(server: net.Server, host: string, { first, last }: PortRange): Promise<void> {
  const ports = last - first + 1;
  const start = Math.floor(Math.random() * ports);
  for (let i = 0; i < ports; i += 1) {
    try {
      return await listenOn(server, host, first + ((start + i) % ports));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE' && code !== 'EACCES') refuse(`on ${addressText(host, first)}`)(error as Error);
    }
  }
  throw new RendezvousError(
    `All ${ports} ports from ${first} to ${last} on ${host} are taken: none is left for this rank to listen on. Every rank needs one; give a wider --port-range.`,
  );
}

const refuse =
  (where: string) =>
  (error: Error): never => {
    throw new RendezvousError(
      `This rank cannot listen ${where}: ${error.message}. The address must be one of this host's; --network-interface chooses it.`,
      { cause: error },
    );
  };
