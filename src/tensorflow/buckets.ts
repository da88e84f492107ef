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

/**
 * Variables in order, as many as fit into a bucket; one that is larger has a bucket of its own. There is always a bucket, if only for the news.
 * @param sizes elements of each variable, in order
 */
export function makeBuckets(sizes: readonly number[], maxBytes: number = BUCKET_BYTES): Bucket[] {
  const groups: number[][] = [[]];
  let bytes = 0;
  for (const [variable, elems] of sizes.entries()) {
    if (groups.at(-1)!.length > 0 && bytes + elems * BYTES_PER_ELEM > maxBytes) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)!.push(variable);
    bytes += elems * BYTES_PER_ELEM;
  }
  return groups.map((variables) => {
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
