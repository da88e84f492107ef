/**
 * The collectives in which ranks end with different things (alltoall, reducescatter), and Adasum, which combines whole vectors of two ranks at a time.
 *
 * Communication thread. Invariants: all messages of an operation bear one tag, as both ends of a link send and take them in the same order; an alltoall leaves its
 * input as it was, the others work in their operand.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { addProducts, combine, type Products, type Vector } from '../collective/adasum';
import { execute, type Operand, type Route } from '../collective/execute';
import { rangesOf, rowsOfParts } from '../collective/plan';
import { selectAdasum, selectAlltoall, selectBroadcast, selectReduceScatter } from '../collective/select';
import { arrayTypeOf, bytesPerElem, elemsOf } from '../dtype';
import type { Call } from './call';

/** So long, some milliseconds at most, a slice of a vector keeps the thread from its peers. */
const SLICE_ELEMS = 1 << 18;

/** This rank among those that carry out an operation. */
export interface Seat {
  readonly route: Route;
  /** Among `route.members`. */
  readonly position: number;
  readonly scratch: Uint8Array;
}

/** @param splits of each member */
export async function alltoall(
  { route, position, scratch }: Seat,
  { parts, dtype }: Call,
  source: Uint8Array,
  splits: readonly (readonly number[])[],
): Promise<{ outputs: ArrayBuffer[]; rows: number[][] }> {
  const rowBytes = elemsOf(parts[0]!.slice(1)) * bytesPerElem(dtype);
  const rows = splits.map((ofMember) => ofMember[position]!);
  const [toEach, fromEach] = [splits[position]!, rows].map((list) => list.map((count) => count * rowBytes)) as [number[], number[]];
  const output = new Uint8Array(fromEach.reduce((sum, bytes) => sum + bytes, 0));
  const own = rangesOf(toEach)[position]!;
  output.set(source.subarray(own.from, own.until), rangesOf(fromEach)[position]!.from);
  const { plan } = selectAlltoall({ rank: position, size: splits.length, toEach, fromEach, bytesPerElem: 1 });
  await execute(plan, route, { bytes: output, source, bytesPerElem: 1 }, scratch);
  return { outputs: [output.buffer], rows: [rows] };
}

/** This rank's rows of each tensor stay where they are in the operand, reduced. */
export async function reducescatter({ route, position, scratch }: Seat, { parts }: Call, operand: Operand): Promise<void> {
  const size = route.members.length;
  const elemsOfEach = parts.map((shape) => rowsOfParts(shape[0]!, size).map((rows) => rows * elemsOf(shape.slice(1))));
  const { plan } = selectReduceScatter({ rank: position, size, elemsOf: elemsOfEach, bytesPerElem: operand.bytesPerElem });
  await execute(plan, route, operand, scratch);
}

/** Each tensor by itself, in place. */
export async function adasum(
  { route, position, scratch }: Seat,
  { parts, dtype }: Call,
  { bytes, bytesPerElem, finish }: Operand,
): Promise<void> {
  const arrayType = arrayTypeOf(dtype);
  const group = { rank: position, size: route.members.length, bytesPerElem };
  for (const { from, until } of rangesOf(parts.map(elemsOf))) {
    const elems = until - from;
    const own = { bytes: bytes.subarray(from * bytesPerElem, until * bytesPerElem), bytesPerElem };
    const vector = new arrayType(bytes.buffer, own.bytes.byteOffset, elems) as Vector;
    let other: Vector | undefined;
    for (const { action, plan } of selectAdasum({ ...group, elems })) {
      if (action === 'give') await execute(plan, route, own, scratch);
      else {
        other ??= new arrayType(elems) as Vector;
        await execute(plan, route, { bytes: new Uint8Array(other.buffer), bytesPerElem }, scratch);
        await combineInTurns(vector, other);
      }
    }
    // One rank scales what all the others copy.
    if (position === 0) finish?.(from, elems);
    await execute(selectBroadcast({ ...group, root: 0, elems }).plan, route, own, scratch);
  }
}

/** A vector of 1 GiB takes seconds, in which this thread has to tell its peers that it lives. */
async function combineInTurns(own: Vector, other: Vector): Promise<void> {
  const products: Products = { dot: 0, ownSquares: 0, otherSquares: 0 };
  for (const step of [addProducts, combine]) {
    for (let from = 0; from < own.length; from += SLICE_ELEMS) {
      if (from > 0) await nextTurn();
      step(products, own.subarray(from, from + SLICE_ELEMS), other.subarray(from, from + SLICE_ELEMS));
    }
  }
}
