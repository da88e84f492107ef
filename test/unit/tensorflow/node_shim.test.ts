/** What Node 23 removed from util comes back, and nothing else changes. */
import util from 'node:util';
import t from 'tap';
import { shimNodeUtil } from '../../../src/tensorflow/backends/tfjs_node/node_shim';

type Checks = Record<string, (value: unknown) => boolean>;

t.test('what is missing is put back and decides as it did', async (t) => {
  const target: Checks = {};
  shimNodeUtil(target);
  t.same(Object.keys(target), [], 'not listed: nothing that copies util sees it');
  for (const [value, isNone] of [
    [null, true],
    [undefined, true],
    [0, false],
    ['', false],
    [[], false],
  ] as const)
    t.equal(target.isNullOrUndefined!(value), isNone, String(value));
  t.equal(target.isArray!([]), true);
  t.equal(target.isArray!(new Float32Array(1)), false);
});

t.test('what is there stays', async (t) => {
  const isArray = () => true;
  const target: Checks = { isArray };
  shimNodeUtil(target);
  const first = target.isNullOrUndefined;
  shimNodeUtil(target);
  t.equal(target.isArray, isArray);
  t.equal(target.isNullOrUndefined, first);
});

t.test('this Node’s util has both afterwards', async (t) => {
  shimNodeUtil();
  for (const name of ['isNullOrUndefined', 'isArray']) t.type((util as unknown as Checks)[name], 'function', name);
});
