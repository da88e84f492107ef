/** The `logs` that callbacks are given: metrics are numbers, or scalar tensors that nobody has read yet. Main thread. */

export interface Scalar {
  readonly size: number;
  dataSync(): ArrayLike<number>;
  dispose(): void;
}
export type Logs = Record<string, number | Scalar>;

const isMetric = (value: unknown): value is number | Scalar =>
  typeof value === 'number' || (typeof (value as Scalar | null)?.dataSync === 'function' && (value as Scalar).size === 1);

/** In the order of names. */
export const metricNames = (logs: Logs): string[] =>
  Object.keys(logs)
    .filter((name) => isMetric(logs[name]))
    .sort();

/** A tensor stays as it is. */
export const metricOf = (logs: Logs, name: string): number => {
  const value = logs[name]!;
  return typeof value === 'number' ? value : value.dataSync()[0]!;
};

/** Logs that metricAverage has averaged. */
export const averaged = new WeakSet<Logs>();
