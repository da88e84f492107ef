/** What samples of a collective say: times, algorithm and bus bandwidth as nccl-tests define them, and how many samples there are. Pure. */
import type { Collective } from './collective_args';

/** Up to here a call takes so little time that compiled code is all of it (V8 has compiled what is called some thousand times), and that a barrier would be most of it. */
const SMALL_BYTES = 64 << 10;
const MIDDLE_BYTES = 1 << 20;
/** Of larger sizes as many calls as reduce so much, within limits: where ranks outnumber cores calls differ so much that the median of few says little. */
const BYTES_A_SIZE = 1 << 30;

/** How one size is measured; the same for khorovod and for those that it is compared with. */
export interface Schedule {
  readonly bytes: number;
  readonly warmUps: number;
  readonly iterations: number;
  /** Ranks begin every call together, after a barrier, and its sample is the slowest rank's. Otherwise calls follow one another: a call's sample is the mean over the ranks. */
  readonly isAligned: boolean;
}

export function scheduleOf(bytes: number, given?: number): Schedule {
  const iterations =
    given ?? (bytes <= SMALL_BYTES ? 2000 : bytes <= MIDDLE_BYTES ? 100 : Math.min(100, Math.max(15, Math.floor(BYTES_A_SIZE / bytes))));
  const warmUps = bytes <= SMALL_BYTES ? 2 * iterations : Math.max(2, Math.ceil(iterations / 2));
  return { bytes, warmUps, iterations, isAligned: bytes > SMALL_BYTES };
}

/**
 * Before the first size, of khorovod and of those that it is compared with: V8 compiles what has run some hundred times, in threads that take the processor from the calls (measured, 4 ranks on 2 cores: a call
 * of 1 MiB takes 6 ms at first, 2.3 ms after 1,000 calls).
 */
const WARM_UP_CALLS = 1000;
/** @param given iterations that were asked for: who wants few calls wants few of these, too */
export const warmUpCalls = (given?: number): number => Math.min(WARM_UP_CALLS, given === undefined ? WARM_UP_CALLS : 10 * given);
/** A slow network gets no more of it. */
export const WARM_UP_MS = 3000;
/** @param largest of the sizes, in bytes */
export const warmUpBytes = (largest: number): number => Math.min(MIDDLE_BYTES, largest);

/** @param ofRanks the samples of all ranks, one rank after the other, all equally many */
export function samplesOfCalls(ofRanks: ArrayLike<number>, ranks: number, { isAligned }: Pick<Schedule, 'isAligned'>): number[] {
  const calls = ofRanks.length / ranks;
  return Array.from({ length: calls }, (_, call) => {
    const own = Array.from({ length: ranks }, (_, rank) => ofRanks[rank * calls + call]!);
    return isAligned ? Math.max(...own) : mean(own);
  });
}

export const mean = (samples: readonly number[]): number => samples.reduce((sum, sample) => sum + sample, 0) / samples.length;

/** The smallest sample that at least that share of all does not exceed. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}
/** Of an even number of samples the mean of the two in the middle. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}

/** busbw / algbw: the share of a collective's size that must pass each rank's link, times the ways it passes (nccl-tests, doc/PERFORMANCE.md). */
export function busFactor(collective: Collective, ranks: number): number {
  switch (collective) {
    case 'allreduce':
    case 'grouped-allreduce':
      return (2 * (ranks - 1)) / ranks;
    case 'allgather':
    case 'reducescatter':
    case 'alltoall':
      return (ranks - 1) / ranks;
    case 'broadcast':
      return 1;
    case 'barrier':
      return 0;
  }
}

export interface Figures {
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** GB/s (10⁹ bytes), of the mean time. */
  readonly algbw: number;
  readonly busbw: number;
}

export function figuresOf(samplesUs: readonly number[], bytes: number, collective: Collective, ranks: number): Figures {
  const meanUs = mean(samplesUs);
  const algbw = bytes / meanUs / 1e3;
  const [p50Us, p99Us] = [median(samplesUs), percentile(samplesUs, 0.99)];
  return { meanUs, p50Us, p99Us, algbw, busbw: algbw * busFactor(collective, ranks) };
}
