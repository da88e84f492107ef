/** Calls for the tests of the engine's decisions. */
import type { Call } from '../../../src/engine/call';

export const call = (name: string, fields: Partial<Call> = {}): Call => ({
  name,
  kind: 'allreduce',
  dtype: 'float32',
  parts: [[2, 3]],
  op: 'sum',
  prescale: 1,
  postscale: 1,
  root: -1,
  processSet: 0,
  grouped: false,
  timeoutMs: 0,
  compression: 'none',
  splits: [],
  ...fields,
});

/** Ranks 0 and 1 on host a, 2 and 3 on host b, … */
export const hostOf = (rank: number): string => 'abcdefghijklmnopqrstuvwxyz'[Math.floor(rank / 2) % 26]!;
