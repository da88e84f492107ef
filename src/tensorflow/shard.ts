/**
 * `hvd.shard`: this rank's part of a data set that every rank has. Main thread. Nothing is communicated: all ranks read the same elements in the same order and each keeps its own.
 *
 * Invariants: one element at a time is held, elements of others are disposed of as soon as they are read; what is read is at most one round (one element for each rank) ahead of what is given.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type * as tfd from '@tensorflow/tfjs-data';
import { UsageError } from '../errors';
import { memberSet, type ProcessSet } from '../process_set';
import { checkOptions } from '../submit';
import { loadTf } from './load';

/** Options of {@link shard}. */
export interface ShardOptions {
  /** Whether all ranks see equally many elements: those after the last whole round are given to nobody. Default true. */
  even?: boolean;
  /** The ranks that share the data set out. Default: all. */
  processSet?: ProcessSet;
}

/** Elements of `size` (null: not known, infinite: endless) that the rank at `position` of `count` gets. Pure. */
export function shardSize(size: number | null | undefined, position: number, count: number, even: boolean): number | null {
  if (typeof size !== 'number' || Number.isNaN(size)) return null;
  return even ? Math.floor(size / count) : Math.max(0, Math.ceil((size - position) / count));
}

type Elements<T> = { next(): Promise<{ done?: boolean; value: T }> };
async function* everyNth<T>(elements: Elements<T>, position: number, count: number, even: boolean, discard: (element: T) => void) {
  for (;;) {
    let own: T | undefined;
    let read = 0;
    try {
      for (; read < (even ? count : position + 1); read += 1) {
        const { done, value } = await elements.next();
        if (done) return;
        if (read === position) own = value;
        else discard(value);
      }
      const element = own as T;
      // The caller's from here on.
      own = undefined;
      yield element;
    } finally {
      // The round broke off, at the end of the data or by an error.
      if (own !== undefined) discard(own);
    }
    for (; read < count; read += 1) {
      const { done, value } = await elements.next();
      if (done) return;
      discard(value);
    }
  }
}

/**
 * Every size-th element of `dataset`, from this rank's on. With `even` (default) what does not fill a whole round is left out, so that all ranks take equally many steps. Elements are read as they are
 * asked for, endless data sets too; each iteration begins anew. Every rank gives the same data set in the same order: shuffle before it with a seed that is the same on every rank
 * (`tf.data.array(files).shuffle(1000, '7')`), after it as you like. Before `batch` it shares out samples, after it whole batches.
 * @throws UsageError it is no data set, or an option is wrong; ProcessSetError this rank is not in `processSet`; NotInitializedError
 */
export function shard<T extends tf.TensorContainer>(dataset: tfd.Dataset<T>, options: ShardOptions = {}): tfd.Dataset<T> {
  if (typeof (dataset as Partial<tfd.Dataset<T>> | null)?.iterator !== 'function')
    throw new UsageError(`shard takes a data set (tf.data.array(…)), but was given ${dataset === null ? 'null' : typeof dataset}.`);
  checkOptions('shard', options, ['even', 'processSet']);
  const { even = true, processSet } = options;
  if (typeof even !== 'boolean') throw new UsageError(`shard: even is true or false, but was ${String(even)}.`);
  const set = memberSet('shard', processSet);
  const [position, count] = [set.rank(), set.size()];
  const tfjs = loadTf();
  const discard = (element: T): void => tfjs.dispose(element as Parameters<typeof tfjs.dispose>[0]);
  const part = tfjs.data.generator<T>((async () =>
    everyNth((await dataset.iterator()) as Elements<T>, position, count, even, discard)) as never);
  // What `fitDataset` and `batch` go by; a generator's is not known.
  return Object.assign(part, { size: shardSize(dataset.size, position, count, even) });
}
