/** Code for the gradient of max pooling at one place of the output. Pure. */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  f32Const,
  get,
  i32Const,
  ifThen,
  increase,
  increaseBy,
  op,
  set,
  v128Const,
  whileLoop,
} from '../../../../memory/emitter';
import { inFours, LANES, move } from './floats';
import { clear } from './places_source';

export type PoolName = 'clear' | 'maxPoolGradient';

/**
 * dx[window's first maximum] += dy for each channel. `x` and `dx` point to the window's first place that lies in the image, `rows` and `columns` say how many do; a place is `placeBytes` long, and
 * `rowSkip` bytes lie between the end of the window in one row and its beginning in the next. Of four channels at a time the number of the maximum within the window is kept, −1 where all are −∞ or NaN.
 */
const maxPoolGradient: FunctionSource = defineFunction(
  'maxPoolGradient',
  { dx: 'i32', x: 'i32', dy: 'i32', channels: 'i32', rows: 'i32', columns: 'i32', placeBytes: 'i32', rowSkip: 'i32' },
  {
    at: 'i32',
    row: 'i32',
    column: 'i32',
    value: 'v128',
    most: 'v128',
    number: 'v128',
    best: 'v128',
    isMore: 'v128',
    floatValue: 'f32',
    floatMost: 'f32',
    floatBest: 'i32',
  },
  (v) => {
    const forWindow = (from: number, act: Code): Code => [
      [get(from), set(v.at), get(v.rows), set(v.row)],
      whileLoop(get(v.row), [
        [get(v.columns), set(v.column)],
        whileLoop(get(v.column), [act, increaseBy(v.at, v.placeBytes), increase(v.column, -1)]),
        [increaseBy(v.at, v.rowSkip), increase(v.row, -1)],
      ]),
    ];
    const pointers = [v.dx, v.x, v.dy];
    const next: Code = [get(v.number), v128Const(1, 0, 0, 0), op('i32x4.add'), set(v.number)];
    const four: Code = [
      // The bytes of −∞.
      [v128Const(0, 0, 0x80, 0xff), set(v.most), v128Const(0xff), set(v.best), v128Const(0), set(v.number)],
      forWindow(v.x, [
        [get(v.at), access('v128.load'), set(v.value), get(v.value), get(v.most), op('f32x4.gt'), set(v.isMore)],
        [get(v.value), get(v.most), get(v.isMore), op('v128.bitselect'), set(v.most)],
        [get(v.number), get(v.best), get(v.isMore), op('v128.bitselect'), set(v.best), next],
      ]),
      [get(v.dy), access('v128.load'), set(v.value), v128Const(0), set(v.number)],
      forWindow(v.dx, [
        [get(v.at), get(v.at), access('v128.load'), get(v.value), get(v.best), get(v.number), op('i32x4.eq'), op('v128.and')],
        [op('f32x4.add'), access('v128.store'), next],
      ]),
    ];
    const one: Code = [
      [f32Const(Number.NEGATIVE_INFINITY), set(v.floatMost), i32Const(0), set(v.floatBest)],
      forWindow(v.x, [
        [get(v.at), access('f32.load'), set(v.floatValue), get(v.floatValue), get(v.floatMost), op('f32.gt')],
        ifThen([get(v.floatValue), set(v.floatMost), get(v.at), get(v.x), op('i32.sub'), get(v.dx), op('i32.add'), set(v.floatBest)]),
      ]),
      get(v.floatBest),
      ifThen([
        [get(v.floatBest), get(v.floatBest), access('f32.load'), get(v.dy), access('f32.load')],
        [op('f32.add'), access('f32.store')],
      ]),
    ];
    return inFours(v.channels, [four, move(pointers, LANES)], [one, move(pointers, 1)]);
  },
);

export const poolSources = (): FunctionSource[] => [clear, maxPoolGradient];
