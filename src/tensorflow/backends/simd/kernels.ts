/** The kernels that threads divide among themselves, by name. Pure. */
import { filterGradient } from './filter_gradient';

export const dividedKernels = { filterGradient } as const;
export type DividedName = keyof typeof dividedKernels;
/** In the order of their numbers. */
export const dividedNames = Object.keys(dividedKernels) as DividedName[];
/** What one is called with, by name. */
export type WordsOf<Name extends DividedName> = Readonly<Record<(typeof dividedKernels)[Name]['words'][number], number>>;
