/** The arithmetic of a small allreduce that the coordinator carries out alone, against plain loops and against the plan of two ranks. */
import t from 'tap';
import { type Dtype, dtypes, isFloat, type NumericArray } from '../../../src/dtype';
import { type Call, callKey, type ElementOp, elementOps } from '../../../src/engine/call';
import { BugError } from '../../../src/errors';
import { bytesOf } from '../../../src/memory/arena';
import { call } from './calls';
import { arrayOf, bytesIn, makeOperations, numbersIn, runOn, value } from './operating';

const reducible = dtypes.filter((dtype) => dtype !== 'bool');

function reduced(dtype: Dtype, op: ElementOp, operands: readonly NumericArray[]): number[] {
  const rounded = (x: number): number => (dtype === 'float32' ? Math.fround(x) : x);
  const two: Record<ElementOp, (a: number, b: number) => number> = {
    average: (a, b) => a + b,
    sum: (a, b) => a + b,
    min: Math.min,
    max: Math.max,
    product: (a, b) => a * b,
  };
  return Array.from(operands[0] as Float32Array, (_, i) => {
    const all = operands.map((operand) => Number(operand[i]));
    const result = all.reduce((a, b) => rounded(two[op](a, b)));
    if (op !== 'average') return result;
    return isFloat(dtype) ? rounded(result * rounded(1 / operands.length)) : Math.trunc(result / operands.length);
  });
}

t.test('every dtype and op on 2 to 5 ranks: the members in order, one after the other', async (t) => {
  for (const size of [2, 3, 4, 5]) {
    const { operations: own } = makeOperations(size)[0]!;
    for (const dtype of reducible) {
      for (const op of elementOps) {
        for (const elems of [1, size, 17, 100]) {
          const operands = Array.from({ length: size }, (_, rank) =>
            arrayOf(
              dtype,
              Array.from({ length: elems }, (_, i) => value(dtype, rank, i)),
            ),
          );
          const result = own.combine(call('x', { dtype, op, parts: [[elems]] }), operands.map(bytesIn));
          t.same(numbersIn(dtype, result), reduced(dtype, op, operands), `${size} ranks, ${op} of ${elems} ${dtype}`);
        }
      }
    }
  }
});

t.test('on two ranks it gives the bits of the plan, with factors before and after', async (t) => {
  const ranks = makeOperations(2);
  for (const dtype of reducible) {
    for (const op of elementOps) {
      const elems = 33;
      const one: Call = call('x', { dtype, op, parts: [[elems]], prescale: 0.7, postscale: 3.1 });
      const operands = [0, 1].map((rank) =>
        bytesIn(
          arrayOf(
            dtype,
            Array.from({ length: elems }, (_, i) => value(dtype, rank, i)),
          ),
        ),
      );
      const combined = ranks[0]!.operations.combine(one, operands);
      const results = await runOn(ranks, [one, one], operands);
      for (const { bytes } of results) t.same([...bytes], [...combined], `${op} of ${dtype}`);
    }
  }
});

t.test('a result is kept when the next one is made, and lands where its call lay', async (t) => {
  const [{ memory, at, operations }] = makeOperations(2) as [ReturnType<typeof makeOperations>[0]];
  const operand = (n: number): Uint8Array => Uint8Array.of(n, n, n);
  const one = call('x', { dtype: 'uint8', parts: [[3]] });
  const first = operations.combine(one, [operand(1), operand(2)]);
  operations.combine(one, [operand(7), operand(8)]);
  t.same([...first], [3, 3, 3]);
  const submission = { id: 1, slot: 1, call: one, byteOffset: at + 1, bytes: 3, isAwaited: true };
  operations.place(submission, first);
  t.same([...bytesOf(memory, at, 5)], [0, 3, 3, 3, 0]);
  t.same([...operations.operandOf(submission)], [3, 3, 3]);
  t.throws(() => operations.place(submission, operand(1).subarray(1)), BugError);
});

t.test('what is told of the work: copies into the fusion region and back, and the algorithm', async (t) => {
  const ranks = makeOperations(2, 1024);
  const told: string[] = [];
  ranks[0]!.operations.onActivity = (name) => told.push(name);
  const calls = ['a', 'b'].map((name) => call(name, { parts: [[4]] }));
  await Promise.all(
    ranks.map(({ operations, at }) =>
      operations.run(
        { keys: calls.map(callKey), kind: 'allreduce', processSet: 0, tag: 1, sizes: [] },
        // Not one right behind the other.
        calls.map((one, i) => ({ id: i, slot: i, call: one, byteOffset: at + 64 * i, bytes: 16, isAwaited: true })),
      ),
    ),
  );
  t.same(told, ['MEMCPY_IN_FUSION_BUFFER', 'RECURSIVE_DOUBLING_ALLREDUCE', 'MEMCPY_OUT_FUSION_BUFFER']);
});
