/**
 * alltoall: rows of one tensor on every rank, for every rank. Main thread.
 *
 * The splits are part of the call that the ranks negotiate: they tell the receivers how much is coming. Another split is another call, sent in full again.
 */
import { UsageError } from './errors';
import type { Handle } from './handle';
import { memberSet } from './process_set';
import { type CollectiveOptions, checkOptions, launch, run, type Submitted } from './submit';
import { describe, make, type Value, viewOf } from './values';

/** The result counts them in an Int32Array. */
const mostRows = 2 ** 31 - 1;

/** What {@link alltoall} gives. */
export interface Exchanged<T> {
  /** The rows from rank 0, from rank 1, …; of the type and dtype of the argument. */
  output: T;
  /** How many of them came from each rank. */
  receivedSplits: Int32Array;
}

function exchange<T extends Value>(
  value: T,
  splits: number[] | Int32Array | null | undefined,
  options: CollectiveOptions,
): Submitted<Exchanged<T>> {
  const kind = 'alltoall';
  checkOptions(kind, options, ['name', 'processSet']);
  const size = memberSet(kind, options.processSet).size();
  const described = describe(value, kind);
  const [rows, ...axes] = described.shape;
  if (rows === undefined) throw new UsageError('alltoall: a scalar has no axis 0 to be split along. Reshape it to [1] first.');
  return {
    kind,
    values: [described],
    fields: { splits: splits === null || splits === undefined ? equalSplits(rows, size) : checkedSplits(splits, rows, size) },
    options,
    finish(_block, outcome) {
      const receivedSplits = Int32Array.from(outcome.rows![0]!);
      const received = receivedSplits.reduce((sum, count) => sum + count, 0);
      return { output: make(described, viewOf(described.dtype, outcome.outputs![0]!), [received, ...axes], true) as T, receivedSplits };
    },
  };
}

function equalSplits(rows: number, size: number): number[] {
  if (rows % size !== 0)
    throw new UsageError(`alltoall: ${rows} rows cannot be split equally among ${size} ranks. Say with splits how many go to each rank.`);
  return new Array<number>(size).fill(rows / size);
}

function checkedSplits(splits: number[] | Int32Array, rows: number, size: number): number[] {
  if (!Array.isArray(splits) && !(ArrayBuffer.isView(splits) && Object.prototype.toString.call(splits) === '[object Int32Array]'))
    throw new UsageError('alltoall: splits is an array of numbers or an Int32Array, or null for equal parts.');
  const list = Array.from(splits);
  if (list.length !== size) throw new UsageError(`alltoall: splits has one entry for each of the ${size} ranks, but has ${list.length}.`);
  const wrong = list.findIndex((count) => !Number.isInteger(count) || count < 0 || count > mostRows);
  if (wrong >= 0) throw new UsageError(`alltoall: each split is a whole number from 0 to ${mostRows}, but one is ${String(list[wrong])}.`);
  const sum = list.reduce((total, count) => total + count, 0);
  if (sum > rows) throw new UsageError(`alltoall: the splits add up to ${sum} rows, but the value has only ${rows}.`);
  return list;
}

/**
 * `splits[i]` rows of axis 0 go to rank i, one behind the other; what is left behind them stays here. Without splits every rank gets equally many. The output is what came from all ranks along axis 0, in rank order; axis 0 may differ
 * between the ranks, before and after (0 allowed), the other axes must agree.
 * @throws UsageError splits are not one whole number >= 0 a rank, or add up to more than axis 0; axis 0 does not divide and there are none; a scalar; NotInitializedError before `init()`; DuplicateNameError the name is in flight on this rank; ProcessSetError this rank is outside the set; MismatchError the ranks' calls differ; PeerError, StallError, ShutdownError a rank is gone, does not come, or has left
 */
export function alltoall<T extends Value>(value: T, splits?: number[] | Int32Array | null, options: CollectiveOptions = {}): Exchanged<T> {
  return run(exchange(value, splits, options));
}
/** {@link alltoall} without waiting. @throws at the call what alltoall throws there; the handle fails with the rest */
export function alltoallAsync<T extends Value>(
  value: T,
  splits?: number[] | Int32Array | null,
  options: CollectiveOptions = {},
): Handle<Exchanged<T>> {
  return launch(exchange(value, splits, options));
}
