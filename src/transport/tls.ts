/**
 * TLS 1.3 between the processes of a job (`--tls`). Any thread.
 *
 * There are no certificates: both ends hold a secret derived from the job key (HKDF, apart from what the handshake's HMACs use), and TLS mixes it with a fresh Diffie–Hellman
 * exchange (PSK with ECDHE), so what was recorded stays closed even to whoever learns the key later. No certificate is trusted, so nobody without the secret can stand between. The
 * challenge–response of the job runs inside.
 *
 * Invariant: OpenSSL sees no byte of a connection that does not begin as a dialer of this package does (client_hello.ts).
 */
import { createHash, hkdfSync } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { type Identity, MAGIC } from '../wire/handshake';
import { alerts, beginsAsTls, judgeHello, MOST_HELLO_BYTES } from './client_hello';

/** OpenSSL ties external secrets to SHA-256. `PSK` names no suite of TLS 1.3, but without it Node would not ask for one. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:PSK';
const PSK_NAME = 'khorovod';
const versions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;

function secretOf({ key, jobId }: Identity): Buffer {
  const salt = createHash('sha256').update(jobId).digest();
  return Buffer.from(hkdfSync('sha256', key, salt, 'khorovod tls', 32));
}

/** Connects; 'secureConnect' once the other end has shown that it holds the secret. */
export function connectTls(identity: Identity, options: net.TcpNetConnectOpts): tls.TLSSocket {
  const psk = secretOf(identity);
  return tls.connect({
    ...(options as tls.ConnectionOptions),
    ...versions,
    ciphers: CIPHERS,
    pskCallback: () => ({ psk, identity: PSK_NAME }),
    ca: [],
    checkServerIdentity: (_host, certificate) =>
      Object.keys(certificate).length === 0 ? undefined : new Error('it showed a certificate instead of the secret of the job'),
  });
}

/**
 * The listener's end of a connection: `onBegun` gets it once the first bytes are those of a dialer of this package. Others are refused before OpenSSL holds anything for them;
 * one that says too little is left to the caller's deadline.
 */
export function acceptTls(identity: Identity, socket: net.Socket, onBegun: (secured: tls.TLSSocket) => void): void {
  const hello = Buffer.alloc(MOST_HELLO_BYTES);
  let bytes = 0;
  const onData = (chunk: Buffer): void => {
    const taken = chunk.copy(hello, bytes);
    bytes += taken;
    const verdict = taken < chunk.length ? 'foreign' : judgeHello(hello.subarray(0, bytes), PSK_NAME, MAGIC);
    if (verdict === 'partial') return;
    socket.removeListener('data', onData);
    socket.pause();
    if (verdict === 'ours') {
      socket.unshift(hello.subarray(0, bytes));
      onBegun(secure(identity, socket));
      return;
    }
    // A rank without --tls learns from the alert what is wrong; so does other people's TLS.
    if (verdict === 'plain' || beginsAsTls(hello)) closeWithAlert(socket, alerts.refused);
    else socket.destroy();
  };
  socket.on('data', onData);
}

/** Says one alert and closes. */
export function closeWithAlert(socket: net.Socket, alert: Uint8Array): void {
  socket.end(alert, () => socket.destroy());
}

/** OpenSSL's tables, for all connections of this thread that are accepted: they are the same, and not small. */
let accepting: tls.SecureContext | undefined;

function secure(identity: Identity, socket: net.Socket): tls.TLSSocket {
  const psk = secretOf(identity);
  accepting ??= tls.createSecureContext({ ...versions, ciphers: CIPHERS });
  const secured = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext: accepting,
    // Not in Node's types for a socket, only for a server.
    ...({ pskCallback: (_socket: tls.TLSSocket, name: string) => (name === PSK_NAME ? psk : null) } as object),
  });
  // The 'close' that follows is what counts.
  secured.on('error', () => {});
  // Without a tls.Server nobody else acts on a handshake that fails.
  secured.on('_tlsError', () => secured.destroy());
  secured.once('close', () => socket.destroy());
  return secured;
}
