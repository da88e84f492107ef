/** A range of a·bᵀ where a has few rows, by rows of b. Pure but for the heap; main thread and helpers. */
import { dividedKernel } from './divided';
import { FLOAT_BYTES } from './floats';
import { type MatMulName, matMulSources } from './matmul_source';

/** A cache line of the result: two threads never write to one. */
const GROUP = 16;
/** Products of numbers; fewer take less time than waking a thread. */
const LEAST_WORK = 1 << 20;

/** Groups of rows of b. */
export const productUnits = (columns: number): number => Math.ceil(columns / GROUP);
export const isProductDivided = (rows: number, depth: number, columns: number): boolean => rows * depth * columns >= LEAST_WORK;

/** c [rows, columns] = a [rows, depth] · b [columns, depth]ᵀ. */
export const transposedProduct = dividedKernel<'c' | 'a' | 'b' | 'rows' | 'depth' | 'columns', MatMulName>(
  ['c', 'a', 'b', 'rows', 'depth', 'columns'],
  matMulSources,
  (functions, { c, a, b, rows, depth, columns }, { first, past }) => {
    const until = Math.min(columns, past * GROUP);
    const depthBytes = depth * FLOAT_BYTES;
    for (let column = first * GROUP; column < until; ) {
      const dot = until - column >= 4 ? functions.dotFourRows : functions.dotRow;
      dot(c + column * FLOAT_BYTES, columns * FLOAT_BYTES, a, depthBytes, b + column * depthBytes, depthBytes, rows, depth);
      column += dot === functions.dotFourRows ? 4 : 1;
    }
  },
);
