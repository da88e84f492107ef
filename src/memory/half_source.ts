/**
 * The code of the kernels between floats and their 16-bit wire forms. Pure; kernels.ts makes functions of it.
 *
 * fp16 is IEEE 754's binary16, bf16 the upper half of a float32. Rounding is to nearest, ties to even; what is too large becomes infinite, denormals are exact; every NaN becomes the same one, so that
 * ranks which came to it in different ways hold the same bits. A float64 goes through float32, which rounds it first. Rounding a value twice changes nothing any more.
 *
 * Four elements at a time are converted, as four 32-bit lanes; a single element (the rest of a range, and every float64: nobody trains in it) takes the same code in all lanes, of which one is kept.
 * Sources: F. Giesen, "Half to float done quic(k)" and "float_to_half_fast3_rtne" (the denormals by one float addition: no element needs a branch).
 */
import { bytesPerElem, type Dtype, type HalfFormat } from '../dtype';
import { access, type Code, type FunctionSource, get, i32Const, increase, inLane, op, set, tee, v128Const, whileLoop } from './emitter';
import { type KernelOp, kernelOps } from './kernel_source';

/** What the module of a format and dtype exports: the reductions take what they add in wire form. */
export type HalfKernelName = KernelOp | 'encode' | 'decode' | 'round';

export const HALF_BYTES = 2;

/** The functions for one wire form of float32 or float64. Names are `HalfKernelName`s. */
export function halfKernelSources(format: HalfFormat, dtype: Dtype): FunctionSource[] {
  const form = formOf(format, dtype);
  return [encodeSource(form), decodeSource(form), roundSource(form), ...kernelOps.map((kernel) => reduceSource(form, kernel))];
}

/** Locals behind three parameters; a conversion uses the last two, whatever it is given stands on the stack. */
const [float, half, elems, leftHalves, rightHalves, whole, magnitude] = [0, 1, 2, 3, 4, 5, 6];

interface Form {
  /** Four float32 on the stack → four 16-bit forms in 32-bit lanes. */
  readonly toHalves: Code;
  /** The other way, exactly. */
  readonly toFloats: Code;
  readonly bytes: number;
  /** float32: four at a time. */
  readonly isWide: boolean;
  readonly scalar: 'f32' | 'f64';
  /** One element on the stack → float32 in all lanes. */
  readonly spread: Code;
  /** Back from the first lane. */
  readonly keepOne: Code;
}

function formOf(format: HalfFormat, dtype: Dtype): Form {
  const isWide = dtype === 'float32';
  return {
    ...conversions[format],
    bytes: bytesPerElem(dtype),
    isWide,
    scalar: isWide ? 'f32' : 'f64',
    spread: [isWide ? [] : op('f32.demote_f64'), op('f32x4.splat')],
    keepOne: [inLane('f32x4.extract_lane', 0), isWide ? [] : op('f64.promote_f32')],
  };
}

// ───────────────────────────── conversions ─────────────────────────────

/** The same 32 bits in four lanes. */
const lanes = (bits: number): Code => v128Const(bits & 0xff, (bits >>> 8) & 0xff, (bits >>> 16) & 0xff, bits >>> 24);
const shift = (direction: 'shl' | 'shr_u', bits: number): Code => [i32Const(bits), op(`i32x4.${direction}`)];
const add = op('i32x4.add');
const and = op('v128.and');
const or = op('v128.or');

/** Two codes of four lanes: the first where the mask is set, the second elsewhere. */
const where = (mask: Code, then: Code, otherwise: Code): Code => [then, otherwise, mask, op('v128.bitselect')];
const isNan: Code = [get(whole), get(whole), op('f32x4.ne')];
/** Lowest of the bits that stay: adding it to one less than half a unit rounds ties to even. */
const oddness = (of: number, dropped: number): Code => [get(of), shift('shr_u', dropped), lanes(1), and];

/** 2^-14, the least normal fp16; below, its units are those of a float32 between 0.5 and 1. */
const LEAST_NORMAL = 0x38800000;
const ONE_HALF = 0x3f000000;
/** 2^16: it, and all above, becomes infinite; what lies between it and the largest fp16 is rounded. */
const BEYOND = 0x47800000;
/** The exponents' biases are 15 and 127. */
const BIAS_BITS = (127 - 15) << 23;

const fp16ToHalves: Code = [
  [tee(whole), lanes(0x7fffffff), and, set(magnitude)],
  where(isNan, lanes(0x7e00), [
    where(
      [get(magnitude), lanes(LEAST_NORMAL), op('i32x4.lt_s')],
      [get(magnitude), lanes(ONE_HALF), op('f32x4.add'), lanes(ONE_HALF), op('i32x4.sub')],
      [
        [get(magnitude), lanes(BEYOND), op('i32x4.min_s'), tee(magnitude), lanes(0xfff - BIAS_BITS), add],
        [oddness(magnitude, 13), add, shift('shr_u', 13)],
      ],
    ),
    [get(whole), shift('shr_u', 16), lanes(0x8000), and, or],
  ]),
];

const fp16ToFloats: Code = [
  [tee(whole), lanes(0x7fff), and, shift('shl', 13), set(magnitude)],
  where(
    [get(magnitude), lanes(1 << 23), op('i32x4.lt_s')],
    [get(magnitude), lanes(LEAST_NORMAL), add, lanes(LEAST_NORMAL), op('f32x4.sub')],
    [
      [get(magnitude), lanes(BIAS_BITS), add],
      // Infinite or NaN: the exponent of ones.
      [get(magnitude), lanes((0x1f << 23) - 1), op('i32x4.gt_s'), lanes(0x7f800000), and, or],
    ],
  ),
  [get(whole), lanes(0x8000), and, shift('shl', 16), or],
];

const bf16ToHalves: Code = [
  set(whole),
  where(isNan, lanes(0x7fc0), [get(whole), lanes(0x7fff), add, oddness(whole, 16), add, shift('shr_u', 16)]),
];

const conversions: Record<HalfFormat, Pick<Form, 'toHalves' | 'toFloats'>> = {
  fp16: { toHalves: fp16ToHalves, toFloats: fp16ToFloats },
  bf16: { toHalves: bf16ToHalves, toFloats: shift('shl', 16) },
};

// ───────────────────────────── functions ─────────────────────────────

/** While there are so many elements: the step, then the pointers move on. */
const forEach = ({ bytes }: Form, elemsPerTurn: number, step: Code): Code =>
  whileLoop(
    [get(elems), i32Const(elemsPerTurn), op('i32.ge_u')],
    [step, increase(float, elemsPerTurn * bytes), increase(half, elemsPerTurn * HALF_BYTES), increase(elems, -elemsPerTurn)],
  );

/** Eight float32 a turn, then one element a turn. */
const functionOf = (form: Form, name: HalfKernelName, eightSteps: Code, oneStep: Code): FunctionSource => ({
  name,
  parameters: ['i32', 'i32', 'i32'],
  locals: ['v128', 'v128', 'v128', 'v128'],
  body: [form.isWide ? forEach(form, 8, eightSteps) : [], forEach(form, 1, oneStep)],
});
/** `vectorStep`: for the four elements that begin so many elements on. */
const twice = (vectorStep: (from: number) => Code): Code => [vectorStep(0), vectorStep(4)];

const loadFloats = (from: number): Code => [get(float), access('v128.load', 4 * from)];
const loadHalves = (from: number): Code => [get(half), access('v128.load16x4_u', HALF_BYTES * from)];
const loadFloat = ({ scalar }: Form): Code => [get(float), access(`${scalar}.load`)];
const loadHalf: Code = [get(half), access('i32.load16_u'), op('i32x4.splat')];

/** half = float; float = what half says. */
function encodeSource(form: Form): FunctionSource {
  const { toHalves, toFloats, spread, keepOne, scalar } = form;
  const writeBack = (from: number, halves: number): Code => [get(float), get(halves), toFloats, access('v128.store', 4 * from)];
  return functionOf(
    form,
    'encode',
    [
      [get(half), loadFloats(0), toHalves, tee(leftHalves), loadFloats(4), toHalves, tee(rightHalves)],
      [op('i16x8.narrow_i32x4_u'), access('v128.store'), writeBack(0, leftHalves), writeBack(4, rightHalves)],
    ],
    [
      [get(half), loadFloat(form), spread, toHalves, tee(leftHalves), inLane('i32x4.extract_lane', 0), access('i32.store16')],
      [get(float), get(leftHalves), toFloats, keepOne, access(`${scalar}.store`)],
    ],
  );
}

/** float = half. */
function decodeSource(form: Form): FunctionSource {
  const { toFloats, keepOne, scalar } = form;
  return functionOf(
    form,
    'decode',
    twice((from) => [get(float), loadHalves(from), toFloats, access('v128.store', 4 * from)]),
    [get(float), loadHalf, toFloats, keepOne, access(`${scalar}.store`)],
  );
}

/** float = what its half would say; the second parameter is unused. */
function roundSource(form: Form): FunctionSource {
  const { toHalves, toFloats, spread, keepOne, scalar } = form;
  return functionOf(
    form,
    'round',
    twice((from) => [get(float), loadFloats(from), toHalves, toFloats, access('v128.store', 4 * from)]),
    [get(float), loadFloat(form), spread, toHalves, toFloats, keepOne, access(`${scalar}.store`)],
  );
}

const instructions: Record<KernelOp, string> = { sum: 'add', min: 'min', max: 'max', product: 'mul' };

/** float = float ⊕ half, in the float's own type. */
function reduceSource(form: Form, kernel: KernelOp): FunctionSource {
  const { toFloats, keepOne, scalar } = form;
  const instruction = instructions[kernel];
  return functionOf(
    form,
    kernel,
    twice((from) => [
      [get(float), loadFloats(from), loadHalves(from), toFloats],
      [op(`f32x4.${instruction}`), access('v128.store', 4 * from)],
    ]),
    [get(float), loadFloat(form), loadHalf, toFloats, keepOne, op(`${scalar}.${instruction}`), access(`${scalar}.store`)],
  );
}
