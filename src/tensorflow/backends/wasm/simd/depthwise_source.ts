/**
 * Code for the gradients of depthwise convolutions, for one tap of the filter and the places of one row that it meets. Pure. Output channel q belongs to input channel ⌊q / multiplier⌋.
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
import { LANES, move } from './floats';
import { clear } from './places_source';

export type DepthwiseName = 'clear' | 'addToFilter' | 'addToInput';

/**
 * filter[q] += Σ_places x[place, q / multiplier] · dy[place, q], or x[place, q / multiplier] += Σ filter[q] · dy[place, q]; steps are bytes from one place to the next. With a multiplier of 1, four
 * channels at a time.
 */
function source(name: DepthwiseName): FunctionSource {
  const isFilter = name === 'addToFilter';
  return defineFunction(
    name,
    { filter: 'i32', x: 'i32', xStep: 'i32', dy: 'i32', dyStep: 'i32', places: 'i32', channels: 'i32', multiplier: 'i32' },
    { xAt: 'i32', dyAt: 'i32', place: 'i32', copies: 'i32', vector: 'v128', float: 'f32' },
    (v) => {
      const overPlaces = (load: string, store: string, type: string, tap: number): Code => {
        const product = (other: number): Code => [get(other), access(load), op(`${type}.mul`), op(`${type}.add`)];
        return [
          [get(v.filter), access(load), set(tap), get(v.x), set(v.xAt), get(v.dy), set(v.dyAt), get(v.places), set(v.place)],
          whileLoop(get(v.place), [
            isFilter
              ? [get(tap), get(v.xAt), access(load), product(v.dyAt), set(tap)]
              : [get(v.xAt), get(v.xAt), access(load), get(tap), product(v.dyAt), access(store)],
            [increaseBy(v.xAt, v.xStep), increaseBy(v.dyAt, v.dyStep)],
            increase(v.place, -1),
          ]),
          isFilter ? [get(v.filter), get(tap), access(store)] : [],
        ];
      };
      const isVector: Code = [
        [get(v.multiplier), i32Const(1), op('i32.eq')],
        [get(v.channels), i32Const(LANES), op('i32.ge_s'), op('i32.and')],
      ];
      return [
        whileLoop(isVector, [
          overPlaces('v128.load', 'v128.store', 'f32x4', v.vector),
          [move([v.filter, v.x, v.dy], LANES), increase(v.channels, -LANES)],
        ]),
        whileLoop(get(v.channels), [
          [get(v.multiplier), set(v.copies)],
          whileLoop(get(v.copies), [
            overPlaces('f32.load', 'f32.store', 'f32', v.float),
            [move([v.filter, v.dy], 1), increase(v.copies, -1)],
          ]),
          [move([v.x], 1), increase(v.channels, -1)],
        ]),
      ];
    },
  );
}

export const depthwiseSources = (): FunctionSource[] => [clear, source('addToFilter'), source('addToInput')];
