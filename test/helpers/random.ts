/** Seeded draws: the same seed gives the same row on every rank and in every run. */
export interface Random {
  /** A whole number from 0 to `below` − 1. */
  below(below: number): number;
  oneOf<T>(list: readonly T[]): T;
  /** True with that probability. */
  chance(probability: number): boolean;
  shuffled<T>(list: readonly T[]): T[];
}

/** Mulberry32: 32 bits of state, and rows of neighbouring seeds have nothing in common. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(fraction() * limit);
  return {
    below,
    oneOf: (list) => list[below(list.length)]!,
    chance: (probability) => fraction() < probability,
    shuffled(list) {
      const all = [...list];
      for (let i = all.length - 1; i > 0; i -= 1) {
        const j = below(i + 1);
        [all[i], all[j]] = [all[j]!, all[i]!];
      }
      return all;
    },
  };
}
