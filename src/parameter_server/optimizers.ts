/**
 * Optimizers without TensorFlow.js: apply gradients to variables that lie in the shared memory, by kernels of our own (WebAssembly SIMD). Any thread; a server's communication thread.
 *
 * They hold nothing but the rule: variables, slots, the count of steps and the learning rate are the caller's. The same inputs give the same bits on every machine.
 */
import { BugError } from '../errors';
import { rangeCheck } from '../memory/arena';
import { emitModule } from '../memory/emitter';
import { type RuleSpec, ruleFor, slotsOf } from './rules';
import { KERNEL, updateSource } from './update_source';

/** Ranges of `elems` float32, as byte offsets in the memory: multiples of 4, disjoint. */
export interface Update {
  readonly variable: number;
  readonly gradient: number;
  /** In the order of `slotsOf`. */
  readonly slots: readonly number[];
  readonly elems: number;
}

export interface Optimizer {
  /**
   * Applies one gradient, which stays as it is: variable and slots change.
   * @param step of the whole job, the first is 1; it may jump: a variable without gradient in a step is not called for
   * @param learningRate of this step
   * @param scale the gradient is multiplied by it first (1/n: an average of n)
   * @throws BugError a range outside the memory or not aligned, too many or too few slots, a step before the first
   */
  apply(update: Update, step: number, learningRate: number, scale: number): void;
}

/** The rule over that memory. Its kernel is emitted and compiled here, in about a millisecond. */
export function makeOptimizer(spec: RuleSpec, memory: WebAssembly.Memory): Optimizer {
  const rule = ruleFor(spec);
  const slotCount = slotsOf(spec).length;
  const module = new WebAssembly.Module(emitModule([updateSource(spec)]));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernel = exports[KERNEL] as (...numbers: number[]) => void;
  const check = rangeCheck(memory);

  return {
    apply({ variable, gradient, slots, elems }, step, learningRate, scale) {
      if (!Number.isInteger(step) || step < 1) throw new BugError(`step ${step} of ${spec.kind} was asked for. Please report it.`);
      if (slots.length !== slotCount)
        throw new BugError(`${spec.kind} keeps ${slotCount} slots, but was given ${slots.length}. Please report it.`);
      const ranges = [variable, gradient, ...slots];
      for (const at of ranges) {
        if (at % 4 !== 0) throw new BugError(`${spec.kind} was called at byte ${at}, which is no multiple of 4. Please report it.`);
        check(at, elems * 4);
      }
      kernel(...ranges, elems, scale, ...Object.values(rule.numbers(spec as never, learningRate, step)));
    },
  };
}
