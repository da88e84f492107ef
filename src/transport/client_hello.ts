/**
 * What somebody says first on a connection, before any of it is believed or given to OpenSSL. Pure; any thread.
 *
 * OpenSSL would hold up to 90 KiB for a stranger whose bytes it takes in. Here at most MOST_HELLO_BYTES are looked at, and only what begins as a dialer of this package does goes on
 * to it: one TLS record that holds one whole ClientHello (RFC 8446, 4.1.2) with the job's kind of pre-shared key on offer. That the dialer has the secret is for OpenSSL to check.
 *
 * Invariant: whatever the bytes, a verdict comes after one pass over them, and no length in them is followed beyond their end.
 */

/** An OpenSSL of today sends 280, with a post-quantum key share 1,500; a host's name adds at most 255. */
export const MOST_HELLO_BYTES = 2048;

/** partial: nothing is wrong so far. plain: TLS is not what it speaks, but this package's handshake. */
export type Verdict = 'ours' | 'partial' | 'plain' | 'foreign';

/**
 * Fatal alerts, in the clear (RFC 8446, 6.2): all that a refused stranger is told. handshake_failure: TLS is spoken here, but not that. protocol_version: no TLS is spoken here; a
 * listener of this package that has TLS never says it.
 */
export const alerts = {
  refused: Buffer.from([21, 3, 3, 0, 2, 2, 40]),
  noTls: Buffer.from([21, 3, 3, 0, 2, 2, 70]),
} as const;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const PRE_SHARED_KEY = 41;
const RECORD_HEADER_BYTES = 5;
/** All fields there, none longer than it must be, no extension. */
const LEAST_RECORD_BYTES = 47;
const RANDOM_BYTES = 32;
const MOST_SESSION_ID_BYTES = 32;

/** It may be the beginning of TLS, from whomever. */
export const beginsAsTls = (bytes: Uint8Array): boolean => bytes[0] === HANDSHAKE_RECORD && bytes[1] === 3;

/**
 * @param bytes all that has come, from the first on; at most MOST_HELLO_BYTES
 * @param plainMagic what the handshake without TLS begins with
 */
export function judgeHello(bytes: Uint8Array, pskName: string, plainMagic: string): Verdict {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, plainMagic.length)).toString('latin1');
  if (start === plainMagic) return 'plain';
  if (plainMagic.startsWith(start)) return 'partial';
  const fields = new Fields(bytes);
  let isWhole = false;
  try {
    fields.expect(1, HANDSHAKE_RECORD);
    fields.expect(1, 3);
    // The record's version is 3.1 or 3.3, and means nothing.
    fields.number(1);
    const length = fields.number(2);
    if (length < LEAST_RECORD_BYTES || RECORD_HEADER_BYTES + length > MOST_HELLO_BYTES) return 'foreign';
    fields.expect(1, CLIENT_HELLO);
    fields.expect(3, length - 4);
    fields.expect(2, 0x0303);
    const end = RECORD_HEADER_BYTES + length;
    // A dialer waits for the answer before it says more.
    if (bytes.length > end) return 'foreign';
    if (bytes.length < end) return 'partial';
    isWhole = true;
    fields.skip(RANDOM_BYTES);
    if (fields.list(1).left > MOST_SESSION_ID_BYTES) return 'foreign';
    const suites = fields.list(2).left;
    const compressions = fields.list(1).left;
    if (suites === 0 || suites % 2 !== 0 || compressions === 0) return 'foreign';
    return offersKey(fields.list(2), pskName) && fields.left === 0 ? 'ours' : 'foreign';
  } catch (error) {
    if (error instanceof Short) return isWhole ? 'foreign' : 'partial';
    if (error instanceof Unexpected) return 'foreign';
    throw error;
  }
}

/** The last extension is the offer of keys (RFC 8446, 4.2.11); a dialer of this package makes one offer. */
function offersKey(extensions: Fields, pskName: string): boolean {
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.list(2);
    if (type !== PRE_SHARED_KEY) continue;
    const identities = content.list(2);
    const name = identities.list(2).text();
    identities.skip(4); // the age of a ticket
    return name === pskName && identities.left === 0 && content.list(2).left > 0 && content.left === 0 && extensions.left === 0;
  }
  return false;
}

/** A field goes on behind the end. */
class Short extends Error {}
/** Another value than the only one that may stand there. */
class Unexpected extends Error {}

/** Reads big-endian fields one behind the other. */
class Fields {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at;
  }

  number(bytes: number): number {
    let value = 0;
    for (const byte of this.take(bytes)) value = value * 256 + byte;
    return value;
  }

  /** Byte by byte, so that what is wrong shows before all of it is there. */
  expect(bytes: number, value: number): void {
    for (let shift = 8 * (bytes - 1); shift >= 0; shift -= 8) if (this.number(1) !== ((value >> shift) & 0xff)) throw new Unexpected();
  }

  /** A length of so many bytes, and what it counts. */
  list(lengthBytes: number): Fields {
    return new Fields(this.take(this.number(lengthBytes)));
  }

  skip(bytes: number): void {
    this.take(bytes);
  }

  text(): string {
    return String.fromCharCode(...this.take(this.left));
  }

  private take(bytes: number): Uint8Array {
    if (bytes > this.left) throw new Short();
    this.at += bytes;
    return this.bytes.subarray(this.at - bytes, this.at);
  }
}
