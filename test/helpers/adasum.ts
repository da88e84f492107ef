/** Adasum by its definition, in float64, neighbours first: what the real one is compared with. */
export function adasumOf(vectors: readonly number[][]): number[] {
  if (vectors.length === 1) return vectors[0]!;
  const half = 2 ** Math.ceil(Math.log2(vectors.length) - 1);
  const [a, b] = [adasumOf(vectors.slice(0, half)), adasumOf(vectors.slice(half))];
  const product = (x: number[], y: number[]): number => x.reduce((sum, one, i) => sum + one * y[i]!, 0);
  const [dot, aa, bb] = [product(a, b), product(a, a), product(b, b)];
  return a.map((x, i) => (aa ? 1 - dot / (2 * aa) : 1) * x + (bb ? 1 - dot / (2 * bb) : 1) * b[i]!);
}
