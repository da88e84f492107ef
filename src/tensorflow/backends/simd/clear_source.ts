/** Code that fills memory with zeros. Pure. */
import { defineFunction, type FunctionSource, get, i32Const, memoryFill } from '../../../memory/emitter';

export const clear: FunctionSource = defineFunction('clear', { at: 'i32', bytes: 'i32' }, {}, (v) => [
  get(v.at),
  i32Const(0),
  get(v.bytes),
  memoryFill,
]);
