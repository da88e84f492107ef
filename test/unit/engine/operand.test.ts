/** What all members see becomes their combination at once: the same bits as operand by operand, then finished, on each. */
import t from 'tap';
import { bytesPerElem, type Dtype } from '../../../src/dtype';
import { operandOf } from '../../../src/engine/operand';
import { bytesOf, createMemory } from '../../../src/memory/arena';
import { makeKernels } from '../../../src/memory/kernels';
import { randomOf } from '../../helpers/random';
import { call } from './calls';

const SIZE = 3;
const ELEMS = 5000;
const OPERAND_BYTES = 65536;

const memory = createMemory(64);
memory.grow(63);
const kernels = makeKernels(memory);
const workspace = { memory, kernels, isShared: true };
const [combined, plain] = [OPERAND_BYTES, 20 * OPERAND_BYTES];
const at = (base: number, rank: number): number => base + rank * OPERAND_BYTES + 64 * rank;

for (const dtype of ['float32', 'float64', 'int32', 'uint8', 'int64'] as Dtype[])
  for (const [op, postscale] of [
    ['sum', 1],
    ['sum', 0.3],
    ['average', 1],
    ['average', 2.5],
    ['max', 1],
  ] as const)
    t.test(`${op} of ${dtype}, times ${postscale}`, async (t) => {
      const one = call('x', { dtype, op, postscale, parts: [[ELEMS]] });
      const bytes = ELEMS * bytesPerElem(dtype);
      const random = randomOf(1);
      for (let rank = 0; rank < SIZE; rank += 1) {
        const operand = bytesOf(memory, at(plain, rank), bytes);
        for (let i = 0; i < bytes; i += 1) operand[i] = random.below(dtype.startsWith('float') ? 0x40 : 256);
        bytesOf(memory, at(combined, rank), bytes).set(operand);
      }
      const [first, second] = [
        operandOf(one, workspace, at(plain, 0), bytes, SIZE, 0),
        operandOf(one, workspace, at(combined, 0), bytes, SIZE, 0),
      ];
      for (let rank = 1; rank < SIZE; rank += 1) first.reduce!(0, ELEMS, at(plain, rank));
      first.finish?.(0, ELEMS);
      second.combine!(
        Array.from({ length: SIZE }, (_, rank) => at(combined, rank)),
        ELEMS,
      );
      const expected = bytesOf(memory, at(plain, 0), bytes);
      for (let rank = 0; rank < SIZE; rank += 1)
        t.equal(Buffer.compare(bytesOf(memory, at(combined, rank), bytes), expected), 0, `operand ${rank}`);
    });
