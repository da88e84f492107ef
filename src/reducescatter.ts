/** reducescatter: a sum of which every rank keeps a part of its own. Main thread. */
import { rangesOf, rowsOfParts } from './collective/plan';
import { elemsOf } from './dtype';
import { UsageError } from './errors';
import { completedHandle, type Handle } from './handle';
import { checkedReduction, type ReduceOptions } from './hvd';
import { memberSet } from './process_set';
import { checkOptions, forEachPart, launch, run, type Submitted, single } from './submit';
import { make, type Value } from './values';

function scattering<T extends Value>(values: readonly T[], options: ReduceOptions, isGrouped: boolean): Submitted<T[]> {
  const kind = 'reducescatter';
  checkOptions(kind, options, ['name', 'processSet', 'op', 'prescaleFactor', 'postscaleFactor', 'compression', 'inPlace']);
  if (options.inPlace)
    throw new UsageError('reducescatter: the result is shorter than the argument and cannot lie in its place. Leave inPlace out.');
  const set = memberSet(kind, options.processSet);
  const [position, members] = [set.rank(), set.size()];
  const { described, fields } = checkedReduction(kind, values, options);
  for (const { shape } of described) {
    if (shape.length === 0) throw new UsageError('reducescatter: a scalar has no axis 0 to be split along. Reshape it to [1] first.');
  }
  return {
    kind,
    values: described,
    fields,
    options,
    isGrouped,
    finish(block) {
      const results: Value[] = [];
      forEachPart(described, block.byteOffset, (one, at) => {
        const [rows, ...axes] = one.shape as [number, ...number[]];
        const own = rangesOf(rowsOfParts(rows, members))[position]!;
        const rowElems = elemsOf(axes);
        const reduced = block.view(one.dtype, at, elemsOf(one.shape)).subarray(own.from * rowElems, own.until * rowElems);
        results.push(make(one, reduced, [own.until - own.from, ...axes]));
      });
      return results as T[];
    },
  };
}

/**
 * post · (1/n, for an average) · sum over the ranks of (pre · x), of which rank i keeps its part of axis 0; the first `axis0 % size` ranks hold one row more (with fewer rows than
 * ranks the last ones hold none). Same type and dtype; all ranks give one shape.
 * @throws UsageError an op other than sum and average; a scalar; bool; NotInitializedError before `init()`; DuplicateNameError the name is in flight on this rank; ProcessSetError this rank is outside the set; MismatchError the ranks' calls differ; PeerError, StallError, ShutdownError a rank is gone, does not come, or has left
 */
export function reducescatter<T extends Value>(value: T, options: ReduceOptions = {}): T {
  return run(single(scattering([value], options, false)));
}
/** {@link reducescatter} without waiting. @throws at the call what reducescatter throws there; the handle fails with the rest */
export function reducescatterAsync<T extends Value>(value: T, options: ReduceOptions = {}): Handle<T> {
  return launch(single(scattering([value], options, false)));
}
/** {@link reducescatter} of several values: one negotiation, one operation; each is split by itself. All of one dtype; an empty list gives an empty list. @throws UsageError the dtypes differ; what reducescatter throws */
export function groupedReducescatter<T extends Value>(values: T[], options: ReduceOptions = {}): T[] {
  const submitted = scattering(values, options, true);
  return values.length === 0 ? [] : run(submitted);
}
/** {@link groupedReducescatter} without waiting. @throws at the call what groupedReducescatter throws there; the handle fails with the rest */
export function groupedReducescatterAsync<T extends Value>(values: T[], options: ReduceOptions = {}): Handle<T[]> {
  const submitted = scattering(values, options, true);
  return values.length === 0 ? completedHandle(options.name ?? 'reducescatter.empty', []) : launch(submitted);
}
