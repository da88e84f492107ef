/** Ranges of single passes over tensors: sums by columns, the gradient of ReLU by elements. Pure but for the heap; main thread and helpers. */
import { dividedKernel } from './divided';
import { DOUBLE_BYTES, type PassName, passSources } from './passes_source';

const FLOAT_BYTES = 4;
/** A cache line of floats: two threads never write to one. */
const COLUMNS = 16;
const ELEMS = 1 << 14;
/** Of fewer elements the pass takes less time than waking a thread. */
const LEAST_ELEMS = 1 << 17;

/** Groups of columns of x [rows, columns]. */
export const columnUnits = (rows: number, columns: number): number => (rows * columns < LEAST_ELEMS ? 1 : Math.ceil(columns / COLUMNS));
/** Runs of elements. */
export const elemUnits = (elems: number): number => (elems < LEAST_ELEMS ? 1 : Math.ceil(elems / ELEMS));

/** Of one unit, all there is. */
const spanOf = (units: number, first: number, past: number, width: number, all: number): [number, number] =>
  units === 1 ? [0, all] : [first * width, Math.min(all, past * width) - first * width];

/** `sums` is scratch memory for a float64 a column; x [rows, columns] → output [columns], divided. */
export const sumRows = dividedKernel<'output' | 'sums' | 'x' | 'rows' | 'columns' | 'divisor', PassName>(
  ['output', 'sums', 'x', 'rows', 'columns', 'divisor'],
  passSources,
  (functions, { output, sums, x, rows, columns, divisor }, { first, past }) => {
    const [from, width] = spanOf(columnUnits(rows, columns), first, past, COLUMNS, columns);
    const own = sums + from * DOUBLE_BYTES;
    functions.clear(own, width * DOUBLE_BYTES);
    functions.sumRows(own, x + from * FLOAT_BYTES, rows, width, (columns - width) * FLOAT_BYTES);
    functions.storeSums(output + from * FLOAT_BYTES, own, width, divisor);
  },
);

/** x and dy [rows, columns], means [columns] → Σ dy and Σ dy · (x − mean), [columns] each; `offsets` and `scales` are scratch memory for their sums. */
export const batchNormSums = dividedKernel<
  'offsetOutput' | 'scaleOutput' | 'offsets' | 'scales' | 'dy' | 'x' | 'means' | 'rows' | 'columns',
  PassName
>(
  ['offsetOutput', 'scaleOutput', 'offsets', 'scales', 'dy', 'x', 'means', 'rows', 'columns'],
  passSources,
  (functions, words, { first, past }) => {
    const { rows, columns } = words;
    const [from, width] = spanOf(columnUnits(rows, columns), first, past, COLUMNS, columns);
    const [offsets, scales] = [words.offsets + from * DOUBLE_BYTES, words.scales + from * DOUBLE_BYTES];
    const at = from * FLOAT_BYTES;
    for (const sums of [offsets, scales]) functions.clear(sums, width * DOUBLE_BYTES);
    functions.batchNormSums(offsets, scales, words.dy + at, words.x + at, words.means + at, rows, width, (columns - width) * FLOAT_BYTES);
    functions.storeSums(words.offsetOutput + at, offsets, width, 1);
    functions.storeSums(words.scaleOutput + at, scales, width, 1);
  },
);

/** dx = dy where x is positive, 0 elsewhere. */
export const reluGradient = dividedKernel<'dx' | 'dy' | 'x' | 'elems', PassName>(
  ['dx', 'dy', 'x', 'elems'],
  passSources,
  (functions, { dx, dy, x, elems }, { first, past }) => {
    const [from, count] = spanOf(elemUnits(elems), first, past, ELEMS, elems);
    const at = from * FLOAT_BYTES;
    functions.reluGradient(dx + at, dy + at, x + at, count);
  },
);
