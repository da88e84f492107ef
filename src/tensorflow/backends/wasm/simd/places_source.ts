/** Code that fills memory with zeros, and that sets places of an image apart. Pure. */
import {
  access,
  type Code,
  defineFunction,
  type FunctionSource,
  get,
  i32Const,
  increase,
  increaseBy,
  memoryFill,
  set,
  whileLoop,
} from '../../../../memory/emitter';
import { inFours, LANES, move } from './floats';

export type PlacesName = 'clear' | 'copyPlaces';

export const clear: FunctionSource = defineFunction('clear', { at: 'i32', bytes: 'i32' }, {}, (v) => [
  get(v.at),
  i32Const(0),
  get(v.bytes),
  memoryFill,
]);

/** places of `channels` floats, side by side → `step` bytes from one to the next. */
const copyPlaces: FunctionSource = defineFunction(
  'copyPlaces',
  { to: 'i32', step: 'i32', from: 'i32', places: 'i32', channels: 'i32' },
  { at: 'i32', channel: 'i32' },
  (v) => {
    const copy = (elems: number, load: string, store: string): Code => [
      [get(v.at), get(v.from), access(load), access(store)],
      move([v.at, v.from], elems),
    ];
    return whileLoop(get(v.places), [
      [get(v.to), set(v.at), get(v.channels), set(v.channel)],
      inFours(v.channel, copy(LANES, 'v128.load', 'v128.store'), copy(1, 'f32.load', 'f32.store')),
      [increaseBy(v.to, v.step), increase(v.places, -1)],
    ]);
  },
);

export const placesSources = (): FunctionSource[] => [clear, copyPlaces];
