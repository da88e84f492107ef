/** Connects and proves. */
import net from 'node:net';
import { PeerError } from '../errors';
import { type Channel, DialerHandshake, type Identity, REPLY_BYTES } from '../wire/handshake';

export interface DialOptions {
  identity: Identity;
  to: number;
  host: string;
  port: number;
  channel: Channel;
  timeoutMs: number;
}
export function dial({ identity, to, host, port, channel, timeoutMs }: DialOptions): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const handshake = new DialerHandshake(identity, to, channel);
    const socket = net.connect({ host, port });
    const timer = setTimeout(() => fail(new Error('no answer in time')), timeoutMs);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new PeerError(`Connecting to rank ${to} at ${host}:${port} (${channel}) failed: ${error.message}.`, { peer: to }));
    };
    let got = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      got = Buffer.concat([got, chunk]);
      if (got.length < REPLY_BYTES) return;
      try {
        socket.write(handshake.prove(got.subarray(0, REPLY_BYTES)));
      } catch (error) {
        fail(error as Error);
        return;
      }
      clearTimeout(timer);
      socket.removeListener('data', onData);
      socket.removeListener('error', fail);
      socket.removeListener('close', closed);
      socket.on('error', () => {});
      socket.pause();
      if (got.length > REPLY_BYTES) socket.unshift(got.subarray(REPLY_BYTES));
      resolve(socket);
    };
    const closed = (): void => fail(new Error('the connection was closed during the handshake'));
    socket.setNoDelay(true);
    socket.on('error', fail);
    socket.on('close', closed);
    socket.on('data', onData);
    socket.write(handshake.begin());
  });
}
