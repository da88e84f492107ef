/** Code for single passes over tensors: sums over leading axes, the sums of a batch normalisation's gradient, the gradient of ReLU. Pure. Sums are made in float64, as many rows may follow one another. */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  f32Const,
  get,
  i32Const,
  increase,
  op,
  set,
  shuffleLanes,
  whileLoop,
} from '../../../../memory/emitter';
import { FLOAT_BYTES, inFours, LANES, move, VECTOR_BYTES } from './floats';
import { clear } from './places_source';

export const DOUBLE_BYTES = 8;

export type PassName = 'clear' | 'sumRows' | 'batchNormSums' | 'storeSums' | 'reluGradient';

/** sums[address] += the four floats of `vector`, as two pairs of doubles. */
const addFour = (sums: number, vector: number): Code =>
  [0, 1].map((half) => [
    [get(sums), get(sums), access('v128.load', half * VECTOR_BYTES)],
    [half === 0 ? get(vector) : [get(vector), get(vector), shuffleLanes(2, 3, 2, 3)], op('f64x2.promote_low_f32x4')],
    [op('f64x2.add'), access('v128.store', half * VECTOR_BYTES)],
  ]);
const addOne = (sums: number, float: Code): Code => [
  [get(sums), get(sums), access('f64.load'), float, op('f64.promote_f32'), op('f64.add'), access('f64.store')],
];

/** float64 sums[columns] += Σ_rows x[row, column] */
const sumRows: FunctionSource = defineFunction(
  'sumRows',
  { sums: 'i32', x: 'i32', rows: 'i32', columns: 'i32' },
  { sum: 'i32', column: 'i32', vector: 'v128' },
  (v) =>
    whileLoop(get(v.rows), [
      [get(v.sums), set(v.sum), get(v.columns), set(v.column)],
      inFours(
        v.column,
        [
          [get(v.x), access('v128.load'), set(v.vector), addFour(v.sum, v.vector)],
          [increase(v.x, VECTOR_BYTES), increase(v.sum, LANES * DOUBLE_BYTES)],
        ],
        [addOne(v.sum, [get(v.x), access('f32.load')]), increase(v.x, FLOAT_BYTES), increase(v.sum, DOUBLE_BYTES)],
      ),
      increase(v.rows, -1),
    ]),
);

/** float64 offsets[columns] += Σ_rows dy, scales[columns] += Σ_rows dy · (x − mean) */
const batchNormSums: FunctionSource = defineFunction(
  'batchNormSums',
  { offsets: 'i32', scales: 'i32', dy: 'i32', x: 'i32', means: 'i32', rows: 'i32', columns: 'i32' },
  { offset: 'i32', scale: 'i32', mean: 'i32', column: 'i32', vector: 'v128', product: 'v128' },
  (v) => {
    const next = (elems: number): Code => [
      move([v.dy, v.x, v.mean], elems),
      [v.offset, v.scale].map((pointer) => increase(pointer, elems * DOUBLE_BYTES)),
    ];
    return whileLoop(get(v.rows), [
      [get(v.offsets), set(v.offset), get(v.scales), set(v.scale), get(v.means), set(v.mean), get(v.columns), set(v.column)],
      inFours(
        v.column,
        [
          [get(v.dy), access('v128.load'), set(v.vector)],
          [
            get(v.vector),
            get(v.x),
            access('v128.load'),
            get(v.mean),
            access('v128.load'),
            op('f32x4.sub'),
            op('f32x4.mul'),
            set(v.product),
          ],
          [addFour(v.offset, v.vector), addFour(v.scale, v.product), next(LANES)],
        ],
        [
          addOne(v.offset, [get(v.dy), access('f32.load')]),
          addOne(v.scale, [
            [get(v.dy), access('f32.load'), get(v.x), access('f32.load'), get(v.mean), access('f32.load')],
            [op('f32.sub'), op('f32.mul')],
          ]),
          next(1),
        ],
      ),
      increase(v.rows, -1),
    ]);
  },
);

/** to[elems] = sums[elems] / divisor, rounded once to float32. */
const storeSums: FunctionSource = defineFunction('storeSums', { to: 'i32', sums: 'i32', elems: 'i32', divisor: 'i32' }, {}, (v) =>
  whileLoop(get(v.elems), [
    [
      get(v.to),
      get(v.sums),
      access('f64.load'),
      get(v.divisor),
      op('f64.convert_i32_u'),
      op('f64.div'),
      op('f32.demote_f64'),
      access('f32.store'),
    ],
    [increase(v.to, FLOAT_BYTES), increase(v.sums, DOUBLE_BYTES), increase(v.elems, -1)],
  ]),
);

/** dx = dy where x is positive, 0 elsewhere. */
const reluGradient: FunctionSource = defineFunction(
  'reluGradient',
  { dx: 'i32', dy: 'i32', x: 'i32', elems: 'i32' },
  { zero: 'v128' },
  (v) => {
    const pointers = [v.dx, v.dy, v.x];
    return inFours(
      v.elems,
      [
        [get(v.dx), get(v.dy), access('v128.load'), get(v.x), access('v128.load'), get(v.zero), op('f32x4.gt')],
        [op('v128.and'), access('v128.store'), move(pointers, LANES)],
      ],
      [
        // An integer's bits: dy, or 0.
        [get(v.dx), get(v.dy), access('i32.load'), i32Const(0), get(v.x), access('f32.load')],
        [f32Const(0), op('f32.gt'), op('select'), access('i32.store'), move(pointers, 1)],
      ],
    );
  },
);

export const passSources = (): FunctionSource[] => [clear, sumRows, batchNormSums, storeSums, reluGradient];
