/**
 * What compressors that keep a residual exchange with: bytes, by the plans of alltoall and allgather, and float32 as they are. Communication thread; work of more than some milliseconds lets it look at its
 * peers in between.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { execute } from '../collective/execute';
import { type Range, rangesOf } from '../collective/plan';
import { selectAllgather, selectAlltoall } from '../collective/select';
import { slicesOf } from '../collective/top_k';
import type { Floats } from '../memory/int8';
import type { Seat } from './exchange';

/** What an exchange has to work with. */
export interface Exchange {
  readonly seat: Seat;
  /** This rank's elements, scaled; they become the sum. */
  readonly operand: Uint8Array;
  /** Sums over the ranks so many float32 that lie where the operand does, in place. */
  sum(elems: number): Promise<void>;
  onActivity(algorithm: string, kind: string): void;
}

/**
 * Sums of as many vectors of float32, as they are, in one operation. They lie where the operand does, which is overwritten: whoever fills has taken what he needs of it.
 * @param fill writes this rank's
 */
export async function summed(
  { operand, sum }: Exchange,
  lengths: readonly number[],
  fill: (i: number, room: Float32Array) => Promise<void>,
): Promise<Float32Array[]> {
  const places = rangesOf(lengths);
  const room = new Float32Array(operand.buffer, operand.byteOffset, places.at(-1)?.until ?? 0);
  for (const [i, { from, until }] of places.entries()) await fill(i, room.subarray(from, until));
  if (room.length > 0) await sum(room.length);
  return places.map(({ from, until }) => room.slice(from, until));
}

/** Takes a range out of the residual. */
export function takeOut(residual: Float32Array, { from, until }: Range, room: Float32Array): void {
  room.set(residual.subarray(from, until));
  residual.fill(0, from, until);
}

/** residual = residual + values. */
export function* addTo(residual: Float32Array, values: Floats): Generator<void> {
  for (const { from, until } of slicesOf(residual.length)) {
    if (from > 0) yield;
    for (let i = from; i < until; i += 1) residual[i]! += values[i]!;
  }
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
