/** The largest elements, against sorting. */
import fc from 'fast-check';
import t from 'tap';
import { countOf, isWorthSelecting, selectLargest } from '../../../src/collective/top_k';

function selected(values: Float32Array, count: number): { indices: number[]; chosen: number[]; turns: number } {
  const [indices, chosen] = [new Uint32Array(count), new Float32Array(count)];
  let turns = 0;
  for (const _ of selectLargest(values, indices, chosen)) turns += 1;
  return { indices: [...indices], chosen: [...chosen], turns };
}
/** A NaN before all, ties by index. */
const magnitudeOf = (value: number): number =>
  Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value) === Number.POSITIVE_INFINITY ? 3.5e38 : Math.abs(value);
const bySorting = (values: Float32Array, count: number): number[] =>
  [...values.keys()]
    .sort((a, b) => magnitudeOf(values[b]!) - magnitudeOf(values[a]!) || a - b)
    .slice(0, count)
    .sort((a, b) => a - b);

t.test('the same as by sorting, with ties, zeros, infinities and NaN', async (t) => {
  const element = fc.oneof(
    fc.constantFrom(0, -0, 1, -1, 2, -2, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    fc.float({ noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(element, { minLength: 1, maxLength: 60 }), fc.nat(60), (list, wanted) => {
      const values = Float32Array.from(list);
      const count = Math.min(wanted, values.length);
      const { indices, chosen } = selected(values, count);
      const expected = bySorting(values, count);
      if (indices.join() !== expected.join()) throw new Error(`${indices} instead of ${expected}`);
      if (!chosen.every((value, i) => Object.is(value, values[indices[i]!]))) throw new Error('other values');
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('long tensors look up in between', async (t) => {
  const values = new Float32Array(2_200_000).map((_, i) => Math.sin(i));
  const { indices, turns } = selected(values, 1000);
  t.equal(turns, 6);
  const least = Math.min(...indices.map((i) => Math.abs(values[i]!)));
  t.equal(values.filter((value) => Math.abs(value) > least).length <= 1000, true);
});

t.test('how many travel, and when it is worth it', async (t) => {
  t.same([countOf(1, 0.01), countOf(100, 0.01), countOf(101, 0.01), countOf(5, 1)], [1, 1, 2, 5]);
  // Two ranks: 8 bytes for each chosen element against 4 for each.
  t.ok(isWorthSelecting(100, 49, 2));
  t.notOk(isWorthSelecting(100, 50, 2));
  t.notOk(isWorthSelecting(0, 0, 2));
});
