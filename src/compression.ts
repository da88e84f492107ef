/** What a caller names when floats are to travel in fewer bits. Main thread; the communication thread knows it by its name (engine/compression). */
import type { Dtype } from './dtype';
import { isFloat } from './dtype';
import type { Call } from './engine/call';
import { UsageError } from './errors';

type Name = Call['compression'];
/** In what form floats travel; one of those of {@link Compression}. */
export interface Compressor {
  /** 'none', 'fp16' or 'bf16'. */
  readonly name: string;
}

/**
 * How the floats of an allreduce travel. They come back in the dtype they had; integers are untouched.
 *
 * `fp16` keeps 11 significant bits and ends at 65,504: what is larger becomes infinite, what is smaller than 2^-14 loses bits, below 2^-25 it becomes 0. `bf16` keeps 8 significant bits and float32's
 * range. Sums are kept in float32 (float64: in float64, sent by way of float32); what is sent is rounded to nearest even. An average is scaled before it is sent. All ranks get the same bits.
 * With u = 2^-11 (fp16) or 2^-8 (bf16) and N ranks a sum or average is off by at most ((1 + u)^N − 1) · Σ|x_i|, about N · u · Σ|x_i|, where x_i is what rank i adds (for an average its value / N); with
 * fp16 by at most N · 2^-24 more, for what is small. A minimum or maximum is off by the rounding of its own value. With one rank nothing travels, and nothing is rounded.
 */
export const Compression: {
  /** As they are. */
  readonly none: Compressor;
  /** IEEE 754's binary16: 11 significant bits, up to 65,504. */
  readonly fp16: Compressor;
  /** The upper half of a float32: 8 significant bits, its range. */
  readonly bf16: Compressor;
} = Object.freeze({
  none: Object.freeze({ name: 'none' }),
  fp16: Object.freeze({ name: 'fp16' }),
  bf16: Object.freeze({ name: 'bf16' }),
});

/** @throws UsageError it is none of ours. @param what whose option it is */
export function checkedCompressor(compressor: unknown, what: string): Compressor {
  const found = Object.values(Compression).find((known) => known === compressor);
  if (!found)
    throw new UsageError(
      `${what}: compression is one of hvd.Compression.${Object.keys(Compression).join(', .')}, but was ${shown(compressor)}.`,
    );
  return found;
}

/** The field of a call whose tensors are of that dtype. */
export const compressionOf = (compressor: Compressor, dtype: Dtype): Name => (isFloat(dtype) ? (compressor.name as Name) : 'none');

const shown = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : typeof value);
