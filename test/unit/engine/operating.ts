/** Ranks that carry out operations over the transport in memory, and the numbers they do it with. */
import { defaultPolicy } from '../../../src/collective/select';
import { arrayTypeOf, type Dtype, isFloat, type NumericArray } from '../../../src/dtype';
import { type Call, callKey } from '../../../src/engine/call';
import { layOutRegions } from '../../../src/engine/messages';
import { type Decided, type OperationResult, Operations } from '../../../src/engine/operations';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { makeKernels } from '../../../src/memory/kernels';
import { inProcessTransports } from '../../../src/transport/in_process';

/** `at`: where an operand of at most 1 MiB may lie. */
export function makeOperations(size: number, fusionThresholdBytes = 0) {
  const regions = layOutRegions(fusionThresholdBytes);
  return inProcessTransports(size).map((transport) => {
    const memory = createMemory();
    memory.grow(Math.ceil((regions.reservedBytes + (1 << 20)) / 65536));
    const operations = new Operations(memory, makeKernels(memory), regions, transport, size, () => 'here', defaultPolicy);
    return { transport, memory, at: regions.reservedBytes, operations };
  });
}

/** One operation on all ranks: what each returned, and what then lay where its operand had been. */
export function runOn(
  ranks: ReturnType<typeof makeOperations>,
  calls: readonly Call[],
  operands: readonly Uint8Array[],
  sizes: Decided['sizes'] = [],
): Promise<Array<{ result: OperationResult; bytes: Uint8Array }>> {
  return Promise.all(
    ranks.map(async ({ memory, at, operations }, rank) => {
      const [call, operand] = [calls[rank]!, operands[rank]!];
      bytesOf(memory, at, operand.length).set(operand);
      const submission = { id: 1, slot: 1, call, byteOffset: at, bytes: operand.length, isAwaited: true };
      const [result] = await operations.run({ keys: [callKey(call)], kind: call.kind, processSet: 0, tag: 1, sizes }, [submission]);
      return { result: result!, bytes: bytesOf(memory, at, operand.length).slice() };
    }),
  );
}

export const arrayOf = (dtype: Dtype, values: readonly number[]): NumericArray => {
  const array = new (arrayTypeOf(dtype))(values.length);
  for (const [i, value] of values.entries()) array[i] = (dtype.endsWith('int64') ? BigInt(Math.trunc(value)) : value) as never;
  return array;
};
export const bytesIn = (array: NumericArray): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
export const numbersIn = (dtype: Dtype, bytes: Uint8Array): number[] =>
  Array.from(new (arrayTypeOf(dtype))(bytes.slice().buffer) as Float32Array, Number);
/** Fractions for floats: sums of a few of them are rounded, so that their order shows. */
export const value = (dtype: Dtype, rank: number, i: number): number =>
  isFloat(dtype) ? 1 / (1 + ((i * 7 + rank * 3) % 13)) : 1 + ((i + rank) % 3);
