/** The kernels that threads divide among themselves, by name. Pure. */
import { filterGradient } from './filter_gradient';
import { maxPoolGradient } from './pool_gradient';
import { reluGradient } from './relu_gradient';
import { transposedProduct } from './transposed_product';

export const dividedKernels = { filterGradient, maxPoolGradient, reluGradient, transposedProduct } as const;
export type DividedName = keyof typeof dividedKernels;
/** In the order of their numbers. */
export const dividedNames = Object.keys(dividedKernels) as DividedName[];
/** What one is called with, by name. */
export type WordsOf<Name extends DividedName> = Readonly<Record<(typeof dividedKernels)[Name]['words'][number], number>>;
