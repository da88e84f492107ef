/** What the wasm backend's training kernels decide from shapes alone, against counting. */
import t from 'tap';
import { phasesOf } from '../../../src/tensorflow/backends/wasm/conv';
import { placesMeeting } from '../../../src/tensorflow/backends/wasm/depthwise';
import { smallProductOf } from '../../../src/tensorflow/backends/wasm/matmul';
import { tilingOf } from '../../../src/tensorflow/backends/wasm/simd/filter_gradient';
import { matricesOf } from '../../../src/tensorflow/backends/wasm/transpose';

t.test('the phases of a strided convolution meet the same pairs of places as the convolution', async (t) => {
  for (const stride of [1, 2, 3])
    for (const filter of [1, 2, 3, 5])
      for (const padding of [0, 1, 4])
        for (const inPlaces of [1, 5, 8]) {
          const outPlaces = Math.floor((inPlaces + 2 * padding - filter) / stride) + 1;
          if (outPlaces < 1) continue;
          const expected = new Set<string>();
          for (let y = 0; y < outPlaces; y += 1)
            for (let i = 0; i < filter; i += 1) {
              const h = y * stride + i - padding;
              if (h >= 0 && h < inPlaces) expected.add(`${h} ${i} ${y}`);
            }
          const found = new Set<string>();
          let covered = 0;
          for (const phase of phasesOf(inPlaces, outPlaces, filter, stride, padding)) {
            covered += phase.places;
            for (let u = 0; u < phase.places; u += 1)
              // The convolution by the turned taps: its output u lies over dy from u − before on.
              for (let k = 0; k < phase.taps; k += 1) {
                const y = u - phase.before + k;
                const i = phase.firstTap + (phase.taps - 1 - k) * stride;
                if (y >= 0 && y < outPlaces) found.add(`${phase.first + u * stride} ${i} ${y}`);
              }
            if (phase.taps > 0)
              t.equal(outPlaces + phase.before + phase.after - phase.taps + 1, phase.places, 'the padding gives that many');
          }
          t.equal(covered, inPlaces);
          t.same([...found].sort(), [...expected].sort(), `stride ${stride}, filter ${filter}, padding ${padding}, ${inPlaces} places`);
        }
});

t.test('tiles hold whole images or rows of one, and at least one of them', async (t) => {
  t.same(tilingOf(32, 8, 8), { images: 8, rows: 8 });
  t.same(tilingOf(2, 8, 8), { images: 2, rows: 8 });
  t.same(tilingOf(32, 16, 32), { images: 1, rows: 16 });
  t.same(tilingOf(4, 100, 100), { images: 1, rows: 5 });
  t.same(tilingOf(1, 4, 1000), { images: 1, rows: 1 });
});

t.test('places whose tap lies in the input, against counting', async (t) => {
  for (const offset of [0, 1, 2, 4])
    for (const padding of [0, 1, 3])
      for (const stride of [1, 2, 3])
        for (const inPlaces of [1, 2, 7])
          for (const outPlaces of [1, 4, 9]) {
            const expected = Array.from({ length: outPlaces }, (_, y) => y).filter((y) => {
              const place = y * stride + offset - padding;
              return place >= 0 && place < inPlaces;
            });
            const [first, past] = placesMeeting(offset, padding, stride, inPlaces, outPlaces);
            t.equal(past - first, expected.length);
            if (expected.length) t.equal(first, expected[0]);
          }
});

t.test('few rows and one matrix are multiplied by our kernels', async (t) => {
  t.same(smallProductOf([2, 3], [3, 5], false, false), { transposeB: false, rows: 2, depth: 3, columns: 5 });
  t.same(smallProductOf([1, 2, 3], [5, 3], false, true), { transposeB: true, rows: 2, depth: 3, columns: 5 });
  t.equal(smallProductOf([65, 3], [3, 5], false, false), undefined);
  t.equal(smallProductOf([3, 2], [3, 5], true, false), undefined);
  t.equal(smallProductOf([4, 2, 3], [4, 3, 5], false, false), undefined);
});

t.test('permutations that transpose matrices', async (t) => {
  t.same(matricesOf([4, 5], [1, 0]), { count: 1, rows: 4, columns: 5 });
  t.same(matricesOf([3, 4, 5], [0, 2, 1]), { count: 3, rows: 4, columns: 5 });
  t.same(matricesOf([3, 4, 5, 6], [2, 3, 0, 1]), { count: 1, rows: 12, columns: 30 });
  t.same(matricesOf([3, 4, 5, 6], [0, 3, 1, 2]), { count: 3, rows: 20, columns: 6 });
  t.same(matricesOf([4, 1, 5], [2, 1, 0]), { count: 1, rows: 4, columns: 5 });
  t.equal(matricesOf([3, 4, 5], [0, 1, 2]), undefined, 'nothing moves');
  t.equal(matricesOf([3, 4, 5], [1, 0, 2]), undefined);
  t.equal(matricesOf([3, 4, 5], [2, 1, 0]), undefined);
});
