/**
 * Arithmetic over ranges of the shared memory: WebAssembly SIMD, for every dtype but bool. Any thread; each makes its own.
 *
 * The same inputs give the same bits on every machine (no fused multiply-add, no reordering), except for the payload of a NaN. Ranges are checked here, once a
 * call, so that a wrong one is a BugError and not a trap. A dtype's code is emitted when the dtype is first used (about 2 ms, then the thread keeps it).
 */
import { bytesPerElem, type Dtype, isFloat } from '../dtype';
import { BugError } from '../errors';
import { bufferWith } from './arena';
import { emitModule } from './emitter';
import { copySource, type KernelName, type KernelOp, kernelSources } from './kernel_source';

export type { KernelOp };

/** Ranges are byte offsets (of any alignment) and elements. All @throws BugError a range outside the memory, or dtype bool */
export interface Kernels {
  /** target = target ⊕ source. The ranges are the same or disjoint. */
  reduce(dtype: Dtype, op: KernelOp, target: number, source: number, elems: number): void;
  /** Floats times `factor` in their own type; integers in float64, truncated towards zero, saturating. A factor of 1 changes nothing. */
  scale(dtype: Dtype, at: number, elems: number, factor: number): void;
  /** Integers: exact division, truncated towards zero; floats: times 1/divisor. The divisor is an integer from 1 to 2^31 − 1. */
  divide(dtype: Dtype, at: number, elems: number, divisor: number): void;
  /** The ranges may overlap. */
  copy(target: number, source: number, bytes: number): void;
}

type Kernel = (first: number, second: number, third: number) => void;
/** What one module exports. */
type Exports = Readonly<Record<KernelName | 'copy', Kernel>>;

/** Emitted and compiled so far in this thread. */
const modules = new Map<Dtype | 'copy', WebAssembly.Module>();

function moduleOf(key: Dtype | 'copy'): WebAssembly.Module {
  let module = modules.get(key);
  if (!module) {
    module = new WebAssembly.Module(emitModule(key === 'copy' ? [copySource] : kernelSources(key)));
    modules.set(key, module);
  }
  return module;
}

/** The kernels over that memory. */
export function makeKernels(memory: WebAssembly.Memory): Kernels {
  const instances = new Map<Dtype | 'copy', Exports>();
  const kernelsOf = (key: Dtype | 'copy'): Exports => {
    const made = instances.get(key);
    if (made) return made;
    if (key === 'bool') throw new BugError('no arithmetic is done on dtype bool. Please report it.');
    const exports = new WebAssembly.Instance(moduleOf(key), { env: { memory } }).exports as Exports;
    instances.set(key, exports);
    return exports;
  };

  // The memory never shrinks: its length is asked for only when a range goes beyond what was seen. Asking also tells the instances of another thread's growth.
  let knownBytes = 0;
  const check = (from: number, bytes: number): void => {
    if (!(from >= 0 && bytes >= 0)) throw new BugError(`a kernel was called for ${bytes} bytes at ${from}. Please report it.`);
    if (from + bytes > knownBytes) knownBytes = bufferWith(memory, from + bytes).byteLength;
  };

  function scale(dtype: Dtype, at: number, elems: number, factor: number): void {
    const kernels = kernelsOf(dtype);
    check(at, elems * bytesPerElem(dtype));
    if (factor !== 1) kernels.scale(at, elems, factor);
  }

  return {
    scale,
    reduce(dtype, op, target, source, elems) {
      const kernels = kernelsOf(dtype);
      const bytes = elems * bytesPerElem(dtype);
      check(target, bytes);
      check(source, bytes);
      kernels[op](target, source, elems);
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
      kernelsOf('copy').copy(target, source, bytes);
    },
  };
}
