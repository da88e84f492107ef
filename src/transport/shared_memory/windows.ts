/**
 * Which ranges of the linear memory show memory of other processes, and which of it they may see. Pure.
 *
 *        … | links: RING_BYTES each, as they are made | neighbours' heaps | own heap: a board of counts, then what the main thread's arrays lie in …
 *
 * The ranges are addresses only until something is mapped there. A heap is the first part of what the main thread allocates from; arrays beyond it are staged. Up to eight ranks of a host see each other's
 * heaps, the shorter the more they are: addresses end at 4 GiB. Of more ranks each sees one, that of the first who sends it something: on a ring its left neighbour.
 */
import { PAGE_BYTES } from './pages';
import { RING_BYTES } from './ring';

const MOST_LINKS = 48;
/** For two ranks, three or four, five to eight; beyond, as for two. */
const heapBytesOf = (ranks: number): number => (ranks <= 2 || ranks > MOST_RANKS ? 512 << 20 : ranks <= 4 ? 384 << 20 : 192 << 20);
/** Of a host, that all see each other's heaps. */
export const MOST_RANKS = 8;

export interface Window {
  readonly byteOffset: number;
  readonly bytes: number;
}
export interface Windows {
  readonly links: Window;
  /** One for each heap that can be seen, all as long as the own. */
  readonly neighbours: readonly Window[];
  readonly heap: Window;
}

/** @param byteOffset what lies below belongs to others; a whole page @param ranks on this host */
export function layOutWindows(byteOffset: number, ranks: number): Windows {
  const links = { byteOffset: Math.ceil(byteOffset / PAGE_BYTES) * PAGE_BYTES, bytes: MOST_LINKS * RING_BYTES };
  const bytes = heapBytesOf(ranks);
  const heapAt = (index: number): Window => ({ byteOffset: links.byteOffset + links.bytes + index * bytes, bytes });
  const seen = ranks > MOST_RANKS ? 1 : Math.max(1, ranks - 1);
  return { links, neighbours: Array.from({ length: seen }, (_, index) => heapAt(index)), heap: heapAt(seen) };
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
