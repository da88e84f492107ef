/**
 * Transpositions on the wasm backend. Main thread. Whatever exchanges two groups of neighbouring axes is the transposition of a matrix, or of many of one shape; other orders stay with the stock kernel.
 */

import type { Kernel, KernelMaker, TensorInfo, WasmBackend } from './kernel';
import { FLOAT_BYTES } from './simd/floats';
import { addressOf, heapFunctions } from './simd/heap';
import { type TransposeName, transposeSources } from './simd/transpose_source';

/** Of the source; they fill a cache line of the result. */
const ROWS_AT_ONCE = 16;
const functionsOf = heapFunctions<TransposeName>(transposeSources);

/** Matrices of 32-bit elements, [count, rows, columns] → [count, columns, rows], at those addresses. */
export function transposeMatrices(backend: WasmBackend, to: number, from: number, { count, rows, columns }: Matrices): void {
  const { transposeRows } = functionsOf(backend);
  const bytes = rows * columns * FLOAT_BYTES;
  for (let i = 0; i < count; i += 1)
    for (let row = 0; row < rows; row += ROWS_AT_ONCE)
      transposeRows(
        to + i * bytes + row * FLOAT_BYTES,
        rows * FLOAT_BYTES,
        from + i * bytes + row * columns * FLOAT_BYTES,
        columns * FLOAT_BYTES,
        Math.min(ROWS_AT_ONCE, rows - row),
        columns,
      );
}

export interface Matrices {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

/** Undefined where the permutation is none of [batch, rows, columns] → [batch, columns, rows], each a group of neighbouring axes. */
export function matricesOf(shape: readonly number[], permutation: readonly number[]): Matrices | undefined {
  const axes = permutation.filter((axis) => shape[axis] !== 1);
  const sorted = [...axes].sort((a, b) => a - b);
  let kept = 0;
  while (kept < axes.length && axes[kept] === sorted[kept]) kept += 1;
  const [moved, original] = [axes.slice(kept), sorted.slice(kept)];
  if (!moved.length) return undefined;
  // The groups are exchanged where the one order is the other, turned.
  const split = moved.indexOf(original[0]!);
  const turned = [...moved.slice(split), ...moved.slice(0, split)];
  if (!turned.every((axis, i) => axis === original[i])) return undefined;
  const elems = (some: readonly number[]): number => some.reduce((product, axis) => product * shape[axis]!, 1);
  return { count: elems(sorted.slice(0, kept)), rows: elems(moved.slice(split)), columns: elems(moved.slice(0, split)) };
}

export const transpose: KernelMaker = (_tfjs, stock): Kernel => {
  return (call) => {
    const { x } = call.inputs as { x: TensorInfo };
    const permutation = call.attrs.perm as number[];
    const matrices = x.dtype === 'float32' || x.dtype === 'int32' ? matricesOf(x.shape, permutation) : undefined;
    if (!matrices) return stock!(call);
    const output = call.backend.makeOutput(
      permutation.map((axis) => x.shape[axis]!),
      x.dtype,
    );
    transposeMatrices(call.backend, addressOf(call.backend, output), addressOf(call.backend, x), matrices);
    return output;
  };
};
