/** The kernels that threads divide among themselves, by name. Pure. */
import { filterGradient } from './filter_gradient';
import { batchNormSums, reluGradient, sumRows } from './passes';
import { maxPoolGradient } from './pool_gradient';

export const dividedKernels = { filterGradient, maxPoolGradient, sumRows, batchNormSums, reluGradient } as const;
export type DividedName = keyof typeof dividedKernels;
/** In the order of their numbers. */
export const dividedNames = Object.keys(dividedKernels) as DividedName[];
/** What one is called with, by name. */
export type WordsOf<Name extends DividedName> = Readonly<Record<(typeof dividedKernels)[Name]['words'][number], number>>;
