/**
 * A data link of several TCP streams (`--streams`), as its receiver and as its sender have it. Communication thread.
 *
 * A long message is cut into parts beside each other, one a stream, and each part is received straight into its place. Which part goes where follows from the message's length and the number of streams
 * alone, so both ends agree without a word, and messages keep their order on each stream. Invariant: a message is complete when all its parts are; two messages may be complete in another order than
 * they were sent in, as a short one waits for the first stream only.
 */
import type { Socket } from 'node:net';
import type { HvdError } from '../errors';
import type { InLink, Receive } from './in_link';
import type { OutLink } from './out_link';

/** A shorter write does not reach a socket's rate. */
export const LEAST_PART_BYTES = 64 << 10;
/** Parts keep the alignment of the whole. */
const LINE_BYTES = 64;

/** One part a stream, from the first stream on; those of a short message are fewer. */
export function partsOf(bytes: Uint8Array, streams: number): Uint8Array[] {
  const parts = Math.max(1, Math.min(streams, Math.floor(bytes.length / LEAST_PART_BYTES)));
  const partBytes = Math.ceil(bytes.length / parts / LINE_BYTES) * LINE_BYTES;
  return Array.from({ length: parts }, (_, i) => bytes.subarray(i * partBytes, (i + 1) * partBytes));
}

export class StreamsInLink {
  /** @param links one a stream */
  constructor(private readonly links: readonly InLink[]) {}

  receive({ tag, into, resolve, reject }: Receive): void {
    const parts = partsOf(into, this.links.length);
    let due = parts.length;
    const take = (): void => {
      if (--due === 0) resolve();
    };
    for (const [i, part] of parts.entries()) this.links[i]!.receive({ tag, into: part, resolve: take, reject });
  }

  destroy(cause: HvdError): void {
    for (const link of this.links) link.destroy(cause);
  }
}

export class StreamsOutLink {
  /** @param links one a stream */
  constructor(private readonly links: readonly OutLink[]) {}

  attach(socket: Socket, stream: number): void {
    const link = this.links[stream];
    if (link) link.attach(socket);
    else socket.destroy();
  }

  async send(tag: number, bytes: Uint8Array): Promise<void> {
    await Promise.all(partsOf(bytes, this.links.length).map((part, i) => this.links[i]!.send(tag, part)));
  }

  async end(timeoutMs: number): Promise<void> {
    await Promise.all(this.links.map((link) => link.end(timeoutMs)));
  }

  destroy(cause: HvdError): void {
    for (const link of this.links) link.destroy(cause);
  }
}
