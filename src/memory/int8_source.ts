/**
 * The code of the kernels between float32 and 8-bit integers with a scale for each block. Pure; int8.ts makes functions of it.
 *
 * A block of 256 elements has the scale s = max|v| / 127; an element v travels as q = v / s, rounded to nearest even: −127 to 127, off by at most s / 2. A block that holds an infinity or a NaN gets the
 * scale NaN, so that all of it is NaN where it is read; one that is smaller than 2^-100 as a whole gets the scale 0. Ranges are whole blocks.
 */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  f32Const,
  get,
  i32Const,
  increase,
  inLane,
  op,
  set,
  tee,
  whileLoop,
} from './emitter';

export type Int8KernelName = 'quantise' | 'add' | 'decode';

/** Elements that share a scale: it costs a 64th of what they do. */
export const BLOCK_ELEMS = 256;
const MOST_CODE = 127;
/** Below, 127 / max is no finite float32. */
const LEAST_MAX = 2 ** -100;

/** Elements a turn: their codes are one vector. */
const TURN_ELEMS = 16;
const VECTORS = [0, 1, 2, 3];
const VECTOR_BYTES = 16;
const FLOAT_BYTES = 4;

const load = (pointer: number, vector: number): Code => [get(pointer), access('v128.load', vector * VECTOR_BYTES)];

/** A block, 16 elements at a time: the pointers move on by as many. */
const overBlock = (left: number, step: Code, pointers: ReadonlyArray<readonly [number, number]>): Code => [
  [i32Const(BLOCK_ELEMS / TURN_ELEMS), set(left)],
  whileLoop([get(left)], [step, pointers.map(([pointer, bytes]) => increase(pointer, bytes * TURN_ELEMS)), increase(left, -1)]),
];

/**
 * residual = values + residual, then codes and scales of it, then residual = what they have lost; the values stay. What is not finite is not kept.
 */
const quantiseSource = defineFunction(
  'quantise',
  { values: 'i32', residual: 'i32', scales: 'i32', codes: 'i32', blocks: 'i32' },
  { left: 'i32', most: 'v128', max: 'f32', scale: 'v128', inverse: 'v128', kept: 'v128', q0: 'v128', q1: 'v128', q2: 'v128', q3: 'v128' },
  ({ values, residual, scales, codes, blocks, left, most, max, scale, inverse, kept, ...q }) => {
    const whole = [q.q0, q.q1, q.q2, q.q3];
    const sum = (vector: number): Code => [
      [get(residual), load(values, vector), load(residual, vector), op('f32x4.add'), tee(whole[vector]!)],
      [access('v128.store', vector * VECTOR_BYTES)],
      [get(most), get(whole[vector]!), op('f32x4.abs'), op('f32x4.max'), set(most)],
    ];
    const lane = (index: number): Code => [get(most), inLane('f32x4.extract_lane', index)];
    const round = (vector: number): Code => [
      [load(residual, vector), get(inverse), op('f32x4.mul'), op('f32x4.nearest'), op('i32x4.trunc_sat_f32x4_s'), set(whole[vector]!)],
      [get(residual), load(residual, vector), get(scale), get(whole[vector]!), op('f32x4.convert_i32x4_s'), op('f32x4.mul')],
      [op('f32x4.sub'), get(kept), op('v128.and'), access('v128.store', vector * VECTOR_BYTES)],
    ];
    const splat = (value: Code): Code => [value, op('f32x4.splat')];
    const isSound: Code = [get(max), f32Const(Number.POSITIVE_INFINITY), op('f32.lt')];
    const isLarge: Code = [get(max), f32Const(LEAST_MAX), op('f32.ge')];
    const ofLarge = (value: Code): Code => [value, f32Const(0), isLarge, op('select')];
    return whileLoop(
      [get(blocks)],
      [
        [splat(f32Const(0)), set(most)],
        overBlock(left, VECTORS.map(sum), [
          [values, FLOAT_BYTES],
          [residual, FLOAT_BYTES],
        ]),
        [lane(0), lane(1), op('f32.max'), lane(2), op('f32.max'), lane(3), op('f32.max'), set(max)],
        // Of what is not finite ≥ does not hold for a NaN, and ∞ / 127 is none.
        [splat([ofLarge([get(max), f32Const(MOST_CODE), op('f32.div')]), f32Const(Number.NaN), isSound, op('select')]), set(scale)],
        [splat(ofLarge([f32Const(MOST_CODE), get(max), op('f32.div')])), set(inverse)],
        [i32Const(0), isSound, op('i32.sub'), op('i32x4.splat'), set(kept)],
        [get(scales), get(scale), inLane('f32x4.extract_lane', 0), access('f32.store'), increase(scales, FLOAT_BYTES)],
        increase(residual, -BLOCK_ELEMS * FLOAT_BYTES),
        overBlock(
          left,
          [
            VECTORS.map(round),
            [get(codes), get(whole[0]!), get(whole[1]!), op('i16x8.narrow_i32x4_s'), get(whole[2]!), get(whole[3]!)],
            [op('i16x8.narrow_i32x4_s'), op('i8x16.narrow_i16x8_s'), access('v128.store')],
          ],
          [
            [residual, FLOAT_BYTES],
            [codes, 1],
          ],
        ),
        increase(blocks, -1),
      ],
    );
  },
);

/** values = codes · scales, added to what is there or in its place. */
const readSource = (name: 'add' | 'decode'): FunctionSource =>
  defineFunction(
    name,
    { values: 'i32', scales: 'i32', codes: 'i32', blocks: 'i32' },
    { left: 'i32', scale: 'v128' },
    ({ values, scales, codes, blocks, left, scale }) => {
      const step = (vector: number): Code => [
        [get(values), name === 'add' ? load(values, vector) : []],
        [get(codes), access('v128.load8x8_s', 8 * (vector >> 1)), op(`i32x4.extend_${vector % 2 === 0 ? 'low' : 'high'}_i16x8_s`)],
        [op('f32x4.convert_i32x4_s'), get(scale), op('f32x4.mul'), name === 'add' ? op('f32x4.add') : []],
        access('v128.store', vector * VECTOR_BYTES),
      ];
      return whileLoop(
        [get(blocks)],
        [
          [get(scales), access('v128.load32_splat'), set(scale), increase(scales, FLOAT_BYTES)],
          overBlock(left, VECTORS.map(step), [
            [values, FLOAT_BYTES],
            [codes, 1],
          ]),
          increase(blocks, -1),
        ],
      );
    },
  );

/** Names are `Int8KernelName`s. */
export const int8KernelSources = (): FunctionSource[] => [quantiseSource, readSource('add'), readSource('decode')];
