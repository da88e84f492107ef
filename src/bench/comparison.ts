/** From the samples of several libraries, by rounds, to medians, ratios, lines and a chart. Pure. */
import type { LineChart } from './chart_spec';
import { median } from './collective_figures';

/** All that was measured of one library. */
export interface Library {
  readonly name: string;
  readonly title: string;
  readonly version: string;
  readonly sizes: ReadonlyArray<{
    readonly bytes: number;
    /** µs, of each round. */
    readonly rounds: ReadonlyArray<readonly number[]>;
    readonly wrong: number;
  }>;
}

/** Median, and both ends. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

export interface Compared {
  readonly title: string;
  /** Of the rounds' medians. */
  readonly us: Spread;
  /** How many times as long as khorovod it took, in the same round. */
  readonly ratio: Spread;
  readonly wrong: number;
}

/** The library that the others are compared with. */
export const BASE = 'khorovod in-place';

const spreadOf = (numbers: readonly number[]): Spread => ({
  median: median(numbers),
  lowest: Math.min(...numbers),
  highest: Math.max(...numbers),
});
const mediansOf = ({ sizes }: Library, bytes: number): number[] => sizes.find((size) => size.bytes === bytes)!.rounds.map(median);

/** One size: every library, khorovod's forms among them. All have as many rounds. */
export function compareAt(bytes: number, libraries: readonly Library[]): Compared[] {
  const base = mediansOf(libraries.find(({ name }) => name === BASE)!, bytes);
  return libraries.map((library) => {
    const own = mediansOf(library, bytes);
    const { wrong } = library.sizes.find((size) => size.bytes === bytes)!;
    return { title: library.title, us: spreadOf(own), ratio: spreadOf(own.map((us, round) => us / base[round]!)), wrong };
  });
}

/** Small ones tell something too. */
export const ratioText = (ratio: number): string => (ratio < 0.1 ? ratio.toPrecision(2) : ratio.toFixed(2));

export const sizesOf = (libraries: readonly Library[]): number[] => libraries[0]!.sizes.map(({ bytes }) => bytes);

export function tableLines(libraries: readonly Library[]): string[] {
  const names = Math.max(...libraries.map(({ title }) => title.length)) + 2;
  const cells = (us: string, spread: string, rate: string, ratio: string, ratios: string, wrong: string): string =>
    us.padStart(12) + spread.padStart(24) + rate.padStart(9) + ratio.padStart(9) + ratios.padStart(16) + wrong.padStart(8);
  const head = (...texts: Parameters<typeof cells>): string => `#${' '.repeat(11)}${'  '.padEnd(names)}${cells(...texts)}`;
  const lines = [
    head('p50', 'lowest…highest', 'algbw', 'ratio', 'lowest…highest', '#wrong').replace(/^# {11}/, '#      size '),
    head('(us)', '(us)', '(GB/s)', '', '', '').replace(/^# {11}/, '#       (B) '),
  ];
  for (const bytes of sizesOf(libraries)) {
    for (const { title, us, ratio, wrong } of compareAt(bytes, libraries)) {
      const spread = `${us.lowest.toFixed(1)}…${us.highest.toFixed(1)}`;
      const ratios = `${ratioText(ratio.lowest)}…${ratioText(ratio.highest)}`;
      const rate = (bytes / us.median / 1e3).toFixed(2);
      lines.push(
        `${String(bytes).padStart(12)}  ${title.padEnd(names - 2)}${cells(us.median.toFixed(1), spread, rate, ratioText(ratio.median), ratios, `${wrong}`)}`,
      );
    }
  }
  return lines;
}

export interface What {
  readonly ranks: number;
  readonly dtype: string;
  readonly op: string;
  readonly rounds: number;
  /** In few words: they stand above the chart. */
  readonly where: string;
}

/** Time over size, a line a library; bars from the fastest to the slowest round. */
export function chartOf(libraries: readonly Library[], { ranks, dtype, op, rounds, where }: What): LineChart {
  return {
    title: `Allreduce on ${ranks} ranks of one host (${dtype}, ${op})`,
    subtitle: `${where}; median of ${rounds} rounds, bars: fastest and slowest`,
    x: { title: 'size (bytes)', scale: 'log', format: '~s' },
    y: { title: 'time (µs)', scale: 'log', format: '~s' },
    // As wide as the legend of all.
    width: 760,
    height: 420,
    series: libraries.map(({ title }, i) => ({
      name: title,
      points: sizesOf(libraries).map((bytes) => {
        const { us } = compareAt(bytes, libraries)[i]!;
        return { x: bytes, y: us.median, low: us.lowest, high: us.highest };
      }),
    })),
  };
}
