/** What this rank shares with its neighbours on the host: its heap, the ranges its links are mapped in, and how bytes get there. Communication thread; one a memory. */
import { BugError } from '../../errors';
import { bytesOf } from '../../memory/arena';
import type { Kernels } from '../../memory/kernels';
import { BOARD_BYTES, Board } from './board';
import { isRunning, SharedPages } from './pages';
import { type Crowd, Poller } from './poller';
import { RING_BYTES, type RingWriter } from './ring';
import { LinkRanges, type Windows } from './windows';

/** A ring as it lies in this memory. */
export interface Place {
  readonly byteOffset: number;
  readonly words: Int32Array;
}
/** How another process finds a heap. */
export interface HeapName {
  readonly fd: number;
  readonly bytes: number;
}

/** A visit takes a millisecond; who does not end one in so long is stopped. */
const WAIT_MS = 1000;

export class LocalMemory {
  readonly poller: Poller;
  private readonly ranges: LinkRanges;
  private readonly ownBuffers = new WeakSet<ArrayBufferLike>();
  /** The one of those that was asked about last. */
  private lastOwn?: ArrayBufferLike;
  /** By rank: where its heap is seen. */
  private readonly seen = new Map<number, number>();
  private heapFd?: number;

  private constructor(
    private readonly memory: WebAssembly.Memory,
    private readonly kernels: Kernels,
    private readonly windows: Windows,
    private readonly pages: SharedPages,
    crowd: Crowd,
  ) {
    this.ranges = new LinkRanges(windows.links);
    this.poller = new Poller(() => pages.yieldCore(), crowd);
    this.heapFd = pages.create(windows.heap.byteOffset, windows.heap.bytes);
  }

  /** Before anything lies on the heap. @throws HvdError why memory cannot be shared here */
  static open(memory: WebAssembly.Memory, kernels: Kernels, windows: Windows, crowd: Crowd): LocalMemory {
    return new LocalMemory(memory, kernels, windows, SharedPages.of(memory), crowd);
  }

  get heap(): HeapName | undefined {
    return this.heapFd === undefined ? undefined : { fd: this.heapFd, bytes: this.windows.heap.bytes };
  }

  /** @throws HvdError no range is left, or the system refuses. `closeRing` once the other side has mapped it */
  makeRing(): Place & { readonly fd: number } {
    const byteOffset = this.range();
    return { fd: this.pages.create(byteOffset, RING_BYTES), ...this.placeAt(byteOffset) };
  }
  closeRing(fd: number): void {
    this.pages.close(fd);
  }
  /** @throws Error as `makeRing`, or the other process is gone */
  openRing(pid: number, fd: number): Place {
    const byteOffset = this.range();
    this.pages.open(pid, fd, byteOffset, RING_BYTES);
    return this.placeAt(byteOffset);
  }
  /** @returns whether that rank's heap is seen from now on */
  openHeap(rank: number, pid: number, { fd, bytes }: HeapName): boolean {
    const window = this.windows.neighbours[this.seen.size];
    if (this.seen.has(rank) || bytes !== window?.bytes) return this.seen.has(rank);
    try {
      this.pages.open(pid, fd, window.byteOffset, bytes);
      this.seen.set(rank, window.byteOffset);
      return true;
    } catch {
      return false;
    }
  }

  /** Where that rank's heap is seen; undefined: it is not. */
  heapOf(rank: number): number | undefined {
    return this.seen.get(rank);
  }

  /** The board of that rank's heap; undefined: of the own. @throws BugError it is not seen */
  boardOf(rank: number | undefined): Board {
    const byteOffset = rank === undefined ? this.windows.heap.byteOffset : this.seen.get(rank);
    if (byteOffset === undefined) throw new BugError(`The heap of rank ${rank} is not seen. Please report it.`);
    const { buffer } = bytesOf(this.memory, byteOffset, BOARD_BYTES);
    return new Board(new Int32Array(buffer, byteOffset, BOARD_BYTES / 4));
  }

  /** Waits until that process is no longer inside this rank's heap, `WAIT_MS` at most. @returns whether it is out, or gone */
  awaitLeft(ring: RingWriter): boolean {
    const endMs = performance.now() + WAIT_MS;
    for (let pid = ring.visitor; pid !== 0; pid = ring.visitor) {
      if (!isRunning(pid)) return true;
      if (performance.now() > endMs) return false;
      this.pages.yieldCore();
    }
    return true;
  }

  /** @returns where on the heap these bytes lie; undefined: not there */
  onHeap(bytes: Uint8Array): number | undefined {
    if (!this.isOwn(bytes)) return undefined;
    const at = bytes.byteOffset - this.windows.heap.byteOffset;
    return at >= 0 && at + bytes.length <= this.windows.heap.bytes ? at : undefined;
  }

  copyIn(byteOffset: number, bytes: Uint8Array): void {
    if (this.isOwn(bytes)) this.kernels.copy(byteOffset, bytes.byteOffset, bytes.length);
    else bytesOf(this.memory, byteOffset, bytes.length).set(bytes);
  }
  copyOut(into: Uint8Array, byteOffset: number): void {
    if (this.isOwn(into)) this.kernels.copy(into.byteOffset, byteOffset, into.length);
    else into.set(bytesOf(this.memory, byteOffset, into.length));
  }

  /** What is mapped stays so as long as somebody sees it. */
  close(): void {
    if (this.heapFd !== undefined) this.pages.close(this.heapFd);
    this.heapFd = undefined;
  }

  private range(): number {
    const found = this.ranges.next();
    if (found === undefined) throw new Error('no range of memory is left for another link');
    return found;
  }
  private placeAt(byteOffset: number): Place {
    const { buffer } = bytesOf(this.memory, byteOffset, RING_BYTES);
    return { byteOffset, words: new Int32Array(buffer, byteOffset, RING_BYTES / 4) };
  }
  /** A memory that grows has a new buffer each time; views on old ones are as good. */
  private isOwn({ buffer }: Uint8Array): boolean {
    if (buffer === this.lastOwn) return true;
    if (buffer === this.memory.buffer) this.ownBuffers.add(buffer);
    else if (!this.ownBuffers.has(buffer)) return false;
    this.lastOwn = buffer;
    return true;
  }
}
