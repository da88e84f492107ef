/**
 * The one shared memory of a process, and who owns which part of it.
 *
 * `[0, reservedBytes)` belongs to the communication thread (scratch, fusion, star). Above it the main thread's `Arena` gives out blocks; it is the only allocator and
 * the only one that grows the memory. Growth never moves anything: V8 reserves the addresses of the maximum at once, so every old view stays valid and
 * aliases the new ones. Pages that nobody has touched cost address space only.
 *
 * Invariants: live and free blocks are disjoint and together cover `[reservedBytes, end)`; no two free blocks touch; every block starts and ends
 * on 64 bytes (a cache line, so that two threads do not write to one line, and the alignment of every dtype).
 */
import { arrayTypeOf, type Dtype, type NumericArray } from '../dtype';
import { BugError, HvdError } from '../errors';

export const pageBytes = 65536;
/** 4 GiB: all that wasm32 can address. */
export const maximumPages = 65536;
const leastMaximumPages = 1024;
const alignmentBytes = 64;
const leastGrowthBytes = 16 * 1024 * 1024;

/**
 * A shared memory of one page, which can grow up to `pages` (fewer where the system refuses to reserve as many addresses).
 * @throws HvdError not even 64 MiB can be reserved
 */
export function createMemory(pages = maximumPages): WebAssembly.Memory {
  let refusal: unknown;
  for (let maximum = pages; maximum >= Math.min(pages, leastMaximumPages); maximum = Math.floor(maximum / 2)) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared: true });
    } catch (error) {
      refusal = error;
    }
  }
  throw new HvdError(
    'tried to reserve address space for the shared memory, and the system refused even the smallest size. ' +
      'Raise or remove the limit on virtual memory (`ulimit -v`); V8 reserves about 10 GiB of addresses for each memory, whatever its size.',
    { cause: refusal },
  );
}

/**
 * `bytes` bytes from `byteOffset`, in any thread. A thread hears of another's growth late; a `grow` by nothing makes it look.
 * @throws BugError the range ends beyond the memory
 */
export function bytesOf(memory: WebAssembly.Memory, byteOffset: number, bytes: number): Uint8Array {
  return new Uint8Array(bufferWith(memory, byteOffset + bytes), byteOffset, bytes);
}

/** The memory's buffer, which reaches at least to `end`. @throws BugError it does not */
export function bufferWith(memory: WebAssembly.Memory, end: number): ArrayBufferLike {
  let { buffer } = memory;
  if (buffer.byteLength >= end) return buffer;
  memory.grow(0);
  buffer = memory.buffer;
  if (buffer.byteLength < end)
    throw new BugError(`a range ends at byte ${end}, but the shared memory at ${buffer.byteLength}. Please report it.`);
  return buffer;
}

/**
 * Checks ranges, as often as kernels are called. The memory never shrinks: its length is asked for only when a range goes beyond what was seen. Asking also tells the kernels of this thread of
 * another thread's growth. The check @throws BugError the range ends beyond the memory, or is none
 */
export function rangeCheck(memory: WebAssembly.Memory): (from: number, bytes: number) => void {
  let knownBytes = 0;
  return (from, bytes) => {
    if (!(from >= 0 && bytes >= 0)) throw new BugError(`a kernel was called for ${bytes} bytes at ${from}. Please report it.`);
    if (from + bytes > knownBytes) knownBytes = bufferWith(memory, from + bytes).byteLength;
  };
}

interface Block {
  readonly from: number;
  readonly until: number;
}

/** Main thread only. */
export class Arena {
  readonly #memory: WebAssembly.Memory;
  /** Free blocks by ascending address. */
  readonly #free: Block[] = [];
  /** Live blocks by byte offset, with the bytes that were asked for. */
  readonly #live = new Map<number, Block & { readonly bytes: number }>();
  #end: number;
  #usedBytes = 0;

  /** @throws HvdError the memory cannot hold the reserved bytes */
  constructor(memory: WebAssembly.Memory, reservedBytes: number) {
    this.#memory = memory;
    const from = aligned(reservedBytes);
    this.#end = Math.max(from, memory.buffer.byteLength);
    if (from > memory.buffer.byteLength) this.#end = this.#grow(from - memory.buffer.byteLength, 0);
    if (this.#end > from) this.#free.push({ from, until: this.#end });
  }

  /** Bytes of the live blocks, each rounded up to 64; without the reserved part. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Byte offset of a block of at least `bytes` bytes, 64-aligned, unlike any other live block's (for 0 bytes too). It holds whatever was there before.
   * @throws HvdError the memory is full
   */
  allocate(bytes: number): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new BugError(`allocate(${bytes}): not a number of bytes. Please report it.`);
    const needed = Math.max(alignmentBytes, aligned(bytes));
    const index = this.#bestFit(needed) ?? this.#extend(needed);
    const { from, until } = this.#free[index];
    if (until - from === needed) this.#free.splice(index, 1);
    else this.#free[index] = { from: from + needed, until };
    this.#live.set(from, { from, until: from + needed, bytes });
    this.#usedBytes += needed;
    return from;
  }

  /** Gives a block back; its views must not be used any more. @throws BugError no live block starts there */
  release(byteOffset: number): void {
    const block = this.#live.get(byteOffset);
    if (!block) throw new BugError(`release(${byteOffset}): no live block starts there (released twice?). Please report it.`);
    this.#live.delete(byteOffset);
    this.#usedBytes -= block.until - block.from;
    this.#addFree(block.from, block.until);
  }

  /** The bytes that were asked for, of the live block that starts there; undefined if none does. */
  sizeOf(byteOffset: number): number | undefined {
    return this.#live.get(byteOffset)?.bytes;
  }

  /** Any range of the memory, the reserved part included. @throws BugError it ends beyond the memory */
  bytes(byteOffset: number, bytes: number): Uint8Array {
    return bytesOf(this.#memory, byteOffset, bytes);
  }

  /** As `bytes`, as elements; `byteOffset` is a multiple of the element's size. @throws BugError it ends beyond the memory */
  view(dtype: Dtype, byteOffset: number, elems: number): NumericArray {
    const type = arrayTypeOf(dtype);
    return new type(bufferWith(this.#memory, byteOffset + elems * type.BYTES_PER_ELEMENT), byteOffset, elems);
  }

  /** Index of the smallest free block that holds `needed` bytes, the lowest among equals: large holes stay whole for large tensors. */
  #bestFit(needed: number): number | undefined {
    let best: number | undefined;
    let bestBytes = Number.POSITIVE_INFINITY;
    for (const [index, { from, until }] of this.#free.entries()) {
      const size = until - from;
      if (size === needed) return index;
      if (size > needed && size < bestBytes) [best, bestBytes] = [index, size];
    }
    return best;
  }

  /** Grows until the last free block holds `needed` bytes; its index. */
  #extend(needed: number): number {
    const last = this.#free.at(-1);
    const atEnd = last?.until === this.#end ? last.until - last.from : 0;
    const from = this.#end;
    this.#end = this.#grow(needed - atEnd, needed);
    this.#addFree(from, this.#end);
    return this.#free.length - 1;
  }

  /** Grows by at least `bytes`, for an allocation of `asked` bytes; the new length. In steps, as every growth interrupts all threads. */
  #grow(bytes: number, asked: number): number {
    const pages = Math.ceil(bytes / pageBytes);
    const step = Math.ceil(Math.max(leastGrowthBytes, this.#memory.buffer.byteLength / 4) / pageBytes);
    for (const attempt of step > pages ? [step, pages] : [pages]) {
      try {
        this.#memory.grow(attempt);
        return this.#memory.buffer.byteLength;
      } catch (error) {
        if (!(error instanceof RangeError) && !(error instanceof TypeError)) throw error;
      }
    }
    throw new HvdError(
      `tried to find ${asked || bytes} bytes in the shared memory, which is ${this.#memory.buffer.byteLength} bytes long with ${this.#usedBytes} in use, ` +
        'and it cannot grow that far (4 GiB is the most). Release allocated arrays that are done, or reduce in smaller pieces.',
    );
  }

  #addFree(from: number, until: number): void {
    let index = 0;
    for (let high = this.#free.length; index < high; ) {
      const middle = (index + high) >> 1;
      if (this.#free[middle].from < from) index = middle + 1;
      else high = middle;
    }
    const [before, after] = [this.#free[index - 1], this.#free[index]];
    const joinsBefore = before?.until === from;
    const joinsAfter = after?.from === until;
    const block = { from: joinsBefore ? before.from : from, until: joinsAfter ? after.until : until };
    this.#free.splice(joinsBefore ? index - 1 : index, Number(joinsBefore) + Number(joinsAfter), block);
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / alignmentBytes) * alignmentBytes;
