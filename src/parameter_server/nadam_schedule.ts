/**
 * The momentum of Nadam, μ_t = β1·(1 − ½·0.96^(t/250)), and what follows from it for step t (T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop, Algorithm 2). Pure.
 *
 * In float64 and always in this order: the bits depend on t alone, not on where training was resumed.
 */
const SCHEDULE = 1 / 250;

const momentumAt = (beta1: number, t: number): number => beta1 * (1 - 0.5 * 0.96 ** (t * SCHEDULE));

/** Π_{i≤t} μ_i */
function productUntil(beta1: number, t: number): number {
  let product = 1;
  for (let i = 1; i <= t; i += 1) {
    product *= momentumAt(beta1, i);
    // Of no weight beside 1 any more, and below it in every later step: no need to go on.
    if (product < Number.EPSILON / 4) return 0;
  }
  return product;
}

/** In m̂ = ofMoment·m_t + ofGradient·g_t: μ_{t+1} / (1 − Π_{i≤t+1} μ_i) and (1 − μ_t) / (1 − Π_{i≤t} μ_i). */
export function nadamWeights(beta1: number, t: number): { ofMoment: number; ofGradient: number } {
  const [momentum, next] = [momentumAt(beta1, t), momentumAt(beta1, t + 1)];
  const product = productUntil(beta1, t);
  return { ofMoment: next / (1 - product * next), ofGradient: (1 - momentum) / (1 - product) };
}
