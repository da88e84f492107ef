/** Arrays that all ranks of a host see, reduced where they lie: of one call its ranks have told the places when they submit it, and neighbours may begin before a rank does. */
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
t.teardown(() => hvd.shutdown());

/** Around where sizes begin to be done in one pass, on 2 ranks and on more. */
const sizes = [1000, 20_000, 70_001, 600_001, 2_500_003];

/** Small whole numbers: sums are exact in every type, whatever the order. */
const input = (of: number, i: number, call: number): number => ((i * (of + 3) + call) % 23) - of;
const sumOver = (ranks: readonly number[], i: number, call: number): number => ranks.reduce((sum, of) => sum + input(of, i, call), 0);
const everyone = Array.from({ length: size }, (_, of) => of);

function wrong(array: ArrayLike<number>, expected: (i: number) => number): number {
  let found = 0;
  for (let i = 0; i < array.length; i += 1) if (array[i] !== expected(i)) found += 1;
  return found;
}

for (const elems of sizes)
  t.test(`${elems} elements, again and again`, async (t) => {
    const array = hvd.allocate(Float32Array, elems);
    const whole = hvd.allocate(Int32Array, elems);
    for (let call = 0; call < 6; call += 1) {
      // Each rank is late in turn.
      if (call % size === rank) await new Promise((resolve) => setTimeout(resolve, 5));
      for (let i = 0; i < elems; i += 1) whole[i] = array[i] = input(rank, i, call);
      hvd.allreduce(array, { name: 'array', op: 'sum', inPlace: true });
      t.equal(
        wrong(array, (i) => sumOver(everyone, i, call)),
        0,
        `call ${call}`,
      );
      hvd.allreduce(whole, { name: 'whole', op: 'average', inPlace: true });
      t.equal(
        wrong(whole, (i) => Math.trunc(sumOver(everyone, i, call) / size)),
        0,
        `call ${call}, average of whole numbers`,
      );
    }
    hvd.release(array);
    hvd.release(whole);
  });

t.test('calls on the same array follow one another, whatever they are', async (t) => {
  const elems = 700_000;
  const array = hvd.allocate(Float32Array, elems);
  for (let call = 0; call < 5; call += 1) {
    for (let i = 0; i < elems; i += 1) array[i] = input(rank, i, call);
    if (call % size === rank) await new Promise((resolve) => setTimeout(resolve, 5));
    const handles = [
      hvd.allreduceAsync(array, { name: 'compressed', op: 'max', inPlace: true, compression: hvd.Compression.fp16 }),
      hvd.allreduceAsync(array, { name: 'plain', op: 'sum', inPlace: true }),
      hvd.allreduceAsync(array, { name: 'scaled', op: 'sum', prescaleFactor: 2, inPlace: true }),
      hvd.allreduceAsync(array, { name: 'last', op: 'average', inPlace: true }),
    ];
    for (const handle of handles) hvd.synchronize(handle);
    const expected = (i: number): number => Math.max(...everyone.map((of) => input(of, i, call))) * size * 2 * size;
    t.equal(wrong(array, expected), 0, `call ${call}`);
  }
  hvd.release(array);
});

t.test('sets that share ranks, by turns', { skip: size < 3 && 'needs 3 ranks' }, async (t) => {
  const members = [[0, 1], [0, 2], everyone];
  const sets = [hvd.addProcessSet([0, 1]), hvd.addProcessSet([0, 2]), undefined];
  const elems = 300_000;
  const array = hvd.allocate(Float64Array, elems);
  for (let call = 0; call < 12; call += 1) {
    const ranks = members[call % 3]!;
    if (!ranks.includes(rank)) continue;
    for (let i = 0; i < elems; i += 1) array[i] = input(rank, i, call);
    hvd.allreduce(array, { name: 'array', op: 'sum', inPlace: true, processSet: sets[call % 3] });
    t.equal(
      wrong(array, (i) => sumOver(ranks, i, call)),
      0,
      `call ${call}`,
    );
  }
  for (const set of sets) if (set) hvd.removeProcessSet(set);
  hvd.release(array);
});
