/**
 * What a call does to its elements: before they are summed, how two become one, and what the sum gets once it is complete; and memory as the operand of a plan. Communication thread.
 *
 * Floats get one factor at the end, integers the exact truncating quotient, then the truncated product; what travels in a smaller format has been divided before.
 */
import type { Operand } from '../collective/execute';
import { bytesPerElem, isFloat } from '../dtype';
import { BugError } from '../errors';
import { bytesOf } from '../memory/arena';
import type { KernelOp, Kernels } from '../memory/kernels';
import type { Call, CallOp } from './call';
import { formatOf, isDividedFirst, wireFormOf } from './compression';

/** Memory that an operand lies in, with what works on it. */
export interface Workspace {
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  /** The ranks of a host may see it. */
  readonly isShared: boolean;
}

/** What lies at `base` as the operand of a reduction over so many ranks, prescaled. @param scratchOffset where the scratch of plans begins */
export function operandOf(call: Call, workspace: Workspace, base: number, bytes: number, size: number, scratchOffset: number): Operand {
  const { memory, kernels, isShared } = workspace;
  const itemBytes = bytesPerElem(call.dtype);
  prescale(call, kernels, base, bytes / itemBytes, size);
  const format = formatOf(call, size);
  return {
    bytes: bytesOf(memory, base, bytes),
    bytesPerElem: itemBytes,
    borrows: isShared,
    reduce: (elem, count, scratchByte) =>
      kernels.reduce(call.dtype, kernelOpOf(call.op), base + elem * itemBytes, scratchOffset + scratchByte, count),
    finish: finisher(call, kernels, base, size),
    combine: combiner(call, kernels, size),
    ...(format && wireFormOf(kernels, format, call, kernelOpOf(call.op), base, scratchOffset)),
  };
}

/** What an element gets before it is summed. */
export function prescale(call: Call, kernels: Kernels, at: number, elems: number, size: number): void {
  const factor = isDividedFirst(call, size) ? call.prescale / divisorOf(call, size) : call.prescale;
  if (factor !== 1) kernels.scale(call.dtype, at, elems, factor);
}

/** What it gets once it is. Undefined: nothing. */
export function finisher(call: Call, kernels: Kernels, base: number, size: number): Operand['finish'] {
  const { dtype, postscale } = call;
  const itemBytes = bytesPerElem(dtype);
  const format = formatOf(call, size);
  if (format) {
    const half = kernels.half(format, dtype);
    return (elem, elems) => {
      if (postscale !== 1) kernels.scale(dtype, base + elem * itemBytes, elems, postscale);
      half.round(base + elem * itemBytes, elems);
    };
  }
  const divisor = divisorOf(call, size);
  if (divisor === 1 && postscale === 1) return undefined;
  if (isFloat(dtype)) return (elem, elems) => kernels.scale(dtype, base + elem * itemBytes, elems, postscale / divisor);
  return (elem, elems) => {
    if (divisor !== 1) kernels.divide(dtype, base + elem * itemBytes, elems, divisor);
    if (postscale !== 1) kernels.scale(dtype, base + elem * itemBytes, elems, postscale);
  };
}

/** So much stays in the fastest cache while it is finished and copied. */
const PIECE_ELEMS = 2048;

function combiner(call: Call, kernels: Kernels, size: number): Operand['combine'] {
  const { dtype, postscale } = call;
  const divisor = divisorOf(call, size);
  if (isFloat(dtype) || (divisor === 1 && postscale === 1))
    return (byteOffsets, elems) => kernels.combine(dtype, kernelOpOf(call.op), byteOffsets, elems, postscale / divisor);
  // Whole numbers are finished one by one: on one of the operands, for all.
  const itemBytes = bytesPerElem(dtype);
  return (byteOffsets, elems) => {
    for (let from = 0; from < elems; from += PIECE_ELEMS) {
      const count = Math.min(PIECE_ELEMS, elems - from);
      const [first, ...others] = byteOffsets.map((at) => at + from * itemBytes) as [number, ...number[]];
      for (const other of others) kernels.reduce(dtype, kernelOpOf(call.op), first, other, count);
      finisher(call, kernels, first, size)!(0, count);
      for (const other of others) kernels.copy(other, first, count * itemBytes);
    }
  };
}

const divisorOf = ({ op }: Call, size: number): number => (op === 'average' ? size : 1);

/** An average is a sum, divided at the end. */
export function kernelOpOf(op: CallOp): KernelOp {
  if (op === 'adasum') throw new BugError('adasum is no operation on single elements. Please report it.');
  return op === 'average' ? 'sum' : op;
}
