/** The memory of a parameter server: what it holds of all optimizers, and the gradients that have come. A server's communication thread; like the workers' it may grow to 4 GiB. */
import { Arena, createMemory } from '../memory/arena';
import { type Kernels, makeKernels } from '../memory/kernels';

/** Where a gradient is received. */
export interface Room {
  readonly byteOffset: number;
  readonly bytes: number;
  /** It is the sum itself: nothing is to be added, nothing to be given back. */
  readonly isSum: boolean;
  /** It counts against `spareBytes`. */
  readonly isSpare: boolean;
}

export class ServerMemory {
  readonly memory = createMemory();
  /** Nothing lies at address 0: kernels are never given a null pointer. */
  readonly arena = new Arena(this.memory, 64);
  readonly kernels: Kernels = makeKernels(this.memory);
  /** What synchronous pushes may take that wait for their turn. */
  spareBytes = 256 << 20;

  /** @throws HvdError the memory is full */
  room(bytes: number, isSpare: boolean): Room {
    const byteOffset = this.arena.allocate(bytes);
    if (isSpare) this.spareBytes -= bytes;
    return { byteOffset, bytes, isSum: false, isSpare };
  }
  release(room: Room): void {
    if (room.isSpare) this.spareBytes += room.bytes;
    if (!room.isSum) this.arena.release(room.byteOffset);
  }
  bytesOf(room: Room): Uint8Array {
    return this.arena.bytes(room.byteOffset, room.bytes);
  }
}
