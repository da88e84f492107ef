/** One clock for both threads: microseconds of the system's monotonic clock. `performance.now()` counts from another moment in each thread. */

const SAMPLES = 8;

/** Between the two readings of a sample the thread may lose its core (or load `performance` first): the sample in which the least time passed is the latest origin. */
function originUs(): number {
  let latest = Number.NEGATIVE_INFINITY;
  for (let sample = 0; sample < SAMPLES; sample += 1)
    latest = Math.max(latest, Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000);
  return latest;
}

const origin = originUs();
export const nowUs = (): number => origin + performance.now() * 1000;
/** Wall-clock time now, microseconds since 1970. */
export const epochUs = (): number => (performance.timeOrigin + performance.now()) * 1000;
