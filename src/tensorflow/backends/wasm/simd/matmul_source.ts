/**
 * Code for products of matrices of which one has few rows, as in dense layers with a small batch: each reads its big factor once, where it lies. Pure.
 * Row-major; `rows` is the small number.
 */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  get,
  i32Const,
  increase,
  increaseBy,
  inLane,
  op,
  set,
  whileLoop,
} from '../../../../memory/emitter';
import { FLOAT_BYTES, inFours, LANES, move, whileFour } from './floats';
import { clear } from './places_source';

export type MatMulName = 'clear' | 'addRow' | 'addFourRows' | 'dotRow' | 'dotFourRows';

const quad = [0, 1, 2, 3];
/** The first of them: how many rows of b a function takes at a time. */
const rowsOf = (count: 1 | 4): number[] => quad.slice(0, count);
const parameters = { c: 'i32', cStep: 'i32', a: 'i32', aStep: 'i32', b: 'i32', bStep: 'i32', rows: 'i32', columns: 'i32' } as const;
/** Each pointer behind the first a row further than the one before. */
const nextRows = (pointers: readonly number[], step: number): Code =>
  pointers.slice(1).map((pointer, i) => [get(pointers[i]!), get(step), op('i32.add'), set(pointer)]);

/**
 * a·b, one or four rows of b at a time: c[rows, columns] += Σ_{t < count} a[rows, t] · b[t, columns]. Steps are bytes from one row to the next.
 */
const addRows = (name: MatMulName, count: 1 | 4): FunctionSource =>
  defineFunction(
    name,
    parameters,
    {
      at: 'i32',
      column: 'i32',
      b0: 'i32',
      b1: 'i32',
      b2: 'i32',
      b3: 'i32',
      a0: 'v128',
      a1: 'v128',
      a2: 'v128',
      a3: 'v128',
    },
    (v) => {
      const [factors, pointers] = [[v.a0, v.a1, v.a2, v.a3], [v.b0, v.b1, v.b2, v.b3].slice(0, count)];
      const step = (elems: number, load: string, store: string, type: string, factor: (t: number) => Code): Code => [
        [get(v.at), get(v.at), access(load)],
        rowsOf(count).map((t) => [get(pointers[t]!), access(load), factor(t), op(`${type}.mul`), op(`${type}.add`)]),
        [access(store), move([v.at, ...pointers], elems)],
      ];
      return whileLoop(get(v.rows), [
        rowsOf(count).map((t) => [get(v.a), access('v128.load32_splat', t * FLOAT_BYTES), set(factors[t]!)]),
        [get(v.c), set(v.at), get(v.columns), set(v.column), get(v.b), set(v.b0)],
        nextRows(pointers, v.bStep),
        inFours(
          v.column,
          step(LANES, 'v128.load', 'v128.store', 'f32x4', (t) => get(factors[t]!)),
          step(1, 'f32.load', 'f32.store', 'f32', (t) => [get(v.a), access('f32.load', t * FLOAT_BYTES)]),
        ),
        [increaseBy(v.a, v.aStep), increaseBy(v.c, v.cStep), increase(v.rows, -1)],
      ]);
    },
  );

/** The four lanes' sum is on the stack afterwards. */
const lanesSum = (vector: number): Code => [
  quad.map((lane) => [get(vector), inLane('f32x4.extract_lane', lane), lane > 0 ? op('f32.add') : []]),
];

/**
 * a·bᵀ, one or four rows of b at a time: c[rows, count] = a[rows, columns] · b[count, columns]ᵀ.
 */
const dotRows = (name: MatMulName, count: 1 | 4): FunctionSource =>
  defineFunction(
    name,
    parameters,
    {
      at: 'i32',
      column: 'i32',
      b0: 'i32',
      b1: 'i32',
      b2: 'i32',
      b3: 'i32',
      sum0: 'v128',
      sum1: 'v128',
      sum2: 'v128',
      sum3: 'v128',
      factor: 'v128',
      rest0: 'f32',
      rest1: 'f32',
      rest2: 'f32',
      rest3: 'f32',
    },
    (v) => {
      const pointers = [v.b0, v.b1, v.b2, v.b3].slice(0, count);
      const sums = [v.sum0, v.sum1, v.sum2, v.sum3].slice(0, count);
      const rests = [v.rest0, v.rest1, v.rest2, v.rest3];
      const both = [v.at, ...pointers];
      return whileLoop(get(v.rows), [
        [get(v.a), set(v.at), get(v.columns), set(v.column), get(v.b), set(v.b0)],
        nextRows(pointers, v.bStep),
        sums.map((sum) => [i32Const(0), op('i32x4.splat'), set(sum)]),
        whileFour(v.column, [
          [get(v.at), access('v128.load'), set(v.factor)],
          rowsOf(count).map((t) => [
            get(sums[t]!),
            get(v.factor),
            get(pointers[t]!),
            access('v128.load'),
            op('f32x4.mul'),
            op('f32x4.add'),
            set(sums[t]!),
          ]),
          move(both, LANES),
        ]),
        rowsOf(count).map((t) => [lanesSum(sums[t]!), set(rests[t]!)]),
        whileLoop(get(v.column), [
          rowsOf(count).map((t) => [
            [
              get(rests[t]!),
              get(v.at),
              access('f32.load'),
              get(pointers[t]!),
              access('f32.load'),
              op('f32.mul'),
              op('f32.add'),
              set(rests[t]!),
            ],
          ]),
          [move(both, 1), increase(v.column, -1)],
        ]),
        rowsOf(count).map((t) => [get(v.c), get(rests[t]!), access('f32.store', t * FLOAT_BYTES)]),
        [increaseBy(v.a, v.aStep), increaseBy(v.c, v.cStep), increase(v.rows, -1)],
      ]);
    },
  );

export const matMulSources = (): FunctionSource[] => [
  clear,
  addRows('addRow', 1),
  addRows('addFourRows', 4),
  dotRows('dotRow', 1),
  dotRows('dotFourRows', 4),
];
