/**
 * Many tensors out of a GPU's memory at once, by way of tfjs-node: laid end to end on the GPU, then read by one copy. Main thread.
 *
 * Each read of tfjs-node's waits until the GPU has done all it was given; with one read a tensor it would stand still as often.
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { NumericArray } from '../../../dtype';
import type { Tf } from '../../load';
import type { BulkReader } from '../../tensors';

/** What is laid end to end needs the same again on the GPU, for a moment. */
const MOST_ELEMS = 16 << 20;

export function bulkReader(tfjs: Tf): BulkReader {
  return {
    readAllSync(tensors, targets) {
      for (const run of runsOf(tensors)) readRun(tfjs, tensors.slice(...run), targets.slice(...run));
    },
  };
}

/** Stretches of neighbours with one dtype that are read together: from, until. */
export function runsOf(
  tensors: ReadonlyArray<{ readonly size: number; readonly dtype: string }>,
  most = MOST_ELEMS,
): Array<[number, number]> {
  const runs: Array<[number, number]> = [];
  let elems = 0;
  for (const [i, { size, dtype }] of tensors.entries()) {
    const last = runs.at(-1);
    if (last && elems + size <= most && tensors[last[0]]!.dtype === dtype) {
      last[1] = i + 1;
      elems += size;
    } else {
      runs.push([i, i + 1]);
      elems = size;
    }
  }
  return runs;
}

function readRun(tfjs: Tf, tensors: readonly tf.Tensor[], targets: readonly NumericArray[]): void {
  if (tensors.length === 1) {
    (targets[0] as Float32Array).set(tensors[0]!.dataSync() as Float32Array);
    return;
  }
  const values = tfjs.tidy(() =>
    tfjs.concat(tensors.map((tensor) => tfjs.reshape(tensor, [-1])) as tf.Tensor1D[]).dataSync(),
  ) as Float32Array;
  let at = 0;
  for (const [i, { size }] of tensors.entries()) {
    (targets[i] as Float32Array).set(values.subarray(at, at + size));
    at += size;
  }
}
