/**
 * Which ranges of the linear memory show memory of other processes, and which of it they may see. Pure.
 *
 *        … | links: RING_BYTES each, as they are made | a neighbour's heap | own heap: where the main thread's arrays begin …
 *
 * The ranges are addresses only until something is mapped there. A heap is the first part of what the main thread allocates from; arrays beyond it are staged. One neighbour's heap can be seen: that of
 * the left neighbour on the ring; others stage.
 */
import { PAGE_BYTES } from './pages';
import { RING_BYTES } from './ring';

const MOST_LINKS = 48;
const HEAP_BYTES = 512 << 20;

export interface Window {
  readonly byteOffset: number;
  readonly bytes: number;
}
export interface Windows {
  readonly links: Window;
  readonly neighbour: Window;
  readonly heap: Window;
}

/** @param byteOffset what lies below belongs to others; a whole page */
export function layOutWindows(byteOffset: number): Windows {
  const links = { byteOffset: Math.ceil(byteOffset / PAGE_BYTES) * PAGE_BYTES, bytes: MOST_LINKS * RING_BYTES };
  const neighbour = { byteOffset: links.byteOffset + links.bytes, bytes: HEAP_BYTES };
  return { links, neighbour, heap: { byteOffset: neighbour.byteOffset + neighbour.bytes, bytes: HEAP_BYTES } };
}

/** Gives out the ranges of links, each once: a mapping lives as long as the memory. */
export class LinkRanges {
  private used = 0;

  constructor(private readonly links: Window) {}

  /** @returns its byte offset; undefined: all are given out */
  next(): number | undefined {
    if (this.used + RING_BYTES > this.links.bytes) return undefined;
    this.used += RING_BYTES;
    return this.links.byteOffset + this.used - RING_BYTES;
  }
}
