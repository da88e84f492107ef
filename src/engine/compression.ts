/**
 * A reduction whose floats travel in 16 bits: what the executor and the star do differently then (feedback.ts has the other compressors). Communication thread.
 *
 * Every sum is kept in the tensor's own type; only what is sent is rounded. Invariants that make all replicas bit-identical: who sends a value keeps what its receiver reads; who holds the
 * complete result rounds it, post-scaled, before anybody gets it, so that passing it on changes nothing more; there is one NaN. An average is divided at the start, by each rank its
 * own part, so that sums on the way are no larger than what is averaged: fp16 ends at 65,504.
 *
 * Error of a sum or average of N ranks, with u the unit roundoff (fp16 2^-11, bf16 2^-8) and x_i what rank i gives, pre-scaled: at most ((1 + u)^N − 1) · Σ|x_i|, about N·u·Σ|x_i|. Ring: a chunk
 * is rounded each of the N − 1 times that it is sent on unfinished, and once when it is complete. Recursive doubling and the star round less often. Beside it stand float32's own roundings
 * (2^-24 each) and, where fp16's denormals begin (below 2^-14), half of 2^-24 for each of at most 2N roundings; bf16 has float32's range. A post-scale factor scales the error, too.
 * A minimum or maximum is the rounded minimum or maximum: off by u, once (with a post-scale factor twice).
 */
import type { WireForm } from '../collective/execute';
import { bytesPerElem, type HalfFormat } from '../dtype';
import { HALF_BYTES } from '../memory/half_source';
import type { KernelOp, Kernels } from '../memory/kernels';
import type { Call } from './call';
import { keepsResidual } from './compressor';

/** The form in which a call's elements travel among so many ranks; undefined: as they are. With one rank nothing travels. */
export const formatOf = ({ compression }: Call, ranks: number): HalfFormat | undefined =>
  compression === 'none' || ranks === 1 || keepsResidual(compression) ? undefined : compression;
/** What travels in fewer bits has been divided before. */
export const isDividedFirst = ({ compression }: Call, ranks: number): boolean => compression !== 'none' && ranks > 1;

/** What the executor needs for floats that begin at `base`; its scratch begins at `scratch`. */
export function wireFormOf(
  kernels: Kernels,
  format: HalfFormat,
  { dtype }: Call,
  op: KernelOp,
  base: number,
  scratch: number,
): { wire: WireForm; reduce: (elem: number, elems: number, scratchByte: number) => void } {
  const half = kernels.half(format, dtype);
  const at = (elem: number): number => base + elem * bytesPerElem(dtype);
  return {
    reduce: (elem, elems, scratchByte) => half.reduce(op, at(elem), scratch + scratchByte, elems),
    wire: {
      bytesPerElem: HALF_BYTES,
      encode: (elem, elems, scratchByte) => half.encode(at(elem), scratch + scratchByte, elems),
      decode: (elem, elems, scratchByte) => half.decode(at(elem), scratch + scratchByte, elems),
    },
  };
}
