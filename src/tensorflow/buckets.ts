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
  /** The last element: > 0 after the reduction when a rank has something to tell that does not fit into these variables. Only the last bucket's is used. */
  readonly news: number;
}

/** Elements of a bucket's variables: flags and news lie behind them. */
export const valuesOf = ({ news, slots }: Pick<Bucket, 'news' | 'slots'>): number => news - slots.length;

/** Of most buckets of a large network: enough for the ring's full rate. */
export const BUCKET_BYTES = 4 << 20;
/** Of the bucket that leaves first, soon, and of the one that leaves last, when nothing is left to hide it behind; and of all buckets of a small network. */
export const END_BUCKET_BYTES = 1 << 20;
/** A bucket leaves when its last gradient is known: the larger its share of all, the later, and the more is still under way when backpropagation ends. */
const FEWEST_BUCKETS = 16;
const BYTES_PER_ELEM = 4;

/** What the user wants reduced together: so many groups, or lists of variables (indexes), each of which is a bucket however large it is. */
export type Groups = number | ReadonlyArray<readonly number[]>;

/**
 * In the order in which they leave: backpropagation reaches the last variables first, so from the last to the first, as many as fit into a bucket; one that is larger has a bucket of its own. There is
 * always a bucket, if only for the news.
 * @param sizes elements of each variable, in order
 */
export function makeBuckets(
  sizes: readonly number[],
  groups?: Groups,
  { endBytes = END_BUCKET_BYTES, maxBytes = shareOf(sizes) }: { endBytes?: number; maxBytes?: number } = {},
): Bucket[] {
  const found = typeof groups === 'number' ? equalParts(sizes.length, groups) : grouped(sizes, groups ?? [], endBytes, maxBytes);
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

const shareOf = (sizes: readonly number[]): number => {
  const bytes = sizes.reduce((sum, elems) => sum + elems, 0) * BYTES_PER_ELEM;
  return Math.min(BUCKET_BYTES, Math.max(END_BUCKET_BYTES, bytes / FEWEST_BUCKETS));
};

/** Neighbours, equally many in each part but for one (Horovod's division); fewer parts where there are fewer variables. */
function equalParts(variables: number, count: number): number[][] {
  const parts = Math.min(count, variables);
  const startOf = (part: number): number => part * Math.floor(variables / parts) + Math.min(part, variables % parts);
  return Array.from({ length: parts }, (_, i) => parts - 1 - i).map((part) =>
    Array.from({ length: startOf(part + 1) - startOf(part) }, (_, i) => startOf(part + 1) - 1 - i),
  );
}

/** The lists, and what is in none of them; each can leave when its first variable's gradient has come. */
function grouped(sizes: readonly number[], lists: ReadonlyArray<readonly number[]>, endBytes: number, maxBytes: number): number[][] {
  const found = lists.filter((list) => list.length > 0).map((list) => [...list].sort((a, b) => b - a));
  const taken = new Set(found.flat());
  const others = sizes.flatMap((elems, variable) => (taken.has(variable) ? [] : [{ variable, bytes: elems * BYTES_PER_ELEM }]));
  const beforeLast = firstBeyond(others, endBytes);
  let current: number[] | undefined;
  let left = 0;
  for (const { variable, bytes } of [...others].reverse()) {
    const isLastBucket = variable < beforeLast && current !== undefined && current.at(-1)! >= beforeLast;
    if (!current || isLastBucket || bytes > left) {
      left = current && !isLastBucket ? maxBytes : endBytes;
      current = [];
      found.push(current);
    }
    current.push(variable);
    left -= bytes;
  }
  return found.sort((a, b) => b.at(-1)! - a.at(-1)!);
}

/** The variable at which so many bytes are exceeded; 0: there is none, all are one bucket. */
function firstBeyond(variables: ReadonlyArray<{ readonly variable: number; readonly bytes: number }>, maxBytes: number): number {
  let sum = 0;
  for (const { variable, bytes } of variables) {
    sum += bytes;
    if (sum > maxBytes) return variable;
  }
  return 0;
}
