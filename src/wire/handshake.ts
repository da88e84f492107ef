/** Mutual challenge–response. Pure. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { WireError } from '../errors';

export const LAUNCHER_RANK = 0xffffffff;
export type Channel = 'store' | 'control' | 'data';
export const channels: readonly Channel[] = ['store', 'control', 'data'];
export interface Identity {
  readonly jobId: string;
  readonly key: Uint8Array;
  readonly generation: number;
  readonly rank: number;
}
const MAGIC = Buffer.from('KHVD');
const VERSION = 1;
export const HELLO_BYTES = 4 + 4 + 4 + 4 + 4 + 32;
export const REPLY_BYTES = 64;
export const PROOF_BYTES = 32;

const mac = (identity: Identity, role: string, hello: Uint8Array, nonce: Uint8Array): Buffer =>
  createHmac('sha256', identity.key).update(`khorovod ${role} ${identity.jobId}\0`).update(hello).update(nonce).digest();

export class DialerHandshake {
  private readonly hello = Buffer.alloc(HELLO_BYTES);
  constructor(
    private readonly identity: Identity,
    to: number,
    channel: Channel,
  ) {
    MAGIC.copy(this.hello);
    this.hello[4] = VERSION;
    this.hello[5] = channels.indexOf(channel);
    this.hello.writeUInt32LE(identity.generation, 8);
    this.hello.writeUInt32LE(identity.rank, 12);
    this.hello.writeUInt32LE(to, 16);
    randomBytes(32).copy(this.hello, 20);
  }
  begin(): Uint8Array {
    return this.hello;
  }
  prove(reply: Uint8Array): Uint8Array {
    const nonce = reply.subarray(0, 32);
    if (!timingSafeEqual(mac(this.identity, 'listener', this.hello, nonce), reply.subarray(32, 64)))
      throw new WireError('The listener did not prove that it holds the job key.');
    return mac(this.identity, 'dialer', this.hello, nonce);
  }
}
export class ListenerHandshake {
  from = -1;
  channel: Channel = 'store';
  private hello!: Uint8Array;
  private nonce!: Uint8Array;
  constructor(private readonly identity: Identity) {}
  reply(hello: Uint8Array): Uint8Array {
    const bytes = Buffer.from(hello);
    const channel = channels[bytes[5]!];
    if (!bytes.subarray(0, 4).equals(MAGIC) || bytes[4] !== VERSION || !channel) throw new WireError('not a hello of this protocol');
    if (channel !== 'store' && bytes.readUInt32LE(8) !== this.identity.generation) throw new WireError('another generation');
    if (bytes.readUInt32LE(16) !== this.identity.rank) throw new WireError('meant for another rank');
    this.channel = channel;
    this.from = bytes.readUInt32LE(12);
    this.hello = bytes;
    this.nonce = randomBytes(32);
    return Buffer.concat([this.nonce, mac(this.identity, 'listener', bytes, this.nonce)]);
  }
  verify(proof: Uint8Array): void {
    if (!timingSafeEqual(mac(this.identity, 'dialer', this.hello, this.nonce), proof)) throw new WireError('no proof of the job key');
  }
}
