/**
 * The code of the kernel that applies one gradient by a rule. Pure; optimizers.ts makes functions of it.
 *
 * Four vectors a turn, then one element a turn, in all lanes of which one is kept: every element is computed by the same instructions, wherever it stands. Loops count elements down instead of comparing
 * addresses, because the end of a full 4 GiB memory is no 32-bit address.
 */
import { access, type Code, type FunctionSource, get, i32Const, increase, inLane, op, set, tee, whileLoop } from '../memory/emitter';
import { type Expression, input, mul } from './expression';
import { type RuleSpec, ruleFor, slotsOf } from './rules';

export const KERNEL = 'update';
const elemBytes = 4;
const vectorElems = 4;
const unrolled = 4;

/** Parameters: the addresses of the variable, the gradient and each slot; elements; the scale; the numbers of a step in the rule's order. The gradient is only read. */
export function updateSource(spec: RuleSpec): FunctionSource {
  const rule = ruleFor(spec);
  const settings = spec as never;
  const slotCount = slotsOf(spec).length;
  const names = Object.keys(rule.numbers(settings, 0, 1));

  const pointers = [...Array(2 + slotCount).keys()];
  const elems = pointers.length;
  const firstNumber = elems + 1;
  /** Of all lanes: what does not change from element to element, what was loaded, what was computed. */
  const locals = new Map<Expression, number>();
  const localOf = (expression: Expression): number => {
    const local = firstNumber + 1 + names.length + locals.size;
    locals.set(expression, local);
    return local;
  };
  const numbers = ['scale', ...names].map((name, i) => {
    const expression = input();
    return { name, expression, spread: [get(firstNumber + i), op('f32x4.splat'), set(localOf(expression))] };
  });
  const loaded = pointers.map((pointer) => {
    const expression = input();
    return { pointer, expression, local: localOf(expression) };
  });

  const [scale, ...ofRule] = numbers;
  const [value, gradient, ...slots] = loaded.map(({ expression }) => expression);
  const formulas = rule.formulas(Object.fromEntries(ofRule.map(({ name, expression }) => [name, expression])), settings);
  const results = formulas(value, mul(gradient, scale.expression), ...slots);
  const written = pointers.filter((pointer) => pointer !== 1);

  /** Its value, on the stack; computed where it is used first, in the order of the code. */
  const codeOf = (expression: Expression): Code => {
    const known = locals.get(expression);
    if (known !== undefined) return get(known);
    const operands = expression.operands.map(codeOf);
    return [operands, op(`f32x4.${expression.instruction}`), tee(localOf(expression))];
  };
  // Once: every step of the loops runs all of it, so that what is computed first stands in its local.
  const computed = results.map(codeOf);
  const step = (load: Code, store: Code): Code => [
    loaded.map(({ pointer, local }) => [get(pointer), load, set(local)]),
    written.map((pointer, i) => [get(pointer), computed[i], store]),
  ];
  const forEach = (elemsPerTurn: number, body: Code): Code =>
    whileLoop(
      [get(elems), i32Const(elemsPerTurn), op('i32.ge_u')],
      [body, pointers.map((pointer) => increase(pointer, elemsPerTurn * elemBytes)), increase(elems, -elemsPerTurn)],
    );
  const vectorStep = (index: number): Code => {
    const offset = index * vectorElems * elemBytes;
    return step(access('v128.load', offset), access('v128.store', offset));
  };
  const elementStep = step(access('v128.load32_splat'), [inLane('f32x4.extract_lane', 0), access('f32.store')]);
  const vectors = [...Array(unrolled).keys()].map(vectorStep);
  return {
    name: KERNEL,
    parameters: [...pointers.map(() => 'i32' as const), 'i32', ...numbers.map(() => 'f32' as const)],
    locals: Array.from(locals, () => 'v128'),
    body: [numbers.map(({ spread }) => spread), forEach(vectorElems * unrolled, vectors), forEach(1, elementStep)],
  };
}
