/**
 * Measures a barrier, and verifies it: nobody may leave before all have come. Main thread, every rank.
 *
 * In a check one rank after the other comes late. Ranks of one host share a monotonic clock, so what each noted of its coming and leaving can be compared there; between hosts it cannot.
 */
import * as hvd from '../index';
import { samplesOfCalls, scheduleOf } from './collective_figures';
import type { Row } from './measure';

const LATE_MS = 5;

const nowUs = (): number => Number(process.hrtime.bigint() / 1000n);

/** How many ranks left before the last of their host had come; the same on all. */
function tooEarly(): number {
  let early = 0;
  for (let late = 0; late < hvd.size(); late += 1) {
    if (hvd.rank() === late) for (const until = performance.now() + LATE_MS; performance.now() < until; );
    const cameUs = nowUs();
    hvd.barrier();
    const notes = hvd.allgather(Float64Array.of(hvd.crossRank(), cameUs, nowUs()), { name: 'bench.notes' });
    const ranks = Array.from({ length: hvd.size() }, (_, rank) => notes.subarray(rank * 3, rank * 3 + 3));
    for (const [host, , leftUs] of ranks) if (ranks.some(([other, came]) => other === host && came! > leftUs!)) early += 1;
  }
  return early;
}

export function measureBarrier(given: number | undefined): Row {
  const { iterations, warmUps } = scheduleOf(0, given);
  const own = new Float64Array(iterations);
  let wrong = tooEarly();
  for (let i = -warmUps; i < iterations; i += 1) {
    const startedMs = performance.now();
    hvd.barrier();
    if (i >= 0) own[i] = (performance.now() - startedMs) * 1000;
  }
  wrong += tooEarly();
  const samplesUs = samplesOfCalls(hvd.allgather(own, { name: 'bench.samples' }), hvd.size(), { isAligned: false });
  return { form: 'out-of-place', bytes: 0, count: 0, samplesUs, wrong, copied: 0 };
}
