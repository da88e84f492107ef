// What links allow: least times of an allreduce and of a training step, and what a compressor's times at several rates say. Pure.

/** Of an allreduce over so many hosts, in ms: a ring over them sends least. @param goodput bytes a second of a host's link, each way */
export const allreduceBoundMs = (hosts, bytes, goodput) => (((1000 * 2 * (hosts - 1)) / hosts) * bytes) / goodput;

/**
 * Of a training step, in ms, of which no byte leaves before its gradient is final: when that of variable i is, it and those of all variables before it have yet to be sent.
 * @param sizes of the gradients, in the order of the model; backpropagation comes from the last to the first
 * @param finalMs when each is final, from the begin of the step, in any unit: it is scaled
 * @param times computation of the step, and communication of all gradients alone
 */
export function leastStepMs(sizes, finalMs, { computeMs, communicationMs }) {
  const whole = sizes.reduce((sum, size) => sum + size, 0);
  const scale = computeMs / Math.max(...finalMs);
  let upToHere = 0;
  const ends = sizes.map((size, i) => {
    upToHere += size;
    return finalMs[i] * scale + communicationMs * (upToHere / whole);
  });
  return Math.max(computeMs, ...ends);
}

/** t = codec + bits / rate, by least squares. Rates in Gbit/s and times in ms: bits are in 10^6. @param points of two different rates or more */
export function fitRates(points) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean(({ rate }) => 1 / rate), mean(({ ms }) => ms)];
  const megabits = mean(({ rate, ms }) => (1 / rate - x) * (ms - y)) / mean(({ rate }) => (1 / rate - x) ** 2);
  return { codecMs: y - megabits * x, megabits };
}

/** At which rates it takes less time than the other, both as `fitRates` gives them. */
export function shorterText(own, other) {
  const [isSlower, sendsLess] = [own.codecMs > other.codecMs, own.megabits < other.megabits];
  if (isSlower !== sendsLess) return isSlower ? 'never' : 'always';
  const rate = (other.megabits - own.megabits) / (own.codecMs - other.codecMs);
  return `${sendsLess ? 'below' : 'above'} ${rate.toFixed(2)} Gbit/s`;
}
