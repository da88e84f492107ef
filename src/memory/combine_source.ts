/**
 * The code of an allreduce over operands in one memory: all of them become their combination. Pure; kernels.ts makes functions of it.
 *
 * Each element is loaded once from every operand and stored once to every operand, vector by vector: nothing has to stay in a cache, and the memory reads all operands at the same time. The bits are those
 * of `reduce` from operand to operand in their order, then `scale`.
 */
import type { Dtype } from '../dtype';
import { access, type Code, type FunctionSource, get, op, set, type ValueType } from './emitter';
import { combineScalars, combineVectors, forEach, type KernelOp, laneOf, type Pair, turn, unrolled, vectorBytes } from './kernel_source';

/** Parameters: an address for each operand, elements, and for floats the factor that their combination gets (in float64). @param operands at least 2 */
export function combineSource(dtype: Dtype, kernel: KernelOp, operands: number): FunctionSource {
  const lane = laneOf(dtype);
  const addresses = Array.from({ length: operands }, (_, index) => index);
  const factorType: ValueType[] = lane.isFloat ? ['f64'] : [];
  const [elems, factor] = [operands, operands + 1];
  const first = operands + 1 + factorType.length;
  const [vector, factors, scalar] = [first, first + 1, first + 4];
  const vectors: Pair = { left: first + 2, right: first + 3 };
  const scalars: Pair = { left: first + 5, right: first + 6 };
  /** Leaves the combination of what is loaded from all operands. */
  const combination = (load: Code, combine: Code): Code => [
    [get(0), load],
    addresses.slice(1).map((address) => [get(address), load, combine]),
  ];
  const storeAll = (value: number, store: Code): Code => addresses.map((address) => [get(address), get(value), store]);
  const scalarFactor = [get(factor), dtype === 'float32' ? op('f32.demote_f64') : []];
  const vectorStep = (index: number): Code => [
    combination(access('v128.load', index * vectorBytes), combineVectors(lane, kernel, vectors)),
    lane.isFloat ? [get(factors), op(`${lane.vector}.mul`)] : [],
    [set(vector), storeAll(vector, access('v128.store', index * vectorBytes))],
  ];
  const scalarStep = [
    combination(access(lane.load), combineScalars(lane, kernel, scalars)),
    lane.isFloat ? [scalarFactor, op(`${lane.scalar}.mul`)] : [],
    [set(scalar), storeAll(scalar, access(lane.store))],
  ];
  const elemsPerVector = vectorBytes / lane.bytes;
  return {
    name: 'combine',
    parameters: [...addresses.map((): ValueType => 'i32'), 'i32', ...factorType],
    locals: ['v128', 'v128', 'v128', 'v128', lane.scalar, lane.scalar, lane.scalar],
    body: [
      lane.isFloat ? [scalarFactor, op(`${lane.vector}.splat`), set(factors)] : [],
      forEach(lane, elems, addresses, elemsPerVector * unrolled, turn.map(vectorStep)),
      forEach(lane, elems, addresses, elemsPerVector, vectorStep(0)),
      forEach(lane, elems, addresses, 1, scalarStep),
    ],
  };
}
