/**
 * The kernels' code, for one dtype at a time. Pure; kernels.ts makes functions of it.
 *
 * Every reduction has three loops over the same elements: four vectors a turn, one vector a turn, one element a turn. Loops count elements down instead of
 * comparing addresses, because the end of a full 4 GiB memory is no 32-bit address. Addresses may be unaligned.
 * Integers wrap around; float minima and maxima propagate NaN and put −0 below +0 (WebAssembly's min and max, as Math.min and Math.max).
 */
import { bytesPerElem, type Dtype, isFloat } from '../dtype';
import {
  access,
  type Code,
  type FunctionSource,
  f64Const,
  get,
  i32Const,
  increase,
  memoryCopy,
  op,
  set,
  tee,
  type ValueType,
  v128Const,
  whileLoop,
} from './emitter';

export const kernelOps = ['sum', 'min', 'max', 'product'] as const;
export type KernelOp = (typeof kernelOps)[number];
/** What a dtype's module exports; floats have no `divide`. */
export type KernelName = KernelOp | 'scale' | 'divide';

export const vectorBytes = 16;
export const unrolled = 4;
export const turn = Array.from({ length: unrolled }, (_, index) => index);

/** How the instructions for one dtype are called. */
export interface Lane {
  readonly bytes: number;
  readonly isFloat: boolean;
  readonly suffix: '' | '_s' | '_u';
  /** Type of one element on the stack. */
  readonly scalar: 'i32' | 'i64' | 'f32' | 'f64';
  readonly vector: string;
  readonly load: string;
  readonly store: string;
}

export function laneOf(dtype: Dtype): Lane {
  const bytes = bytesPerElem(dtype);
  const float = isFloat(dtype);
  const suffix = float ? '' : dtype.startsWith('u') ? '_u' : '_s';
  const scalar: Lane['scalar'] = `${float ? 'f' : 'i'}${bytes === 8 ? 64 : 32}`;
  const narrow = bytes < 4 ? String(bytes * 8) : '';
  const vector = `${float ? 'f' : 'i'}${bytes * 8}x${vectorBytes / bytes}`;
  return {
    bytes,
    isFloat: float,
    suffix,
    scalar,
    vector,
    load: `${scalar}.load${narrow}${narrow && suffix}`,
    store: `${scalar}.store${narrow}`,
  };
}

/** The functions of one dtype (not bool). Names are `KernelName`s. */
export function kernelSources(dtype: Dtype): FunctionSource[] {
  return [
    ...kernelOps.map((kernel) => reduceSource(dtype, kernel)),
    ...(isFloat(dtype) ? [scaleFloatsSource(dtype)] : [scaleIntegersSource(dtype), divideSource(dtype)]),
  ];
}

export const copySource: FunctionSource = {
  name: 'copy',
  parameters: ['i32', 'i32', 'i32'],
  locals: [],
  body: [get(0), get(1), get(2), memoryCopy],
};

// ───────────────────────────── reduce ─────────────────────────────

/** Locals in which two values are held that are compared. */
export interface Pair {
  readonly left: number;
  readonly right: number;
}

/** Parameters and locals of `reduce`. */
const [target, source, elems] = [0, 1, 2];
const vectors: Pair = { left: 3, right: 4 };
const scalars: Pair = { left: 5, right: 6 };

function reduceSource(dtype: Dtype, kernel: KernelOp): FunctionSource {
  const lane = laneOf(dtype);
  const vectorStep = (index: number): Code => {
    const offset = index * vectorBytes;
    return [
      [get(target), get(target), access('v128.load', offset), get(source), access('v128.load', offset)],
      [combineVectors(lane, kernel, vectors), access('v128.store', offset)],
    ];
  };
  const scalarStep = [
    [get(target), get(target), access(lane.load), get(source), access(lane.load)],
    [combineScalars(lane, kernel, scalars), access(lane.store)],
  ];
  const elemsPerVector = vectorBytes / lane.bytes;
  return {
    name: kernel,
    parameters: ['i32', 'i32', 'i32'],
    locals: ['v128', 'v128', lane.scalar, lane.scalar],
    body: [
      forEach(lane, elems, [target, source], elemsPerVector * unrolled, turn.map(vectorStep)),
      forEach(lane, elems, [target, source], elemsPerVector, vectorStep(0)),
      forEach(lane, elems, [target, source], 1, scalarStep),
    ],
  };
}

/** While `count` is at least `elemsPerTurn`: the step, then the pointers move on by so many elements. */
export function forEach(lane: Lane, count: number, pointers: number[], elemsPerTurn: number, step: Code): Code {
  return whileLoop(
    [get(count), i32Const(elemsPerTurn), op('i32.ge_u')],
    [step, pointers.map((pointer) => increase(pointer, elemsPerTurn * lane.bytes)), increase(count, -elemsPerTurn)],
  );
}

/** Two vectors on the stack → one. */
export function combineVectors({ vector, suffix }: Lane, kernel: KernelOp, { left, right }: Pair): Code {
  if (kernel === 'sum') return op(`${vector}.add`);
  if (kernel === 'product') return vector === 'i8x16' ? multiplyBytes({ left, right }) : op(`${vector}.mul`);
  if (vector !== 'i64x2') return op(`${vector}.${kernel}${suffix}`);
  // There is no i64x2.min or .max. Flipping the sign bits turns the signed comparison into the unsigned one.
  const flip = suffix === '_u' ? [v128Const(0, 0, 0, 0, 0, 0, 0, 0x80), op('v128.xor')] : [];
  return [
    [set(right), tee(left), get(right), get(left), flip, get(right), flip],
    [op(kernel === 'min' ? 'i64x2.lt_s' : 'i64x2.gt_s'), op('v128.bitselect')],
  ];
}

/**
 * There is no i8x16.mul. The low byte of a 16-bit product is the product of the low bytes (the even elements), whatever stands above them; the odd elements are
 * shifted down, multiplied, and shifted up again.
 */
const multiplyBytes = ({ left, right }: Pair): Code => [
  [set(right), tee(left), get(right), op('i16x8.mul')],
  [get(left), i32Const(8), op('i16x8.shr_u'), get(right), i32Const(8), op('i16x8.shr_u'), op('i16x8.mul'), i32Const(8), op('i16x8.shl')],
  [v128Const(0xff, 0x00), op('v128.bitselect')],
];

/** Two elements on the stack → one. Narrow integers are 32 bits wide here; storing them drops what wrapped. */
export function combineScalars({ scalar, suffix, isFloat: float }: Lane, kernel: KernelOp, { left, right }: Pair): Code {
  if (kernel === 'sum') return op(`${scalar}.add`);
  if (kernel === 'product') return op(`${scalar}.mul`);
  if (float) return op(`${scalar}.${kernel}`);
  const compare = op(`${scalar}.${kernel === 'min' ? 'lt' : 'gt'}${suffix}`);
  return [set(right), tee(left), get(right), get(left), get(right), compare, op('select')];
}

// ───────────────────────────── scale, divide ─────────────────────────────

/** Parameters and locals: address, elements, factor or divisor (a divisor of 64-bit integers is widened first). */
const [at, count, factor, widened] = [0, 1, 2, 3];

/** The factor is rounded to the dtype, then every product is. */
function scaleFloatsSource(dtype: Dtype): FunctionSource {
  const lane = laneOf(dtype);
  const elemsPerVector = vectorBytes / lane.bytes;
  const scalarFactor = [get(factor), dtype === 'float32' ? op('f32.demote_f64') : []];
  const vectorStep = (index: number): Code => [
    [get(at), get(at), access('v128.load', index * vectorBytes), get(widened)],
    [op(`${lane.vector}.mul`), access('v128.store', index * vectorBytes)],
  ];
  return {
    name: 'scale',
    parameters: ['i32', 'i32', 'f64'],
    locals: ['v128'],
    body: [
      [scalarFactor, op(`${lane.vector}.splat`), set(widened)],
      forEach(lane, count, [at], elemsPerVector * unrolled, turn.map(vectorStep)),
      forEach(lane, count, [at], 1, [get(at), get(at), access(lane.load), scalarFactor, op(`${lane.scalar}.mul`), access(lane.store)]),
    ],
  };
}

/** To float64, times the factor, truncated towards zero; what lies outside the dtype becomes its nearest value, NaN becomes 0. */
function scaleIntegersSource(dtype: Dtype): FunctionSource {
  const lane = laneOf(dtype);
  const bits = lane.bytes * 8;
  const [least, most] = lane.suffix === '_s' ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
  // The truncating instructions saturate at 32 and 64 bits by themselves.
  const clamp = bits < 32 ? [f64Const(least), op('f64.max'), f64Const(most), op('f64.min')] : [];
  const step = [
    [get(at), get(at), access(lane.load), op(`f64.convert_${lane.scalar}${lane.suffix}`), get(factor), op('f64.mul')],
    [clamp, op(`${lane.scalar}.trunc_sat_f64${lane.suffix}`), access(lane.store)],
  ];
  return { name: 'scale', parameters: ['i32', 'i32', 'f64'], locals: [], body: forEach(lane, count, [at], 1, step) };
}

/** Exact, towards zero. The divisor is positive, so that nothing overflows. */
function divideSource(dtype: Dtype): FunctionSource {
  const lane = laneOf(dtype);
  const locals: ValueType[] = [lane.scalar];
  const step = [get(at), get(at), access(lane.load), get(widened), op(`${lane.scalar}.div${lane.suffix}`), access(lane.store)];
  return {
    name: 'divide',
    parameters: ['i32', 'i32', 'i32'],
    locals,
    body: [get(factor), lane.scalar === 'i64' ? op('i64.extend_i32_u') : [], set(widened), forEach(lane, count, [at], 1, step)],
  };
}
