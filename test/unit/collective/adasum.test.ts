/** Adasum: the combination of two vectors against its definition, and who gives to whom. */
import fc from 'fast-check';
import t from 'tap';
import { adasumLevels, addProducts, combine, type Vector } from '../../../src/collective/adasum';

/** In slices of a length, as long vectors are. */
function adasum(own: Vector, other: Vector, sliceElems = 1000): void {
  const products = { dot: 0, ownSquares: 0, otherSquares: 0 };
  for (const step of [addProducts, combine]) {
    for (let from = 0; from < own.length; from += sliceElems)
      step(products, own.subarray(from, from + sliceElems), other.subarray(from, from + sliceElems));
  }
}
const combined = (a: number[], b: number[]): number[] => {
  const own = Float64Array.from(a);
  adasum(own, Float64Array.from(b));
  return [...own];
};

t.test('orthogonal vectors are added, parallel ones averaged, a vector without length is no partner', async (t) => {
  t.same(combined([1, 0, 2], [0, 5, 0]), [1, 5, 2]);
  t.same(combined([1, 2, 3], [1, 2, 3]), [1, 2, 3]);
  t.same(combined([2, 0], [6, 0]), [4, 0]);
  t.same(combined([0, 0], [3, -4]), [3, -4]);
  t.same(combined([3, -4], [0, 0]), [3, -4]);
  t.same(combined([0], [0]), [0]);
  t.same(combined([], []), []);
  t.same(combined([1, 0], [-1, 0]), [0, 0]);
});

t.test('it is the definition, rounded once for each element, in whatever slices, and leaves the other vector alone', async (t) => {
  const number = fc.double({ min: -1e3, max: 1e3, noNaN: true }).map(Math.fround);
  fc.assert(
    fc.property(fc.array(fc.tuple(number, number), { maxLength: 20 }), fc.integer({ min: 1, max: 20 }), (pairs, sliceElems) => {
      const [a, b] = [Float32Array.from(pairs, ([x]) => x), Float32Array.from(pairs, ([, y]) => y)];
      const product = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
      const [dot, aa, bb] = [product(a, b), product(a, a), product(b, b)];
      const expected = a.map((x, i) => (aa ? 1 - dot / (2 * aa) : 1) * x + (bb ? 1 - dot / (2 * bb) : 1) * b[i]!);
      const other = b.slice();
      adasum(a, b, sliceElems);
      for (const [i, value] of a.entries()) if (!Object.is(value, expected[i])) throw new Error(`${value} is not ${expected[i]}`);
      if (other.some((value, i) => !Object.is(value, b[i]))) throw new Error('the other vector was written');
    }),
  );
  t.pass();
});

t.test('neighbours combine first, on any number of ranks; who has given is done', async (t) => {
  const trees: Record<number, string[]> = {
    1: [''],
    2: ['take 1', 'give 0'],
    3: ['take 1, take 2', 'give 0', 'give 0'],
    5: ['take 1, take 2, take 4', 'give 0', 'take 3, give 0', 'give 2', 'give 0'],
    6: ['take 1, take 2, take 4', 'give 0', 'take 3, give 0', 'give 2', 'take 5, give 0', 'give 4'],
  };
  for (const [size, expected] of Object.entries(trees)) {
    const levels = expected.map((_, rank) => adasumLevels({ rank, size: Number(size), elems: 1, segmentElems: 1 }));
    t.same(
      levels.map((ofRank) =>
        ofRank.map(({ action, plan }) => `${action} ${action === 'give' ? plan.sends[0]!.to : plan.recvs[0]!.peer}`).join(', '),
      ),
      expected,
    );
  }
});

t.test('a vector travels whole, in segments; one without elements does not', async (t) => {
  const [{ plan }] = adasumLevels({ rank: 1, size: 2, elems: 5, segmentElems: 2 }) as [ReturnType<typeof adasumLevels>[0]];
  t.same(
    plan.sends.map(({ from, until }) => [from, until]),
    [
      [0, 1],
      [1, 3],
      [3, 5],
    ],
  );
  t.same(adasumLevels({ rank: 0, size: 2, elems: 0, segmentElems: 2 }), [{ action: 'take', plan: { sends: [], recvs: [] } }]);
});
