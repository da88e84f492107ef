/**
 * Arithmetic over ranges of the shared memory: WebAssembly SIMD, for every dtype but bool. Any thread; each makes its own.
 *
 * The same inputs give the same bits on every machine (no fused multiply-add, no reordering), except for the payload of a NaN. Ranges are checked here, once a
 * call, so that a wrong one is a BugError and not a trap. A dtype's code is emitted when the dtype is first used (about 2 ms, then the thread keeps it).
 */
import { bytesPerElem, type Dtype, type HalfFormat, isFloat } from '../dtype';
import { BugError } from '../errors';
import { rangeCheck } from './arena';
import { combineSource } from './combine_source';
import { emitModule, type FunctionSource } from './emitter';
import { HALF_BYTES, type HalfKernelName, halfKernelSources } from './half_source';
import { BLOCK_ELEMS, type Int8KernelName, int8KernelSources } from './int8_source';
import { copySource, type KernelName, type KernelOp, kernelSources } from './kernel_source';

export type { KernelOp };

/** Ranges are byte offsets (of any alignment) and elements. All @throws BugError a range outside the memory, or dtype bool */
export interface Kernels {
  /** target = target ⊕ source. The ranges are the same or disjoint. */
  reduce(dtype: Dtype, op: KernelOp, target: number, source: number, elems: number): void;
  /**
   * All of the targets become target ⊕ target ⊕ …, in that order, floats then times `factor` in their own type. The ranges are disjoint.
   * @param targets at least 2 @param factor for integers it means nothing
   */
  combine(dtype: Dtype, op: KernelOp, targets: readonly number[], elems: number, factor?: number): void;
  /** Floats times `factor` in their own type; integers in float64, truncated towards zero, saturating. A factor of 1 changes nothing. */
  scale(dtype: Dtype, at: number, elems: number, factor: number): void;
  /** Integers: exact division, truncated towards zero; floats: times 1/divisor. The divisor is an integer from 1 to 2^31 − 1. */
  divide(dtype: Dtype, at: number, elems: number, divisor: number): void;
  /** The ranges may overlap. */
  copy(target: number, source: number, bytes: number): void;
  /** Floats in 16 bits each. */
  half(format: HalfFormat, dtype: Dtype): HalfKernels;
  /** float32 in 8 bits each, with a scale a block. */
  int8(): Int8Kernels;
}

/** Whole blocks of `BLOCK_ELEMS` float32, as many scales (float32), and as many codes as elements (int8). The ranges are disjoint. */
export interface Int8Kernels {
  /** Codes and scales of values + residual; the residual becomes what they have lost (0 in a block that is not finite). The values stay. */
  quantise(values: number, residual: number, scales: number, codes: number, blocks: number): void;
  /** values = values + scale · code. */
  add(values: number, scales: number, codes: number, blocks: number): void;
  /** values = scale · code. */
  decode(values: number, scales: number, codes: number, blocks: number): void;
}

/** For float32 and float64. `halves`: 16-bit elements. The ranges are disjoint. */
export interface HalfKernels {
  /** halves = floats, rounded to nearest even; the floats become what was written, so that who sends holds what is received. */
  encode(floats: number, halves: number, elems: number): void;
  decode(floats: number, halves: number, elems: number): void;
  /** floats = floats ⊕ halves. */
  reduce(op: KernelOp, floats: number, halves: number, elems: number): void;
  /** What encoding and decoding would make of them. */
  round(floats: number, elems: number): void;
}

type Kernel = (...parameters: number[]) => void;
/** A module's functions, by name. */
type Exports<Name extends string> = Readonly<Record<Name, Kernel>>;

/** Emitted and compiled so far in this thread. */
const modules = new Map<string, WebAssembly.Module>();

function moduleOf(key: string, sources: () => FunctionSource[]): WebAssembly.Module {
  let module = modules.get(key);
  if (!module) {
    module = new WebAssembly.Module(emitModule(sources()));
    modules.set(key, module);
  }
  return module;
}

/** The kernels over that memory. */
export function makeKernels(memory: WebAssembly.Memory): Kernels {
  const instances = new Map<string, Exports<string>>();
  const instanceOf = <Name extends string>(key: string, sources: () => FunctionSource[]): Exports<Name> => {
    const made = instances.get(key);
    if (made) return made;
    const exports = new WebAssembly.Instance(moduleOf(key, sources), { env: { memory } }).exports as Exports<Name>;
    instances.set(key, exports);
    return exports;
  };
  const checkArithmetic = (dtype: Dtype): void => {
    if (dtype === 'bool') throw new BugError('no arithmetic is done on dtype bool. Please report it.');
  };
  const kernelsOf = (dtype: Dtype): Exports<KernelName> => {
    checkArithmetic(dtype);
    return instanceOf(dtype, () => kernelSources(dtype));
  };

  const check = rangeCheck(memory);

  function scale(dtype: Dtype, at: number, elems: number, factor: number): void {
    const kernels = kernelsOf(dtype);
    check(at, elems * bytesPerElem(dtype));
    if (factor !== 1) kernels.scale(at, elems, factor);
  }

  function half(format: HalfFormat, dtype: Dtype): HalfKernels {
    if (!isFloat(dtype)) throw new BugError(`${dtype} has no 16-bit form. Please report it.`);
    const kernels = instanceOf<HalfKernelName>(`${format} ${dtype}`, () => halfKernelSources(format, dtype));
    const run = (name: HalfKernelName, floats: number, halves: number, elems: number): void => {
      check(floats, elems * bytesPerElem(dtype));
      check(halves, elems * HALF_BYTES);
      kernels[name](floats, halves, elems);
    };
    return {
      encode: (floats, halves, elems) => run('encode', floats, halves, elems),
      decode: (floats, halves, elems) => run('decode', floats, halves, elems),
      reduce: run,
      round: (floats, elems) => run('round', floats, floats, elems),
    };
  }

  function int8(): Int8Kernels {
    const kernels = instanceOf<Int8KernelName>('int8', int8KernelSources);
    const checked = (scales: number, codes: number, blocks: number, ...floats: number[]): void => {
      for (const at of floats) check(at, blocks * BLOCK_ELEMS * bytesPerElem('float32'));
      check(scales, blocks * bytesPerElem('float32'));
      check(codes, blocks * BLOCK_ELEMS);
    };
    return {
      quantise(values, residual, scales, codes, blocks) {
        checked(scales, codes, blocks, values, residual);
        kernels.quantise(values, residual, scales, codes, blocks);
      },
      add(values, scales, codes, blocks) {
        checked(scales, codes, blocks, values);
        kernels.add(values, scales, codes, blocks);
      },
      decode(values, scales, codes, blocks) {
        checked(scales, codes, blocks, values);
        kernels.decode(values, scales, codes, blocks);
      },
    };
  }

  return {
    scale,
    half,
    int8,
    reduce(dtype, op, target, source, elems) {
      const kernels = kernelsOf(dtype);
      const bytes = elems * bytesPerElem(dtype);
      check(target, bytes);
      check(source, bytes);
      kernels[op](target, source, elems);
    },
    combine(dtype, op, targets, elems, factor = 1) {
      checkArithmetic(dtype);
      const { length } = targets;
      const { combine } = instanceOf<'combine'>(`${op} of ${length} ${dtype}`, () => [combineSource(dtype, op, length)]);
      for (const target of targets) check(target, elems * bytesPerElem(dtype));
      combine(...targets, elems, factor);
    },
    divide(dtype, at, elems, divisor) {
      if (!Number.isInteger(divisor) || divisor < 1 || divisor > 0x7fffffff)
        throw new BugError(`division by ${divisor}. Please report it.`);
      if (isFloat(dtype)) return scale(dtype, at, elems, 1 / divisor);
      const kernels = kernelsOf(dtype);
      check(at, elems * bytesPerElem(dtype));
      if (divisor !== 1) kernels.divide(at, elems, divisor);
    },
    copy(target, source, bytes) {
      check(target, bytes);
      check(source, bytes);
      instanceOf<'copy'>('copy', () => [copySource]).copy(target, source, bytes);
    },
  };
}
