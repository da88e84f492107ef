/** What the code of every kernel here takes for granted of its elements, 32 bits each, and the loops that they share. Pure. */
import { type Code, get, i32Const, increase, op, whileLoop } from '../../../../memory/emitter';

export const FLOAT_BYTES = 4;
/** Elements of a vector. */
export const LANES = 4;
export const VECTOR_BYTES = LANES * FLOAT_BYTES;

/** For `count` down to 0: four at a time, then one at a time. The bodies move their pointers. */
export const inFours = (count: number, four: Code, one: Code): Code => [
  whileFour(count, four),
  whileLoop(get(count), [one, increase(count, -1)]),
];
/** The first half of it. */
export const whileFour = (count: number, four: Code): Code =>
  whileLoop([get(count), i32Const(LANES), op('i32.ge_s')], [four, increase(count, -LANES)]);

/** Pointers to elements, so many further. */
export const move = (pointers: readonly number[], elems: number): Code => pointers.map((pointer) => increase(pointer, elems * FLOAT_BYTES));
