/** What compressors that keep a residual exchange with: bytes, by the plans of alltoall and allgather. Communication thread; work of more than some milliseconds lets it look at its peers in between. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { execute } from '../collective/execute';
import { rangesOf } from '../collective/plan';
import { selectAllgather, selectAlltoall } from '../collective/select';
import type { Seat } from './exchange';

/** What an exchange has to work with. */
export interface Exchange {
  readonly seat: Seat;
  /** This rank's elements, scaled; they become the sum. */
  readonly operand: Uint8Array;
  onActivity(algorithm: string, kind: string): void;
}

/** Looks at the peers whenever the work says so. */
export async function drive(work: Generator<void>): Promise<void> {
  while (!work.next().done) await nextTurn();
}

/** @param source bytes for each position, one behind the other @returns those of each position */
export async function exchangeBytes(
  { seat: { route, position, scratch }, onActivity }: Exchange,
  source: Uint8Array,
  toEach: readonly number[],
  fromEach: readonly number[],
): Promise<Uint8Array[]> {
  const received = new Uint8Array(fromEach.reduce((sum, bytes) => sum + bytes, 0));
  const { plan, algorithm } = selectAlltoall({ rank: position, size: toEach.length, toEach, fromEach, bytesPerElem: 1 });
  onActivity(algorithm, 'alltoall');
  await execute(plan, route, { bytes: received, source, bytesPerElem: 1 }, scratch);
  return rangesOf(fromEach).map(({ from, until }) => received.subarray(from, until));
}

/** @param bytesOfEach of each position's part @param fill writes this rank's @returns the parts */
export async function gatherBytes(
  { seat: { route, position, scratch }, onActivity }: Exchange,
  bytesOfEach: readonly number[],
  fill: (own: Uint8Array) => Promise<void>,
): Promise<Uint8Array[]> {
  const gathered = new Uint8Array(bytesOfEach.reduce((sum, bytes) => sum + bytes, 0));
  const parts = rangesOf(bytesOfEach).map(({ from, until }) => gathered.subarray(from, until));
  await fill(parts[position]!);
  const { plan, algorithm } = selectAllgather({ rank: position, size: parts.length, elemsOf: bytesOfEach, bytesPerElem: 1 });
  onActivity(algorithm, 'allgather');
  await execute(plan, route, { bytes: gathered, bytesPerElem: 1 }, scratch);
  return parts;
}
