/**
 * Which gradients are reduced together. Pure.
 *
 * Decided by the order and the sizes of the variables alone, never by timing or by which gradients are there: the same job fuses the same way in every run and on every rank, so its
 * bits repeat. A bucket is one block of float32: its variables' elements one behind the other, then one flag a variable (1: this rank has a gradient), then the news flag.
 */
export interface Slot {
  /** Index among the variables. */
  readonly variable: number;
  /** First element in the bucket. */
  readonly from: number;
  readonly elems: number;
  /** The flag's element. */
  readonly flag: number;
}
export interface Bucket {
  readonly slots: readonly Slot[];
  /** Values and flags. */
  readonly elems: number;
  /** The last element: > 0 after the reduction when a rank has something to tell that does not fit into these variables. Only the first bucket's is used. */
  readonly news: number;
}

/**
 * 16 MiB: large enough for the ring's full rate, small enough that the first bucket travels while the next is filled.
 */
export const BUCKET_BYTES = 16 << 20;
const BYTES_PER_ELEM = 4;

/** What the user wants reduced together: so many groups, or lists of variables (indexes), each of which is a bucket however large it is. */
export type Groups = number | ReadonlyArray<readonly number[]>;

/**
 * Variables in order, as many as fit into a bucket; one that is larger has a bucket of its own. There is always a bucket, if only for the news.
 * @param sizes elements of each variable, in order
 */
export function makeBuckets(sizes: readonly number[], groups?: Groups, maxBytes: number = BUCKET_BYTES): Bucket[] {
  const found = typeof groups === 'number' ? equalParts(sizes.length, groups) : grouped(sizes, groups ?? [], maxBytes);
  return (found.length > 0 ? found : [[]]).map((variables) => {
    const values = variables.reduce((sum, variable) => sum + sizes[variable]!, 0);
    let from = 0;
    const slots = variables.map((variable, i) => {
      const slot = { variable, from, elems: sizes[variable]!, flag: values + i };
      from += slot.elems;
      return slot;
    });
    return { slots, elems: values + variables.length + 1, news: values + variables.length };
  });
}

/** Neighbours, equally many in each part but for one (Horovod's division); fewer parts where there are fewer variables. */
function equalParts(variables: number, count: number): number[][] {
  const parts = Math.min(count, variables);
  const startOf = (part: number): number => part * Math.floor(variables / parts) + Math.min(part, variables % parts);
  return Array.from({ length: parts }, (_, part) => Array.from({ length: startOf(part + 1) - startOf(part) }, (_, i) => startOf(part) + i));
}

/** The lists, then what is in none of them; in the order of their first variables. */
function grouped(sizes: readonly number[], lists: ReadonlyArray<readonly number[]>, maxBytes: number): number[][] {
  const found = lists.filter((list) => list.length > 0).map((list) => [...list].sort((a, b) => a - b));
  const taken = new Set(found.flat());
  let current: number[] | undefined;
  let bytes = 0;
  for (const [variable, elems] of sizes.entries()) {
    if (taken.has(variable)) continue;
    if (!current || bytes + elems * BYTES_PER_ELEM > maxBytes) {
      current = [];
      found.push(current);
      bytes = 0;
    }
    current.push(variable);
    bytes += elems * BYTES_PER_ELEM;
  }
  return found.sort(([a], [b]) => a! - b!);
}
