/**
 * In what form the floats of a reduction travel, as its call says it. Pure; both threads.
 *
 * One text, options and all ('topK(0.01)'), goes with the request: ranks whose options differ do not agree. Two families: a half format rounds each element by itself, wherever it is; the others look at
 * a tensor as a whole and keep what they have not sent for the next call of that name (residuals.ts), so that in the long run nothing is lost.
 */
import { type HalfFormat, halfFormats } from '../dtype';

/** A compressor that keeps a residual. */
export type Feedback =
  | { readonly kind: 'int8' }
  | { readonly kind: 'topK'; readonly ratio: number }
  | { readonly kind: 'powerSGD'; readonly rank: number };
/** Of a call. */
export type CompressionText = 'none' | HalfFormat | 'int8' | `topK(${number})` | `powerSGD(${number})`;

/** Products cost as much as their rank; above, nothing is won over the ring. */
export const MOST_RANK = 256;

/** Each allowed value of the only option has one text. */
const withOption: ReadonlyArray<readonly [RegExp, (option: number) => Feedback | undefined]> = [
  [/^powerSGD\((.+)\)$/, (rank) => (Number.isInteger(rank) && rank >= 1 && rank <= MOST_RANK ? { kind: 'powerSGD', rank } : undefined)],
  [/^topK\((.+)\)$/, (ratio) => (ratio > 0 && ratio <= 1 ? { kind: 'topK', ratio } : undefined)],
];

/** Undefined: it keeps nothing, or is none of ours. */
export function feedbackOf(text: CompressionText): Feedback | undefined {
  if (text === 'none') return undefined;
  if (text === 'int8') return { kind: 'int8' };
  for (const [pattern, made] of withOption) {
    const [, option] = pattern.exec(text) ?? [];
    if (option !== undefined && option === String(Number(option))) return made(Number(option));
  }
  return undefined;
}

export const keepsResidual = (text: CompressionText): text is Exclude<CompressionText, 'none' | HalfFormat> =>
  feedbackOf(text) !== undefined;

/** Whether a request may say so. */
export const isCompressionText = (text: string): text is CompressionText =>
  text === 'none' || halfFormats.includes(text as HalfFormat) || feedbackOf(text as CompressionText) !== undefined;
