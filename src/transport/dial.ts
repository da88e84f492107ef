/**
 * Connects and proves the job key. Any thread.
 *
 * One deadline over everything: name lookup, connections, handshakes. What is tried again within it: a refused connection where the listener may not be there yet
 * (`awaitListener`: the store; a rank's listener is there before anyone learns its port, so a refusal there means that the rank is gone), a Unix socket at which more wait
 * than its listener's queue takes, and a connection closed in the middle of the handshake, a few times (a listener that strangers besiege closes the oldest). Never after
 * the proof is sent: the listener may have accepted it.
 */
import net from 'node:net';
import { type HvdError, PeerError, RendezvousError, WireError } from '../errors';
import { type Channel, DialerHandshake, type Identity, LAUNCHER_RANK, REPLY_BYTES } from '../wire/handshake';
import { alerts } from './client_hello';
import { addressText } from './socket';
import { connectTls } from './tls';
import { unixPath, unixText } from './unix';

export interface DialOptions {
  identity: Identity;
  to: number;
  /** Of the store: who serves it, for errors. Default: the launcher. */
  server?: string;
  /** How errors call it; default: `rank 1 on host h`. */
  peerName?: string;
  /** Host name of that rank, for errors. */
  hostName?: string;
  host: string;
  port: number;
  /** Of the listener's Unix socket, which is taken instead of its port. Never with TLS. */
  unixName?: string;
  channel: Channel;
  /** Of several of that channel. */
  stream?: number;
  timeoutMs: number;
  awaitListener?: boolean;
  /** Reads what follows the handshake straight into memory of the caller; the socket is then not paused, and emits no data. */
  onread?: { room(): Uint8Array; took(bytes: number): boolean };
  /** Gives up; the promise is rejected with its reason. */
  signal?: AbortSignal;
}

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 500;
const MOST_BROKEN_HANDSHAKES = 5;
/** How OpenSSL says what `alerts.noTls` said. */
const NO_TLS_CODE = 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION';

/**
 * An open link; paused, unless `onread` is given. No byte behind the handshake is lost.
 *
 * @throws PeerError (RendezvousError where it is the store) that says whom, where, what happened
 */
export async function dial(options: DialOptions): Promise<net.Socket> {
  const { to, server = 'the launcher', peerName, hostName, host, port, unixName, channel, timeoutMs, awaitListener, signal } = options;
  const startedMs = performance.now();
  const deadlineMs = startedMs + timeoutMs;
  let refusals = 0;
  let broken = 0;
  for (;;) {
    try {
      return await attempt(options, deadlineMs - performance.now());
    } catch (error) {
      signal?.throwIfAborted();
      const { code } = error as NodeJS.ErrnoException;
      const mayRetry =
        code === 'EAGAIN' ||
        (code === 'ECONNREFUSED' ? awaitListener : error instanceof BrokenHandshake && ++broken < MOST_BROKEN_HANDSHAKES);
      // Not all at the same time: those who were refused together came together.
      const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** refusals++) * (0.5 + Math.random() / 2);
      if (!mayRetry || performance.now() + pauseMs >= deadlineMs) throw failure(error as Error);
      await pause(pauseMs, signal);
    }
  }

  function failure(error: Error): HvdError {
    const isStore = to === LAUNCHER_RANK;
    const whom = isStore ? server : (peerName ?? `rank ${to}${hostName ? ` on host ${hostName}` : ''}`);
    // Of several addresses tried in a row, Node reports a list of errors without a text.
    const how = error.message.replace('\0', '@') || ((error as NodeJS.ErrnoException).code ?? error.name);
    const where = unixName === undefined ? addressText(host, port) : unixText(unixName);
    const afterText = `after ${((performance.now() - startedMs) / 1000).toFixed(1)} of ${(timeoutMs / 1000).toFixed(1)} s`;
    const text = `Connecting to ${whom} at ${where} (${channel}) failed ${afterText}: ${how}.`;
    return isStore ? new RendezvousError(text, { cause: error }) : new PeerError(text, { peer: to, host: hostName, cause: error });
  }
}

/** Closed by the other end before this end had proved anything. */
class BrokenHandshake extends Error {}

function attempt(
  { identity, to, host, port, unixName, channel, stream, onread, signal }: DialOptions,
  timeoutMs: number,
): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const handshake = new DialerHandshake(identity, to, channel, stream);
    const reply = Buffer.alloc(REPLY_BYTES);
    let bytes = 0;
    let isOpen = false;
    const reading = onread && {
      buffer: () => (isOpen ? onread.room() : reply.subarray(bytes % REPLY_BYTES)),
      callback(read: number) {
        if (isOpen) return onread.took(read);
        bytes += read;
        return bytes < REPLY_BYTES || prove();
      },
    };
    const connect = (): net.Socket => {
      if (unixName !== undefined) return net.connect({ path: unixPath(unixName), onread: reading });
      return identity.tls ? connectTls(identity, { host, port, onread: reading }) : net.connect({ host, port, onread: reading });
    };
    const socket = connect();
    const fail = (error: Error): void => {
      settle();
      socket.on('error', () => {});
      socket.destroy();
      reject(error);
    };
    const onTimeout = (): void =>
      fail(new Error(socket.connecting ? 'there was no answer to the connection' : 'connected, but the handshake was not answered'));
    const onError = (error: Error): void => {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (code === NO_TLS_CODE) fail(oneSided('this end has --tls, the other has not'));
      else if (code.startsWith('ERR_SSL_'))
        fail(
          new WireError(`TLS found no secret that both ends have (${code}): the other end did not prove that it holds the key of this job`),
        );
      else if (isReset(error)) onClose();
      else fail(error);
    };
    const onClose = (): void =>
      fail(
        !identity.tls && bytes === alerts.refused.length && alerts.refused.equals(reply.subarray(0, bytes))
          ? oneSided('the other end has --tls, this one has not')
          : new BrokenHandshake('it closed the connection in the handshake: it may belong to another job, generation or version'),
      );
    const onAbort = (): void => fail(signal!.reason as Error);
    const onData = (chunk: Buffer): void => {
      const taken = chunk.copy(reply, bytes);
      bytes += taken;
      if (bytes < REPLY_BYTES || !prove()) return;
      socket.pause();
      if (chunk.length > taken) socket.unshift(chunk.subarray(taken));
    };
    const timer = setTimeout(onTimeout, Math.max(1, timeoutMs));
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.removeListener('error', onError).removeListener('close', onClose).removeListener('data', onData);
    };
    const prove = (): boolean => {
      try {
        socket.write(handshake.prove(reply));
      } catch (error) {
        fail(error as Error);
        return false;
      }
      isOpen = true;
      settle();
      // The 'close' that follows is what callers act on.
      socket.on('error', () => {});
      resolve(socket);
      return true;
    };
    socket.setNoDelay(true);
    socket.on('error', onError).on('close', onClose);
    if (!onread) socket.on('data', onData);
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort);
    const begin = (): void => void socket.write(handshake.begin());
    // While a write waits for TLS, an alert would be the error of that write, without its code.
    if (identity.tls) socket.once('secureConnect', begin);
    else begin();
  });
}

const oneSided = (how: string): WireError => new WireError(`${how}. Start all ranks with --tls (TSRUN_TLS=1), or none`);
const isReset = (error: Error): boolean => ['ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
