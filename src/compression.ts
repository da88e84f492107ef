/** What a caller names when floats are to travel in fewer bits. Main thread; the communication thread knows it by its name (engine/compression). */
import { type Dtype, type HalfFormat, isFloat } from './dtype';
import { type CompressionText, isCompressionText, keepsResidual, MOST_RANK } from './engine/compressor';
import { UsageError } from './errors';

/** In what form floats travel; one of those of {@link Compression}. */
export interface Compressor {
  /** 'none', 'fp16', 'bf16', 'int8' or, with its option, 'topK(0.01)' or 'powerSGD(4)'. */
  readonly name: string;
}

/** Options of `Compression.topK`. */
export interface TopKOptions {
  /** Of the elements of each tensor, those that travel: at least one. Above 0, up to 1. Default 0.01. */
  ratio?: number;
}

/** Options of `Compression.powerSGD`. */
export interface PowerSgdOptions {
  /** Columns of the factors: a whole number from 1 to 256. Default 4. */
  rank?: number;
}

/**
 * How the floats of an allreduce travel. They come back in the dtype they had; integers are untouched.
 *
 * `fp16` keeps 11 significant bits and ends at 65,504: what is larger becomes infinite, what is smaller than 2^-14 loses bits, below 2^-25 it becomes 0. `bf16` keeps 8 significant bits and float32's
 * range. Sums are kept in float32 (float64: in float64, sent by way of float32); what is sent is rounded to nearest even. An average is scaled before it is sent. All ranks get the same bits.
 * With u = 2^-11 (fp16) or 2^-8 (bf16) and N ranks a sum or average is off by at most ((1 + u)^N − 1) · Σ|x_i|, about N · u · Σ|x_i|, where x_i is what rank i adds (for an average its value / N); with
 * fp16 by at most N · 2^-24 more, for what is small. A minimum or maximum is off by the rounding of its own value. With one rank nothing travels, and nothing is rounded.
 *
 * `int8`, `topK` and `powerSGD` are for slow links and for what is reduced again and again, as gradients are: what a call could not send is kept under its name (and process set) and sent with the next one of that name ("error feedback",
 * Karimireddy et al. 2019), so errors do not add up over the steps. Sums and averages of allreduce only, not reducescatter; calls need a `name`, which DistributedOptimizer gives by itself. Another shape,
 * op or factor under that name begins anew, and so does a new job. A float64 travels as float32. `int8`: per block of 256 elements a rank's x_i is rounded to multiples of s_i = max|x_i| / 127, and once the sum to multiples of its s: it is off by at
 * most (Σ s_i + s) / 2. A block with an infinity or a NaN becomes NaN as a whole, and nothing of it is kept.
 * `topK`: of each rank's tensor the k = ⌈ratio · n⌉ elements of largest magnitude travel as they are (of equal ones those of lower index); what does not travel waits, so a single result lacks what is small. 8 · k · (N − 1) bytes
 * reach a rank instead of 8 · n · (N − 1) / N; a tensor for which that is no gain travels whole.
 * `powerSGD` (Vogels et al. 2019): a tensor, as a matrix of its last axis by all others, is projected onto `rank` columns that follow the sum over the steps: P = M · Q is summed and orthogonalised, Q = Mᵀ · P̂ is summed, the result is P̂ · Qᵀ. A
 * single result lacks what lies beside those columns. rank · (rows + columns) elements travel instead of rows · columns; vectors (every typed array) and tensors for which that is no gain travel whole.
 */
export const Compression: {
  /** As they are. */
  readonly none: Compressor;
  /** IEEE 754's binary16: 11 significant bits, up to 65,504. */
  readonly fp16: Compressor;
  /** The upper half of a float32: 8 significant bits, its range. */
  readonly bf16: Compressor;
  /** 8-bit integers with a scale for each 256 of them, and error feedback: about a quarter of float32's bytes. */
  readonly int8: Compressor;
  /** The largest elements of each tensor, with error feedback. @throws UsageError the ratio is no number above 0 and up to 1 */
  readonly topK: (options?: TopKOptions) => Compressor;
  /** Matrices as products of two thin ones, with error feedback. @throws UsageError the rank is no whole number from 1 to 256 */
  readonly powerSGD: (options?: PowerSgdOptions) => Compressor;
} = Object.freeze({
  none: Object.freeze({ name: 'none' }),
  fp16: Object.freeze({ name: 'fp16' }),
  bf16: Object.freeze({ name: 'bf16' }),
  int8: Object.freeze({ name: 'int8' }),
  topK: ({ ratio = 0.01 }: TopKOptions = {}) => withOption('topK', 'ratio', ratio, 'a number above 0 and up to 1'),
  powerSGD: ({ rank = 4 }: PowerSgdOptions = {}) => withOption('powerSGD', 'rank', rank, `a whole number from 1 to ${MOST_RANK}`),
});

/** What `topK` and its like have made. */
const made = new WeakSet<Compressor>();

function withOption(kind: string, option: string, value: unknown, allowed: string): Compressor {
  const compressor = compressorNamed(`${kind}(${value})`);
  if (typeof value !== 'number' || !compressor)
    throw new UsageError(`Compression.${kind}: ${option} is ${allowed}, but was ${String(value)}.`);
  return compressor;
}

/** By what its `name` says; of those with an option the name alone stands for its default. Undefined: there is none. */
export function compressorNamed(name: string): Compressor | undefined {
  const known = Object.hasOwn(Compression, name) ? Compression[name as keyof typeof Compression] : undefined;
  if (known) return typeof known === 'function' ? known() : known;
  if (!isCompressionText(name)) return undefined;
  const compressor = Object.freeze({ name });
  made.add(compressor);
  return compressor;
}

/** @throws UsageError it is none of ours. @param what whose option it is */
export function checkedCompressor(compressor: unknown, what: string): Compressor {
  if (made.has(compressor as Compressor)) return compressor as Compressor;
  const found = Object.values(Compression).find((known) => known === compressor);
  if (!found || typeof found === 'function')
    throw new UsageError(`${what}: compression is one of ${everyCompressor}, but was ${shown(compressor)}.`);
  return found;
}

/** The field of a call whose tensors are of that dtype. */
export const compressionOf = ({ name }: Compressor, dtype: Dtype): CompressionText => (isFloat(dtype) ? (name as CompressionText) : 'none');

/** Whether it needs calls of one name. */
export const hasFeedback = ({ name }: Compressor): boolean => keepsResidual(name as CompressionText);

/** How gradients travel to parameter servers. @throws UsageError servers do not know it */
export function servedCompression({ name }: Compressor, what: string): 'none' | HalfFormat {
  const text = name as CompressionText;
  if (keepsResidual(text))
    throw new UsageError(
      `${what}: parameter servers take gradients by Compression.none, .fp16 or .bf16, not by ${name}. Use one of those, or the ring.`,
    );
  return text;
}

const everyCompressor = `hvd.Compression.${Object.entries(Compression)
  .map(([name, one]) => (typeof one === 'function' ? `${name}()` : name))
  .join(', .')}`;
const shown = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : typeof value);
