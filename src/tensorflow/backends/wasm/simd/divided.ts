/**
 * What a kernel is that threads can divide among themselves: a range of its units, which nobody else writes to, computed by emitted functions over the heap. Pure; runs on the main thread and on helpers.
 *
 * Invariant: units are parts of the output, and a sum lies in one of them as a whole. So its bits depend neither on how many threads there are nor on who is done first.
 */
import type { FunctionSource } from '../../../../memory/emitter';
import type { HeapFunctions } from './heap';

export interface Range {
  /** The first unit, and the one behind the last. */
  readonly first: number;
  readonly past: number;
  /** Which of the parts it is, from 0 on: for scratch memory of its own. */
  readonly part: number;
}

export interface DividedKernel<Word extends string = string, Name extends string = string> {
  /** What it is called with: addresses in bytes and numbers, 32-bit integers, in the order in which they travel. */
  readonly words: readonly Word[];
  readonly sources: () => readonly FunctionSource[];
  readonly run: (functions: HeapFunctions<Name>, words: Readonly<Record<Word, number>>, range: Range) => void;
}

export const dividedKernel = <Word extends string, Name extends string>(
  words: readonly Word[],
  sources: () => readonly FunctionSource[],
  run: DividedKernel<Word, Name>['run'],
): DividedKernel<Word, Name> => ({ words, sources, run });

/** Consecutive, as even as whole units can be; empty for some where there are fewer units than parts. */
export const rangeOf = (units: number, part: number, parts: number): Range => ({
  first: Math.floor((units * part) / parts),
  past: Math.floor((units * (part + 1)) / parts),
  part,
});
