/**
 * What each rank gives to a call of a random program, and what it must get: plain loops over the definitions, with nothing of the package's own code in them. Pure.
 *
 * Small whole numbers make sums exact in every order (and in 16 bits); where a result is rounded, `tolerance` says how far it may be off.
 */
import { adasumOf } from '../adasum';
import { halfBound } from '../half_bound';
import { type Call, everyRank } from './call';

export interface Expected {
  readonly shape: readonly number[];
  readonly values: Float64Array;
  /** For each value; undefined: it is exact. */
  readonly tolerance?: Float64Array;
}
/** What one rank gets. */
export type Result =
  | { readonly is: 'mismatch' }
  | { readonly is: 'values'; readonly values: readonly Expected[]; readonly receivedSplits?: readonly number[] }
  | { readonly is: 'object'; readonly object: unknown };

const elemsOf = (shape: readonly number[]): number => shape.reduce((product, axis) => product * axis, 1);
const sumOf = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);

/** Of that rank's value number `part`. */
export function shapeOf({ kind, shapes, rows, splits }: Call, rank: number, part: number): readonly number[] {
  const [length, ...axes] = shapes[part]!;
  if (kind === 'allgather') return [rows[rank]![part]!, ...axes];
  if (kind === 'alltoall') return [sumOf(splits[rank]!), ...axes];
  return length === undefined ? [] : [length, ...axes];
}

/** The element at `i` of that value. */
export function elementOf({ id, op, dtype, isReal }: Call, rank: number, part: number, i: number): number {
  if (isReal || op === 'adasum') return Math.fround(Math.sin(i * 12.9898 + rank * 78.233 + id * 3.7 + part) * 2);
  const drawn = i * 3 + rank * 5 + id * 7 + part;
  if (dtype === 'bool') return drawn % 2;
  if (op === 'product') return 1 + (drawn % 2);
  return dtype.startsWith('u') ? drawn % 7 : (drawn % 7) - 3;
}
const elementsOf = (call: Call, rank: number, part: number): Float64Array =>
  new Float64Array(elemsOf(shapeOf(call, rank, part))).map((_, i) => elementOf(call, rank, part, i));

export function objectOf(call: Call, rank: number): unknown {
  return { rank, id: call.id, words: everyRank(call.id % 5).map((i) => `word ${i} of ${rank}`), data: Int32Array.of(rank, call.id) };
}

export function resultOf(call: Call, rank: number): Result {
  const { kind, absent, members, shapes, disagreement, root } = call;
  if (disagreement || (absent.length > 0 && kind !== 'allreduce' && kind !== 'barrier')) return { is: 'mismatch' };
  const position = members.indexOf(rank);
  const each = (of: (part: number) => Expected): Result => ({ is: 'values', values: shapes.map((_, part) => of(part)) });
  switch (kind) {
    case 'barrier':
      return { is: 'values', values: [] };
    case 'object':
      return { is: 'object', object: call.isEqual ? objectOf(call, root) : members.map((member) => objectOf(call, member)) };
    case 'broadcast':
      return each((part) => ({ shape: shapeOf(call, rank, part), values: elementsOf(call, root, part) }));
    case 'allgather':
      return each((part) => {
        const values = members.map((member) => elementsOf(call, member, part));
        const rows = sumOf(members.map((member) => call.rows[member]![part]!));
        return { shape: [rows, ...shapes[part]!.slice(1)], values: joined(values) };
      });
    case 'alltoall': {
      const axes = shapes[0]!.slice(1);
      const sent = members.map((from) => {
        const before = sumOf(call.splits[from]!.slice(0, position)) * elemsOf(axes);
        return elementsOf(call, from, 0).subarray(before, before + call.splits[from]![position]! * elemsOf(axes));
      });
      const receivedSplits = members.map((from) => call.splits[from]![position]!);
      return { is: 'values', values: [{ shape: [sumOf(receivedSplits), ...axes], values: joined(sent) }], receivedSplits };
    }
    case 'allreduce':
      return each((part) => ({ shape: shapes[part]!, ...reduced(call, part) }));
    case 'reducescatter':
      return each((part) => {
        const [rows, ...axes] = shapes[part] as [number, ...number[]];
        const rowsAt = (at: number): number => Math.floor(rows / members.length) + (at < rows % members.length ? 1 : 0);
        const from = sumOf(everyRank(position).map(rowsAt)) * elemsOf(axes);
        const until = from + rowsAt(position) * elemsOf(axes);
        const { values, tolerance } = reduced(call, part);
        return { shape: [rowsAt(position), ...axes], values: values.subarray(from, until), tolerance: tolerance?.subarray(from, until) };
      });
  }
}

function joined(parts: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(sumOf(parts.map((part) => part.length)));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** post · op over the members of (pre · x), for those that have joined 0. */
function reduced(call: Call, part: number): Pick<Expected, 'values' | 'tolerance'> {
  const { op, dtype, members, absent, shapes, prescale, postscale } = call;
  const isFloat = dtype.startsWith('float');
  const scaled = (x: number, factor: number): number => (isFloat ? x * factor : Math.trunc(x * factor));
  const elems = elemsOf(shapes[part]!);
  const terms = members.map((member) => (absent.includes(member) ? new Float64Array(elems) : elementsOf(call, member, part)));
  if (op === 'adasum') {
    const values = Float64Array.from(adasumOf(terms.map((term) => [...term])));
    return { values, tolerance: values.map((x) => 1e-4 * (1 + Math.abs(x))) };
  }
  const values = new Float64Array(elems);
  const magnitudes = new Float64Array(elems);
  for (const [position, term] of terms.entries()) {
    for (let i = 0; i < elems; i += 1) {
      const x = scaled(term[i]!, prescale);
      values[i] = position === 0 ? x : combined(op, values[i]!, x);
      magnitudes[i]! += Math.abs(x);
    }
  }
  const divisor = op === 'average' ? members.length : 1;
  for (let i = 0; i < elems; i += 1) {
    values[i] = scaled(isFloat ? values[i]! / divisor : Math.trunc(values[i]! / divisor), postscale);
    magnitudes[i]! /= divisor;
  }
  const isExact = !isFloat || members.length === 1 || (!call.isReal && (op !== 'average' || isPowerOfTwo(members.length)));
  if (isExact) return { values };
  const bound = (magnitude: number): number =>
    call.compression === 'none'
      ? (members.length + 3) * 2 ** -23 * magnitude * Math.abs(postscale)
      : halfBound(call.compression, members.length, magnitude, postscale);
  return { values, tolerance: magnitudes.map(bound) };
}

const isPowerOfTwo = (count: number): boolean => Number.isInteger(Math.log2(count));

function combined(op: Call['op'], a: number, b: number): number {
  if (op === 'min') return Math.min(a, b);
  if (op === 'max') return Math.max(a, b);
  return op === 'product' ? a * b : a + b;
}
