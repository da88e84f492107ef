/** One clock for both threads: microseconds of the system's monotonic clock. `performance.now()` counts from another moment in each thread. */

const originUs = Number(process.hrtime.bigint() / 1000n) - performance.now() * 1000;
export const nowUs = (): number => originUs + performance.now() * 1000;
