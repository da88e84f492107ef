/** How far a compressed sum or average may be from the exact one: what the documentation promises, with every rounding in it. */
import type { HalfFormat } from '../../src/dtype';

const unit: Record<HalfFormat, number> = { fp16: 2 ** -11, bf16: 2 ** -8 };
/** Half of the least denormal. */
const least: Record<HalfFormat, number> = { fp16: 2 ** -25, bf16: 2 ** -134 };
const float32Unit = 2 ** -24;

/** @param magnitudes Σ|x_i| of what the ranks add, pre-scaled (for an average: over the number of ranks) */
export function halfBound(format: HalfFormat, ranks: number, magnitudes: number, postscale = 1): number {
  const growth = (1 + unit[format]) ** ranks;
  const floats = (1 + float32Unit) ** (2 * ranks + 3);
  const denormals = 2 * ranks * growth * least[format] * Math.max(1, Math.abs(postscale));
  return (growth * floats - 1) * magnitudes * Math.abs(postscale) + denormals;
}
