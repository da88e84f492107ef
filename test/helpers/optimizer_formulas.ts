/**
 * The papers' formulas in float64, one number at a time: what hvd.train is held to. Each takes the factory's arguments and gives a function that changes variables (one array each) by one
 * step's gradients. Written from the papers, knowing nothing of src.
 */
type Step = (variables: number[][], gradients: number[][]) => void;

const norm = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const zeros = (like: number[][]): number[][] => like.map((values) => values.map(() => 0));

/** Adam's m̂ / (√v̂ + ε) of every number (Kingma & Ba 2015, Algorithm 1). */
function adam(beta1: number, beta2: number, epsilon: number): (gradients: number[][]) => number[][] {
  let t = 0;
  let [m, v]: [number[][], number[][]] = [[], []];
  return (gradients) => {
    t += 1;
    if (t === 1) [m, v] = [zeros(gradients), zeros(gradients)];
    return gradients.map((row, i) =>
      row.map((g, k) => {
        m[i]![k] = beta1 * m[i]![k]! + (1 - beta1) * g;
        v[i]![k] = beta2 * v[i]![k]! + (1 - beta2) * g * g;
        return m[i]![k]! / (1 - beta1 ** t) / (Math.sqrt(v[i]![k]! / (1 - beta2 ** t)) + epsilon);
      }),
    );
  };
}

export const formulas = {
  /** Dozat 2016, Algorithm 2 as tf.keras has it: m with β1, v̂ without the factor; μ_t = β1·(1 − ½·0.96^(t/250)). */
  nadam: (rate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7): Step => {
    const mus: number[] = [];
    let [m, v]: [number[][], number[][]] = [[], []];
    return (variables, gradients) => {
      if (mus.length === 0) [m, v] = [zeros(gradients), zeros(gradients)];
      const t = mus.length + 1;
      mus.push(beta1 * (1 - 0.96 ** (t / 250) / 2));
      const now = mus[t - 1]!;
      const next = beta1 * (1 - 0.96 ** ((t + 1) / 250) / 2);
      const product = mus.reduce((all, mu) => all * mu, 1);
      for (const [i, row] of gradients.entries()) {
        for (const [k, g] of row.entries()) {
          m[i]![k] = beta1 * m[i]![k]! + (1 - beta1) * g;
          v[i]![k] = beta2 * v[i]![k]! + (1 - beta2) * g * g;
          const mHat = (next * m[i]![k]!) / (1 - product * next) + ((1 - now) * g) / (1 - product);
          const vHat = v[i]![k]! / (1 - beta2 ** t);
          variables[i]![k]! -= (rate * mHat) / (Math.sqrt(vHat) + epsilon);
        }
      }
    };
  },

  /** Loshchilov & Hutter 2019, Algorithm 2, line 12, with α·w for λ. */
  adamw: (rate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7, decay = 0.004): Step => {
    const direction = adam(beta1, beta2, epsilon);
    return (variables, gradients) => {
      for (const [i, row] of direction(gradients).entries())
        for (const [k, d] of row.entries()) variables[i]![k]! -= rate * d + rate * decay * variables[i]![k]!;
    };
  },

  /** You, Gitman & Ginsburg 2017, equation (6) and Algorithm 1; λ = 1 where a norm is zero. */
  lars: (rate = Number.NaN, momentum = 0.9, decay = 1e-4, trust = 0.001): Step => {
    let velocity: number[][] | undefined;
    return (variables, gradients) => {
      velocity ??= zeros(gradients);
      for (const [i, g] of gradients.entries()) {
        const w = variables[i]!;
        const lambda = norm(w) > 0 && norm(g) > 0 ? (trust * norm(w)) / (norm(g) + decay * norm(w)) : 1;
        const v = velocity[i]!;
        for (const k of w.keys()) v[k] = momentum * v[k]! + rate * lambda * (g[k]! + decay * w[k]!);
        for (const k of w.keys()) w[k]! -= v[k]!;
      }
    };
  },

  /** You et al. 2020, Algorithm 2, φ(z) = z; the quotient is 1 where a norm is zero. */
  lamb: (rate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-6, decay = 0.01): Step => {
    const direction = adam(beta1, beta2, epsilon);
    return (variables, gradients) => {
      for (const [i, row] of direction(gradients).entries()) {
        const x = variables[i]!;
        const u = row.map((r, k) => r + decay * x[k]!);
        const ratio = norm(x) > 0 && norm(u) > 0 ? norm(x) / norm(u) : 1;
        for (const k of x.keys()) x[k]! -= rate * ratio * u[k]!;
      }
    };
  },
};
