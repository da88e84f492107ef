/** What a sender says first on a link of channel 'shm', and the one byte that answers it. Pure. */

import type { HeapName } from './local_memory';
import { TOKEN_BYTES } from './ring';

export interface Offer {
  readonly pid: number;
  readonly ringFd: number;
  readonly token: Uint8Array;
  readonly heap?: HeapName;
}

const MAGIC = 0x4b48534d;
export const OFFER_BYTES = 64;
/** Of the receiver: it sees ring and heap; the ring only; nothing, and will dial a link of channel 'data'. Afterwards: a bell. */
export const ANSWERS = { heap: 0x48, ring: 0x52, none: 0x4e } as const;
/** Either side: look at the ring. */
export const BELL = Buffer.from([0x2e]);

export function writeOffer({ pid, ringFd, token, heap }: Offer): Buffer {
  const bytes = Buffer.alloc(OFFER_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(pid, 4);
  bytes.writeInt32LE(ringFd, 8);
  bytes.writeInt32LE(heap?.fd ?? -1, 12);
  bytes.writeUInt32LE(heap?.bytes ?? 0, 16);
  bytes.set(token, 32);
  return bytes;
}

/** undefined: it is none. */
export function readOffer(bytes: Buffer): Offer | undefined {
  if (bytes.length !== OFFER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  const heapFd = bytes.readInt32LE(12);
  return {
    pid: bytes.readUInt32LE(4),
    ringFd: bytes.readInt32LE(8),
    token: bytes.subarray(32, 32 + TOKEN_BYTES),
    heap: heapFd < 0 ? undefined : { fd: heapFd, bytes: bytes.readUInt32LE(16) },
  };
}
