/**
 * Mutual challenge–response: both ends of a connection prove that they hold the job key before a length or a message from the other is believed. Pure; any thread.
 *
 *     dialer                                            listener
 *       hello: magic, version, channel, stream,
 *       generation, from, to, nonce d (32 bytes)  ──→     checks every field against its own identity
 *                                                 ←──   reply: nonce l (32), HMAC("listener", job, hello, l) (32)
 *       checks the HMAC
 *       proof: HMAC("dialer", job, hello, l) (32) ──→     checks the HMAC: the link is open
 *
 * HMAC-SHA256 under the job's 256-bit key, over role, job id, the whole hello (so: generation, both ranks, channel, d) and l. Invariants: three messages of fixed size, so
 * nobody needs to believe a length; a recorded reply fails on a fresh d, a recorded proof on a fresh l; a mac sent back where it came from fails on its role. What
 * follows the handshake is neither encrypted nor signed: whoever can rewrite packets on the way needs TLS to be kept out.
 *
 * A rank proves itself to listeners of its own generation only, except on 'store': the launcher serves all generations.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { BugError, WireError } from '../errors';

/** The rank of whoever serves the store. */
export const LAUNCHER_RANK = 0xffffffff;
/** `push`, `pull`: between workers and parameter servers, named by what the worker does. */
export type Channel = 'store' | 'control' | 'data' | 'push' | 'pull' | 'shm';
/** A channel's place is its number on the wire. */
export const channels: readonly Channel[] = ['store', 'control', 'data', 'push', 'pull', 'shm'];

/** Of one rank and channel, for data: `--streams` has at most so many. */
export const MOST_STREAMS = 64;
const mayHaveStreams = (channel: Channel): boolean => ['data', 'push', 'pull'].includes(channel);

export interface Identity {
  readonly jobId: string;
  /** Its connections are encrypted; so are those of everybody it talks to. */
  readonly tls?: boolean;
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly generation: number;
  readonly rank: number;
}

export const KEY_BYTES = 32;
const NONCE_BYTES = 32;
const MAC_BYTES = 32;
/** A hello begins with it. */
export const MAGIC = 'KHVD';
const VERSION = 1;
/** Byte offsets in the hello. */
const AT = { magic: 0, version: 4, channel: 5, stream: 6, generation: 8, from: 12, to: 16, nonce: 20 } as const;
export const HELLO_BYTES = AT.nonce + NONCE_BYTES;
export const REPLY_BYTES = NONCE_BYTES + MAC_BYTES;
export const PROOF_BYTES = MAC_BYTES;

function mac({ key, jobId }: Identity, role: 'dialer' | 'listener', hello: Uint8Array, nonce: Uint8Array): Buffer {
  if (key.length !== KEY_BYTES) throw new BugError(`The job key has ${key.length} bytes, not ${KEY_BYTES}. Please report it.`);
  // Read from its end, where lengths are fixed, this has one meaning only, whatever the job id holds.
  return createHmac('sha256', key).update(`khorovod ${role} ${jobId}\0`).update(hello).update(nonce).digest();
}

/** The end that connects: begin(), then prove(reply). */
export class DialerHandshake {
  private readonly hello = Buffer.alloc(HELLO_BYTES);

  constructor(
    private readonly identity: Identity,
    to: number,
    channel: Channel,
    stream = 0,
  ) {
    this.hello.write(MAGIC, AT.magic, 'latin1');
    this.hello[AT.version] = VERSION;
    this.hello[AT.channel] = channels.indexOf(channel);
    this.hello.writeUInt16LE(stream, AT.stream);
    this.hello.writeUInt32LE(identity.generation, AT.generation);
    this.hello.writeUInt32LE(identity.rank, AT.from);
    this.hello.writeUInt32LE(to, AT.to);
    randomBytes(NONCE_BYTES).copy(this.hello, AT.nonce);
  }

  /** HELLO_BYTES to send first. */
  begin(): Uint8Array {
    return this.hello;
  }

  /**
   * PROOF_BYTES to send next.
   *
   * @param reply REPLY_BYTES
   * @throws WireError the listener does not hold the key of this job, or is not the one meant
   */
  prove(reply: Uint8Array): Uint8Array {
    const nonce = reply.subarray(0, NONCE_BYTES);
    if (!isEqual(mac(this.identity, 'listener', this.hello, nonce), reply.subarray(NONCE_BYTES))) {
      throw new WireError('the listener did not prove that it holds the key of this job');
    }
    return mac(this.identity, 'dialer', this.hello, nonce);
  }
}

/** The end that accepts: reply(hello), then verify(proof). `from`, `channel` and `stream` count only once the proof is verified. */
export class ListenerHandshake {
  from = -1;
  channel: Channel = 'store';
  stream = 0;
  private hello?: Buffer;
  private nonce?: Buffer;

  /** @param size number of ranks, where the listener knows it: a rank that is none of them, or this one, is refused */
  constructor(
    private readonly identity: Identity,
    private readonly size?: number,
  ) {}

  /**
   * REPLY_BYTES to answer.
   *
   * @param hello HELLO_BYTES
   * @throws WireError not of this protocol, or meant for another generation or rank, or from no rank of this job
   */
  reply(hello: Uint8Array): Uint8Array {
    const { generation, rank } = this.identity;
    const bytes = Buffer.from(hello);
    const channel = channels[bytes[AT.channel]!];
    if (bytes.length !== HELLO_BYTES || bytes.toString('latin1', AT.magic, AT.version) !== MAGIC) {
      throw new WireError('the hello is not of this protocol');
    }
    const stream = bytes.readUInt16LE(AT.stream);
    if (bytes[AT.version] !== VERSION || !channel || stream >= (mayHaveStreams(channel) ? MOST_STREAMS : 1)) {
      throw new WireError(
        `the hello is of version ${bytes[AT.version]}, channel ${bytes[AT.channel]}, stream ${stream}, which this version does not know`,
      );
    }
    const to = bytes.readUInt32LE(AT.to);
    if (to !== rank) throw new WireError(`the hello is meant for rank ${to}, this is rank ${rank}`);
    const theirs = bytes.readUInt32LE(AT.generation);
    if (channel !== 'store' && theirs !== generation)
      throw new WireError(`the hello is of generation ${theirs}, this is generation ${generation}`);
    const from = bytes.readUInt32LE(AT.from);
    if (from >= (this.size ?? LAUNCHER_RANK) || from === rank) throw new WireError(`rank ${from} has no business here`);
    this.channel = channel;
    this.stream = stream;
    this.from = from;
    this.hello = bytes;
    this.nonce = randomBytes(NONCE_BYTES);
    return Buffer.concat([this.nonce, mac(this.identity, 'listener', bytes, this.nonce)]);
  }

  /**
   * @param proof PROOF_BYTES
   * @throws WireError the dialer does not hold the key of this job
   */
  verify(proof: Uint8Array): void {
    if (!this.hello || !this.nonce) throw new BugError('A proof came before the hello. Please report it.');
    if (!isEqual(mac(this.identity, 'dialer', this.hello, this.nonce), proof)) {
      throw new WireError('the dialer did not prove that it holds the key of this job');
    }
  }
}

const isEqual = (ours: Buffer, theirs: Uint8Array): boolean => ours.length === theirs.length && timingSafeEqual(ours, theirs);
