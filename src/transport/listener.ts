/** One listening port a process. */
import net from 'node:net';
import { type Channel, HELLO_BYTES, type Identity, ListenerHandshake, PROOF_BYTES } from '../wire/handshake';

type LinkHandler = (from: number, socket: net.Socket) => void;
export class Listener {
  private readonly handlers = new Map<Channel, LinkHandler>();
  private readonly waiting = new Map<Channel, Array<[number, net.Socket]>>();
  private constructor(
    readonly host: string,
    readonly port: number,
    private readonly server: net.Server,
    private readonly strangers: Set<net.Socket>,
  ) {}
  static async open({
    identity,
    host,
    handshakeTimeoutMs = 5000,
  }: {
    identity: Identity;
    host: string;
    portRange?: { first: number; last: number };
    handshakeTimeoutMs?: number;
  }): Promise<Listener> {
    const strangers = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      strangers.add(socket);
      socket.on('error', () => socket.destroy());
      const timer = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
      socket.once('close', () => {
        clearTimeout(timer);
        strangers.delete(socket);
      });
      const handshake = new ListenerHandshake(identity);
      let got = Buffer.alloc(0);
      let step = 0;
      const onData = (chunk: Buffer): void => {
        got = Buffer.concat([got, chunk]);
        try {
          if (step === 0 && got.length >= HELLO_BYTES) {
            socket.write(handshake.reply(got.subarray(0, HELLO_BYTES)));
            got = got.subarray(HELLO_BYTES);
            step = 1;
          }
          if (step === 1 && got.length >= PROOF_BYTES) {
            handshake.verify(got.subarray(0, PROOF_BYTES));
            step = 2;
            clearTimeout(timer);
            strangers.delete(socket);
            socket.removeListener('data', onData);
            socket.pause();
            if (got.length > PROOF_BYTES) socket.unshift(got.subarray(PROOF_BYTES));
            socket.setNoDelay(true);
            listener.give(handshake.channel, handshake.from, socket);
          }
        } catch {
          socket.destroy();
        }
      };
      socket.on('data', onData);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, host, resolve);
    });
    const listener = new Listener(host, (server.address() as net.AddressInfo).port, server, strangers);
    return listener;
  }
  onLink(channel: Channel, handler: LinkHandler): void {
    this.handlers.set(channel, handler);
    for (const [from, socket] of this.waiting.get(channel) ?? []) handler(from, socket);
    this.waiting.delete(channel);
  }
  private give(channel: Channel, from: number, socket: net.Socket): void {
    const handler = this.handlers.get(channel);
    if (handler) handler(from, socket);
    else this.waiting.set(channel, [...(this.waiting.get(channel) ?? []), [from, socket]]);
  }
  close(): void {
    this.server.close();
    for (const socket of this.strangers) socket.destroy();
  }
}
