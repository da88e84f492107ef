/** A range of the gradient of ReLU, by runs of elements. Pure but for the heap; main thread and helpers. */
import { dividedKernel } from './divided';
import { FLOAT_BYTES } from './floats';
import { type PassName, passSources } from './passes_source';

const RUN = 1 << 14;
/** Fewer elements take less time than waking a thread. */
const LEAST_ELEMS = 1 << 17;

/** Runs of elements. */
export const reluUnits = (elems: number): number => Math.ceil(elems / RUN);
export const isReluDivided = (elems: number): boolean => elems >= LEAST_ELEMS;

/** dx = dy where x is positive, 0 elsewhere. */
export const reluGradient = dividedKernel<'dx' | 'dy' | 'x' | 'elems', PassName>(
  ['dx', 'dy', 'x', 'elems'],
  passSources,
  (functions, { dx, dy, x, elems }, { first, past }) => {
    const from = first * RUN;
    const at = from * FLOAT_BYTES;
    functions.reluGradient(dx + at, dy + at, x + at, Math.min(elems, past * RUN) - from);
  },
);
