/** Code that transposes a matrix of 32-bit elements, blocks of 4×4 in registers. Pure. */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  get,
  i32Const,
  increase,
  increaseBy,
  op,
  set,
  shuffleLanes,
  whileLoop,
} from '../../../../memory/emitter';
import { FLOAT_BYTES, LANES, whileFour } from './floats';

export type TransposeName = 'transposeRows';

/**
 * from[rows, columns] → to[columns, rows]. Steps are bytes from one row to the next, in each. Of four columns all rows are taken before the next four: with sixteen rows whole cache lines are written.
 */
const transposeRows: FunctionSource = defineFunction(
  'transposeRows',
  { to: 'i32', toStep: 'i32', from: 'i32', fromStep: 'i32', rows: 'i32', columns: 'i32' },
  {
    row: 'i32',
    column: 'i32',
    at: 'i32',
    into: 'i32',
    next: 'i32',
    row0: 'v128',
    row1: 'v128',
    row2: 'v128',
    row3: 'v128',
    low01: 'v128',
    low23: 'v128',
    high01: 'v128',
    high23: 'v128',
  },
  (v) => {
    const rows = [v.row0, v.row1, v.row2, v.row3];
    const shuffled = (to: number, first: number, second: number, ...lanes: [number, number, number, number]): Code => [
      [get(first), get(second), shuffleLanes(...lanes), set(to)],
    ];
    const put = (first: number, second: number, ...lanes: [number, number, number, number]): Code => [
      [get(v.next), get(first), get(second), shuffleLanes(...lanes), access('v128.store'), increaseBy(v.next, v.toStep)],
    ];
    const block: Code = [
      rows.map((row) => [get(v.at), access('v128.load'), set(row), increaseBy(v.at, v.fromStep)]),
      shuffled(v.low01, v.row0, v.row1, 0, 4, 1, 5),
      shuffled(v.low23, v.row2, v.row3, 0, 4, 1, 5),
      shuffled(v.high01, v.row0, v.row1, 2, 6, 3, 7),
      shuffled(v.high23, v.row2, v.row3, 2, 6, 3, 7),
      [get(v.into), set(v.next)],
      [put(v.low01, v.low23, 0, 1, 4, 5), put(v.low01, v.low23, 2, 3, 6, 7)],
      [put(v.high01, v.high23, 0, 1, 4, 5), put(v.high01, v.high23, 2, 3, 6, 7)],
      increase(v.into, LANES * FLOAT_BYTES),
    ];
    /** The rows that are left over, by so many columns. */
    const singly = (columns: number): Code =>
      whileLoop(get(v.row), [
        [get(v.into), set(v.next)],
        Array.from({ length: columns }, (_, i) => [
          [get(v.next), get(v.at), access('i32.load', i * FLOAT_BYTES), access('i32.store'), increaseBy(v.next, v.toStep)],
        ]),
        [increaseBy(v.at, v.fromStep), increase(v.into, FLOAT_BYTES), increase(v.row, -1)],
      ]);
    const forColumns = (columns: number, act: Code): Code =>
      whileLoop(
        [get(v.column), i32Const(columns), op('i32.ge_s')],
        [
          [get(v.from), set(v.at), get(v.to), set(v.into), get(v.rows), set(v.row), act],
          Array.from({ length: columns }, () => increaseBy(v.to, v.toStep)),
          [increase(v.from, columns * FLOAT_BYTES), increase(v.column, -columns)],
        ],
      );
    return [[get(v.columns), set(v.column)], forColumns(LANES, [whileFour(v.row, block), singly(LANES)]), forColumns(1, singly(1))];
  },
);

export const transposeSources = (): FunctionSource[] => [transposeRows];
