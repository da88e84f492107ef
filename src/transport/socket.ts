/** What all kinds of link do with a socket, and how messages about them are put. */
import type { Duplex } from 'node:stream';

/** As it is written in commands: an IPv6 address in brackets. */
export const addressText = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

/** At the beginning of a sentence. */
export const capitalized = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

/**
 * Sends what is queued and then the end of the stream. Resolves when the kernel has all of it (it is delivered even if this process ends then), when the socket is
 * closed (there is nobody to deliver to), or after `timeoutMs`.
 */
export function endWithin(socket: Duplex, timeoutMs: number): Promise<void> {
  if (socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      socket.removeListener('close', done);
      resolve();
    };
    const timer = setTimeout(done, timeoutMs);
    socket.once('close', done);
    socket.end(done);
  });
}
