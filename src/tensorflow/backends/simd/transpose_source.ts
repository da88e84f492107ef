/** Code that transposes a matrix of 32-bit elements, blocks of 4×4 in registers. Pure. */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  get,
  i32Const,
  increase,
  op,
  set,
  shuffleLanes,
  whileLoop,
} from '../../../memory/emitter';

const ELEM_BYTES = 4;
const LANES = 4;

export type TransposeName = 'transposeRows';

const quad = [0, 1, 2, 3];

/**
 * Up to four rows from [rows, columns] → [columns, rows]: to[column, row] = from[row, column]. Steps are bytes from one row to the next, in each.
 */
const transposeRows: FunctionSource = defineFunction(
  'transposeRows',
  { to: 'i32', toStep: 'i32', from: 'i32', fromStep: 'i32', rows: 'i32', columns: 'i32' },
  {
    column: 'i32',
    at: 'i32',
    into: 'i32',
    from1: 'i32',
    from2: 'i32',
    from3: 'i32',
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
    const pointers = [v.from, v.from1, v.from2, v.from3];
    const rows = [v.row0, v.row1, v.row2, v.row3];
    const shuffled = (to: number, first: number, second: number, ...lanes: [number, number, number, number]): Code => [
      [get(first), get(second), shuffleLanes(...lanes), set(to)],
    ];
    const put = (first: number, second: number, ...lanes: [number, number, number, number]): Code => [
      [get(v.to), get(first), get(second), shuffleLanes(...lanes), access('v128.store')],
      [get(v.to), get(v.toStep), op('i32.add'), set(v.to)],
    ];
    const block: Code = [
      quad.map((t) => [get(pointers[t]!), access('v128.load'), set(rows[t]!), increase(pointers[t]!, LANES * ELEM_BYTES)]),
      shuffled(v.low01, v.row0, v.row1, 0, 4, 1, 5),
      shuffled(v.low23, v.row2, v.row3, 0, 4, 1, 5),
      shuffled(v.high01, v.row0, v.row1, 2, 6, 3, 7),
      shuffled(v.high23, v.row2, v.row3, 2, 6, 3, 7),
      [put(v.low01, v.low23, 0, 1, 4, 5), put(v.low01, v.low23, 2, 3, 6, 7)],
      [put(v.high01, v.high23, 0, 1, 4, 5), put(v.high01, v.high23, 2, 3, 6, 7)],
      increase(v.column, -LANES),
    ];
    return [
      [get(v.columns), set(v.column)],
      [1, 2, 3].map((t) => [get(pointers[t - 1]!), get(v.fromStep), op('i32.add'), set(pointers[t]!)]),
      whileLoop(
        [
          [get(v.rows), i32Const(LANES), op('i32.eq')],
          [get(v.column), i32Const(LANES), op('i32.ge_s'), op('i32.and')],
        ],
        block,
      ),
      // What is left: a column of the source at a time.
      whileLoop(get(v.column), [
        [get(v.from), set(v.at), get(v.to), set(v.into), get(v.rows), set(v.columns)],
        whileLoop(get(v.columns), [
          [get(v.into), get(v.at), access('i32.load'), access('i32.store')],
          [get(v.at), get(v.fromStep), op('i32.add'), set(v.at), increase(v.into, ELEM_BYTES), increase(v.columns, -1)],
        ]),
        [get(v.to), get(v.toStep), op('i32.add'), set(v.to), increase(v.from, ELEM_BYTES), increase(v.column, -1)],
      ]),
    ];
  },
);

export const transposeSources = (): FunctionSource[] => [transposeRows];
