/**
 * Code for sums of outer products over places, as the gradient of a filter is: Σ_places x[place, 4 channels] ⊗ dy[place, 8 channels]. Pure.
 *
 * Both factors are laid out in panels first: x[panel][place][4], dy[panel][place][8]. Then a place is three vectors side by side, and the 4×8 sums stay in eight registers for as many places as the
 * panels hold. x's places are those of a padded image: a tap of the filter is an offset in them.
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
  op,
  set,
  whileLoop,
} from '../../../../memory/emitter';
import { FLOAT_BYTES, VECTOR_BYTES } from './floats';
import { clear } from './places_source';

export const X_LANES = 4;
export const DY_LANES = 8;

export type ProductsName = 'addProducts' | 'packBy4' | 'packBy8' | 'unpack' | 'clear';

/**
 * sums[4][8] += products over images × rows × columns. `x` moves on by so many bytes a column, and by `rowSkip` and `imageSkip` more behind a row and an image; `dy` has its places side by side.
 */
const addProducts: FunctionSource = defineFunction(
  'addProducts',
  { sums: 'i32', x: 'i32', dy: 'i32', images: 'i32', rows: 'i32', columns: 'i32', columnStep: 'i32', rowSkip: 'i32', imageSkip: 'i32' },
  {
    row: 'i32',
    column: 'i32',
    sum0: 'v128',
    sum1: 'v128',
    sum2: 'v128',
    sum3: 'v128',
    sum4: 'v128',
    sum5: 'v128',
    sum6: 'v128',
    sum7: 'v128',
    left: 'v128',
    right: 'v128',
    splat: 'v128',
  },
  (v) => {
    const sums = [v.sum0, v.sum1, v.sum2, v.sum3, v.sum4, v.sum5, v.sum6, v.sum7];
    const place: Code = [
      [get(v.dy), access('v128.load'), set(v.left), get(v.dy), access('v128.load', VECTOR_BYTES), set(v.right)],
      [0, 1, 2, 3].map((lane) => [
        [get(v.x), access('v128.load32_splat', lane * FLOAT_BYTES), set(v.splat)],
        [get(sums[2 * lane]!), get(v.splat), get(v.left), op('f32x4.mul'), op('f32x4.add'), set(sums[2 * lane]!)],
        [get(sums[2 * lane + 1]!), get(v.splat), get(v.right), op('f32x4.mul'), op('f32x4.add'), set(sums[2 * lane + 1]!)],
      ]),
      [increaseBy(v.x, v.columnStep), increase(v.dy, 2 * VECTOR_BYTES), increase(v.column, -1)],
    ];
    return [
      sums.map((sum, i) => [get(v.sums), access('v128.load', i * VECTOR_BYTES), set(sum)]),
      whileLoop(get(v.images), [
        [get(v.rows), set(v.row)],
        whileLoop(get(v.row), [
          [get(v.columns), set(v.column)],
          whileLoop(get(v.column), place),
          [increaseBy(v.x, v.rowSkip), increase(v.row, -1)],
        ]),
        [increaseBy(v.x, v.imageSkip), increase(v.images, -1)],
      ]),
      sums.map((sum, i) => [get(v.sums), get(sum), access('v128.store', i * VECTOR_BYTES)]),
    ];
  },
);

/** places of `channels` floats, `skip` bytes between them → panels, `panelStep` bytes from one to the next; the last panel's missing channels are left as they are. */
function pack(name: ProductsName, lanes: number): FunctionSource {
  const bytes = lanes * FLOAT_BYTES;
  const vectors = Array.from({ length: lanes / 4 }, (_, i) => i * VECTOR_BYTES);
  return defineFunction(
    name,
    { to: 'i32', panelStep: 'i32', from: 'i32', places: 'i32', channels: 'i32', skip: 'i32' },
    { panel: 'i32', channel: 'i32', into: 'i32' },
    (v) =>
      whileLoop(get(v.places), [
        [get(v.to), set(v.panel), get(v.channels), set(v.channel)],
        whileLoop(
          [get(v.channel), i32Const(lanes), op('i32.ge_s')],
          [
            vectors.map((offset) => [get(v.panel), get(v.from), access('v128.load', offset), access('v128.store', offset)]),
            [increaseBy(v.panel, v.panelStep), increase(v.from, bytes), increase(v.channel, -lanes)],
          ],
        ),
        [get(v.panel), set(v.into)],
        whileLoop(get(v.channel), [
          [get(v.into), get(v.from), access('f32.load'), access('f32.store')],
          [increase(v.into, FLOAT_BYTES), increase(v.from, FLOAT_BYTES), increase(v.channel, -1)],
        ]),
        [increase(v.to, bytes), increaseBy(v.from, v.skip), increase(v.places, -1)],
      ]),
  );
}

/** rows of 8 floats → the first `width` of each, `rowStep` bytes from one to the next. */
const unpack: FunctionSource = defineFunction(
  'unpack',
  { to: 'i32', rowStep: 'i32', from: 'i32', rows: 'i32', width: 'i32' },
  { column: 'i32', into: 'i32', at: 'i32' },
  (v) =>
    whileLoop(get(v.rows), [
      [get(v.to), set(v.into), get(v.from), set(v.at), get(v.width), set(v.column)],
      whileLoop(get(v.column), [
        [get(v.into), get(v.at), access('f32.load'), access('f32.store')],
        [increase(v.into, FLOAT_BYTES), increase(v.at, FLOAT_BYTES), increase(v.column, -1)],
      ]),
      [increaseBy(v.to, v.rowStep), increase(v.from, DY_LANES * FLOAT_BYTES), increase(v.rows, -1)],
    ]),
);

export const productsSources = (): FunctionSource[] => [addProducts, pack('packBy4', X_LANES), pack('packBy8', DY_LANES), unpack, clear];
