/** Means, their 95 % confidence intervals, and ratios of them. Pure. Source: Student's t; Abramowitz and Stegun 26.7.5 beyond the table; Welch and Satterthwaite for ratios. */

export interface Estimate {
  /** Number of samples. */
  readonly n: number;
  readonly mean: number;
  /** Standard deviation of the samples (n − 1); undefined: of a single one. */
  readonly sd?: number;
  /** Half of the 95 % confidence interval; undefined: of a single one. */
  readonly halfWidth?: number;
}

/** Two-sided 95 %, by degrees of freedom from 1. */
const T_95 = [
  12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098,
  2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];
const Z_95 = 1.959964;

/** The factor on the standard error. @param freedom degrees of freedom, >= 1; not whole for ratios: the next lower one in the table counts */
export function studentT(freedom: number): number {
  if (freedom < T_95.length + 1) return T_95[Math.max(1, Math.floor(freedom)) - 1]!;
  const [z, v] = [Z_95, freedom];
  return z + (z ** 3 + z) / (4 * v) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * v ** 2);
}

/** @returns undefined: no samples */
export function estimate(samples: readonly number[]): Estimate | undefined {
  const n = samples.length;
  if (n === 0) return undefined;
  const mean = samples.reduce((sum, x) => sum + x, 0) / n;
  if (n === 1) return { n, mean };
  const sd = Math.sqrt(samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
  return { n, mean, sd, halfWidth: (studentT(n - 1) * sd) / Math.sqrt(n) };
}

/**
 * top / (factor · bottom), the errors of both propagated: relative variances of independent means add up.
 * @returns without interval where one of them is a single sample; undefined: the bottom is 0
 */
export function ratio(top: Estimate, bottom: Estimate, factor: number): Estimate | undefined {
  if (bottom.mean === 0) return undefined;
  const mean = top.mean / (factor * bottom.mean);
  const n = Math.min(top.n, bottom.n);
  if (top.sd === undefined || bottom.sd === undefined) return { n, mean };
  // Variances of both means, as the ratio feels them.
  const a = (top.sd / (factor * bottom.mean)) ** 2 / top.n;
  const b = ((mean * bottom.sd) / bottom.mean) ** 2 / bottom.n;
  if (a + b === 0) return { n, mean, sd: 0, halfWidth: 0 };
  const freedom = (a + b) ** 2 / (a ** 2 / (top.n - 1) + b ** 2 / (bottom.n - 1));
  return { n, mean, halfWidth: studentT(freedom) * Math.sqrt(a + b) };
}
