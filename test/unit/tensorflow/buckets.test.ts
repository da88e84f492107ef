import fc from 'fast-check';
import t from 'tap';
import { type Groups, makeBuckets } from '../../../src/tensorflow/buckets';

const variablesOf = (sizes: number[], maxBytes: number, endBytes = maxBytes): number[][] =>
  makeBuckets(sizes, undefined, { endBytes, maxBytes }).map(({ slots }) => slots.map(({ variable }) => variable));

t.test(
  'variables from the last to the first, as many as fit; a larger one stands alone; the first and the last bucket may be smaller',
  async (t) => {
    t.same(variablesOf([1, 2, 3], 24), [[2, 1, 0]]);
    t.same(variablesOf([4, 2, 1], 24), [[2], [1, 0]]);
    t.same(variablesOf([10, 1, 1], 8), [[2, 1], [0]]);
    t.same(variablesOf([1, 10, 1], 8), [[2], [1], [0]]);
    t.same(variablesOf([1, 1, 1, 1, 1], 12, 4), [[4], [3, 2, 1], [0]]);
    t.same(variablesOf([1, 1, 1, 1, 1, 1], 40, 8), [
      [5, 4],
      [3, 2],
      [1, 0],
    ]);
    t.same(variablesOf([1, 1, 1], 40, 12), [[2, 1, 0]]);
    t.same(variablesOf([9, 1, 1, 1], 12, 8), [[3, 2], [1], [0]]);
    t.same(variablesOf([0, 0, 0], 4), [[2, 1, 0]]);
    t.same(variablesOf([], 4), [[]], 'there is a bucket even without variables');
  },
);

const groupsOf = (sizes: number[], groups: Groups, maxBytes?: number): number[][] =>
  makeBuckets(sizes, groups, { maxBytes, endBytes: maxBytes }).map(({ slots }) => slots.map(({ variable }) => variable));

t.test('a number of groups: neighbours, equally many in each, whatever their sizes', async (t) => {
  t.same(groupsOf([9, 9, 9, 9, 9], 2, 4), [
    [4, 3],
    [2, 1, 0],
  ]);
  t.same(groupsOf([1, 1, 1, 1], 1), [[3, 2, 1, 0]]);
  t.same(groupsOf([1, 1], 5), [[1], [0]]);
  t.same(groupsOf([], 3), [[]]);
});

t.test('lists of variables: each a bucket, the others as by default; what can leave first comes first', async (t) => {
  t.same(groupsOf([1, 1, 1, 1, 1], [[1, 4]]), [
    [4, 1],
    [3, 2, 0],
  ]);
  t.same(groupsOf([9, 9, 9, 9], [[0, 3], []], 40), [[2], [1], [3, 0]]);
  t.same(groupsOf([], [[]]), [[]]);
});

t.test('a sixteenth of all to a bucket, from 1 to 4 MiB', async (t) => {
  const quarters = (mib: number): number[] => Array<number>(4 * mib).fill(1 << 16);
  const inMiB = (sizes: number[]): number[] =>
    makeBuckets(sizes).map(({ slots }) => slots.reduce((sum, { elems }) => sum + elems, 0) / (1 << 18));
  t.same(inMiB(quarters(3)), [1, 1, 1]);
  t.same(inMiB(quarters(16)), Array(16).fill(1));
  t.same(inMiB(quarters(34)), [1, ...Array(16).fill(2), 1]);
  t.same(inMiB(quarters(74)), [1, ...Array(18).fill(4), 1]);
});

t.test('elements lie one behind the other, then the flags, then the news', async (t) => {
  t.same(makeBuckets([3, 0, 2]), [
    {
      slots: [
        { variable: 2, from: 0, elems: 2, flag: 5 },
        { variable: 1, from: 2, elems: 0, flag: 6 },
        { variable: 0, from: 2, elems: 3, flag: 7 },
      ],
      elems: 9,
      news: 8,
    },
  ]);
});

t.test('every element of a bucket has one use, every variable one place, whatever the sizes', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 30 }), fc.integer({ min: 4, max: 200 }), (sizes, maxBytes) => {
      const buckets = makeBuckets(sizes, undefined, { endBytes: maxBytes, maxBytes });
      const seen: number[] = [];
      for (const { slots, elems, news } of buckets) {
        const uses = new Array<number>(elems).fill(0);
        uses[news]! += 1;
        for (const { variable, from, elems: length, flag } of slots) {
          seen.push(variable);
          if (length !== sizes[variable]) return false;
          uses[flag]! += 1;
          for (let i = from; i < from + length; i += 1) uses[i]! += 1;
        }
        if (!uses.every((count) => count === 1)) return false;
        if (slots.length > 1 && slots.reduce((sum, slot) => sum + slot.elems * 4, 0) > maxBytes) return false;
      }
      return seen.length === sizes.length && seen.every((variable, i) => variable === sizes.length - 1 - i);
    }),
    { seed: 7 },
  );
});
