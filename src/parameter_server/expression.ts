/**
 * Arithmetic on one element, as a description: rules.ts writes the optimizers' formulas with it, update_source.ts makes code of them. Pure.
 *
 * Every operation is one of IEEE 754's in float32, rounded once. An expression that is used twice (the same object) is computed once.
 */
export interface Expression {
  /** As f32x4 has it; undefined: an input. */
  readonly instruction?: 'add' | 'sub' | 'mul' | 'div' | 'max' | 'sqrt' | 'abs';
  readonly operands: readonly Expression[];
}

const operation =
  (instruction: Expression['instruction']) =>
  (...operands: [Expression, Expression]): Expression => ({ instruction, operands });
const functionOfOne =
  (instruction: Expression['instruction']) =>
  (operand: Expression): Expression => ({ instruction, operands: [operand] });

/** What an expression begins with: an element, or a number that is the same for all elements. */
export const input = (): Expression => ({ operands: [] });
export const add = operation('add');
export const sub = operation('sub');
export const mul = operation('mul');
export const div = operation('div');
export const max = operation('max');
export const sqrt = functionOfOne('sqrt');
export const abs = functionOfOne('abs');
export const square = (x: Expression): Expression => mul(x, x);
