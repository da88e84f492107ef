/** Every plan, over the transport in memory and the real kernels, against the plain result. */
import t from 'tap';
import { execute, type Operand } from '../../src/collective/execute';
import type { Plan } from '../../src/collective/plan';
import { arrayTypeOf, bytesPerElem, type Dtype, dtypes } from '../../src/dtype';
import { type KernelOp, type Kernels, makeKernels } from '../../src/memory/kernels';
import { inProcessTransports } from '../../src/transport/in_process';
import { allgather, allreduces, broadcasts, elemsFor, sizes } from '../unit/collective/algorithms';

type Num = number | bigint;
const ops: readonly KernelOp[] = ['sum', 'min', 'max', 'product'];
const reducible = dtypes.filter((dtype) => dtype !== 'bool');
/** Tiny ones, so that there are many; fewer of the long operand, so that the test stays short. */
const segmentFor = (elems: number): number => (elems < 100 ? 2 : 48);

const scratchAt = 0;
const scratchBytes = 1024;
/** Odd, and away from both ends: nothing may rely on alignment or write beyond the operand. */
const operandAt = 4099;
const GUARD = 0xa5;

interface RankMemory {
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
}
const memories: RankMemory[] = Array.from({ length: Math.max(...sizes) }, () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return { bytes: new Uint8Array(memory.buffer), kernels: makeKernels(memory) };
});

/** The bytes of all ranks' operands afterwards. @throws Error a byte beside an operand was touched */
async function run(
  plans: readonly Plan[],
  operands: readonly Uint8Array[],
  itemBytes: number,
  calls: (kernels: Kernels) => Partial<Operand>,
) {
  const transports = inProcessTransports(plans.length, { lazy: true });
  const members = plans.map((_, position) => position);
  await Promise.all(
    plans.map((plan, rank) => {
      const { bytes, kernels } = memories[rank]!;
      const operand = operands[rank]!;
      bytes.fill(GUARD, scratchAt + scratchBytes, operandAt + operand.length + 64);
      bytes.set(operand, operandAt);
      return execute(
        plan,
        { transport: transports[rank]!, members, tag: 7 },
        { bytes: bytes.subarray(operandAt, operandAt + operand.length), bytesPerElem: itemBytes, ...calls(kernels) },
        bytes.subarray(scratchAt, scratchAt + scratchBytes),
      );
    }),
  );
  return plans.map((_, rank) => {
    const { bytes } = memories[rank]!;
    const end = operandAt + operands[rank]!.length;
    for (const beside of [bytes.subarray(scratchAt + scratchBytes, operandAt), bytes.subarray(end, end + 64)]) {
      if (beside.some((byte) => byte !== GUARD)) throw new Error(`rank ${rank}: a byte beside the operand was written`);
    }
    return bytes.slice(operandAt, end);
  });
}

const plain: Record<KernelOp, (a: Num, b: Num) => Num> = {
  sum: (a, b) => (a as number) + (b as number),
  product: (a, b) => (a as number) * (b as number),
  // biome-ignore lint/complexity/useMathMinMax: Math knows no bigint
  min: (a, b) => (b < a ? b : a),
  // biome-ignore lint/complexity/useMathMinMax: Math knows no bigint
  max: (a, b) => (b > a ? b : a),
};
const isSigned = (dtype: Dtype): boolean => !dtype.startsWith('uint');
/** Small whole numbers: exact in every dtype, in any order (where a product overflows, it wraps in any order alike). */
function elemOf(dtype: Dtype, rank: number, elem: number): Num {
  const value = isSigned(dtype) ? ((rank * 7 + elem * 3) % 6) - 2 : ((rank * 7 + elem * 5) % 4) + 1;
  return dtype.endsWith('int64') ? BigInt(value) : value;
}
const halved = (value: Num, dtype: Dtype): Num => {
  if (typeof value === 'bigint') return value / 2n;
  return dtype.startsWith('float') ? value / 2 : Math.trunc(value / 2);
};

for (const [name, plansOf] of Object.entries(allreduces)) {
  for (const size of sizes) {
    t.test(
      `${name} allreduce over ${size} rank(s) gives the plain result, halved once, for every dtype, op and number of elements`,
      async (t) => {
        for (const elems of elemsFor(size)) {
          const plans = plansOf({ size, elems, segmentElems: segmentFor(elems), chunkElems: 4 * segmentFor(elems) });
          for (const dtype of reducible) {
            const ArrayType = arrayTypeOf(dtype);
            const itemBytes = bytesPerElem(dtype);
            const parts = memories.slice(0, size).map((_, rank) => {
              const part = new ArrayType(elems);
              for (let i = 0; i < elems; i += 1) part[i] = elemOf(dtype, rank, i) as never;
              return part;
            });
            for (const op of ops) {
              const expected = new ArrayType(elems);
              expected.set(parts[0]! as never);
              for (let i = 0; i < elems; i += 1) {
                // Through the array each time, which wraps as the dtype does.
                for (const part of parts.slice(1)) expected[i] = plain[op](expected[i]!, part[i]!) as never;
                expected[i] = halved(expected[i]!, dtype) as never;
              }
              const results = await run(
                plans,
                parts.map((part) => new Uint8Array(part.buffer)),
                itemBytes,
                (kernels) => ({
                  reduce: (elem, count, scratchByte) =>
                    kernels.reduce(dtype, op, operandAt + elem * itemBytes, scratchAt + scratchByte, count),
                  finish: (elem, count) => kernels.divide(dtype, operandAt + elem * itemBytes, count, 2),
                }),
              );
              const wanted = Buffer.from(expected.buffer);
              // −0 and 0 are the same number.
              const same = (bytes: Uint8Array) =>
                wanted.equals(bytes) || new ArrayType(bytes.slice().buffer).every((value, i) => value === expected[i]);
              for (const [rank, bytes] of results.entries()) {
                if (!same(bytes)) t.fail(`${elems} elements of ${dtype}, ${op}, rank ${rank}`);
                if (Buffer.compare(bytes, results[0]!) !== 0)
                  t.fail(`${elems} elements of ${dtype}, ${op}: rank ${rank} differs from rank 0`);
              }
            }
          }
        }
        t.pass();
      },
    );
  }
}

/** Bytes that tell rank and place. */
const patternOf = (rank: number, bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, i) => rank * 37 + i * 11 + 1);

for (const [name, plansOf] of Object.entries(broadcasts)) {
  t.test(`${name} broadcast gives every rank the root's bytes, for every root, dtype and number of elements`, async (t) => {
    for (const size of sizes) {
      for (let root = 0; root < size; root += 1) {
        for (const elems of elemsFor(size)) {
          const plans = plansOf({ size, elems, segmentElems: segmentFor(elems), root });
          for (const itemBytes of [1, 2, 4, 8]) {
            const operands = plans.map((_, rank) => patternOf(rank, elems * itemBytes));
            const results = await run(plans, operands, itemBytes, () => ({}));
            if (results.some((bytes) => Buffer.compare(bytes, operands[root]!) !== 0))
              t.fail(`${size} ranks, root ${root}, ${elems} × ${itemBytes} bytes`);
          }
        }
      }
    }
    t.pass();
  });
}

t.test('ring allgather gives every rank all parts in order, equal and ragged, for every dtype', async (t) => {
  for (const size of sizes) {
    for (const elems of elemsFor(size)) {
      const equal = new Array<number>(size).fill(elems);
      const ragged = equal.map((_, rank) => (rank * elems) % (size + 1));
      const single = equal.map((_, rank) => (rank === size - 1 ? elems : 0));
      for (const elemsOf of [equal, ragged, single]) {
        const plans = allgather({ elemsOf, segmentElems: segmentFor(elems) });
        for (const itemBytes of [1, 4]) {
          const parts = elemsOf.map((count, rank) => patternOf(rank, count * itemBytes));
          const expected = Buffer.concat(parts);
          const operands = parts.map((part, rank) => {
            const operand = new Uint8Array(expected.length);
            operand.set(part, elemsOf.slice(0, rank).reduce((sum, count) => sum + count, 0) * itemBytes);
            return operand;
          });
          const results = await run(plans, operands, itemBytes, () => ({}));
          if (results.some((bytes) => !expected.equals(bytes))) t.fail(`${size} ranks, parts of ${elemsOf} × ${itemBytes} bytes`);
        }
      }
    }
  }
  t.pass();
});
