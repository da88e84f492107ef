/**
 * TLS 1.3 between the processes of a job (`--tls`). Any thread.
 *
 * There are no certificates: both ends hold a secret derived from the job key (HKDF, apart from what the handshake's HMACs use), and TLS mixes it with a fresh Diffie–Hellman
 * exchange (PSK with ECDHE), so what was recorded stays closed even to whoever learns the key later. No certificate is trusted, so nobody without the secret can stand between. The
 * challenge–response of the job runs inside.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import type { Identity } from '../wire/handshake';

/** OpenSSL ties external secrets to SHA-256. `PSK` names no suite of TLS 1.3, but without it Node would not ask for one. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:PSK';
const PSK_NAME = 'khorovod';
const versions = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;

function secretOf({ key, jobId }: Identity): Buffer {
  const salt = createHash('sha256').update(jobId).digest();
  return Buffer.from(hkdfSync('sha256', key, salt, 'khorovod tls', 32));
}

/** Connects; what is written meanwhile is sent once the other end has shown that it holds the secret. */
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

/** The listener's end of a connection. */
export function acceptTls(identity: Identity, socket: net.Socket): tls.TLSSocket {
  const psk = secretOf(identity);
  // The end of the connection inside is what counts.
  socket.on('error', () => {});
  const secured = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext: tls.createSecureContext({ ...versions, ciphers: CIPHERS }),
    // Not in Node's types for a socket, only for a server.
    ...({ pskCallback: (_socket: tls.TLSSocket, name: string) => (name === PSK_NAME ? psk : null) } as object),
  });
  // Without a tls.Server nobody else acts on a handshake that fails.
  secured.on('_tlsError', () => secured.destroy());
  secured.once('close', () => socket.destroy());
  return secured;
}
