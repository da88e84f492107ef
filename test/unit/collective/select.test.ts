import t from 'tap';
import {
  COPY_SEGMENT_BYTES,
  isStarAllreduce,
  LEAST_SEGMENT_BYTES,
  MOST_CHUNK_BYTES,
  MOST_SEGMENT_BYTES,
  RECURSIVE_DOUBLING_MAX_BYTES,
  type Selected,
  STAR_MAX_BYTES,
  selectAllgather,
  selectAllreduce,
  selectAlltoall,
  selectBroadcast,
  selectReduceScatter,
  TREE_MAX_BYTES,
} from '../../../src/collective/select';

const longestBytes = ({ plan }: Selected, bytesPerElem: number): number =>
  Math.max(0, ...plan.sends.map(({ from, until }) => (until - from) * bytesPerElem));

t.test('small reductions take recursive doubling, larger ones the ring', async (t) => {
  const at = (bytes: number) => selectAllreduce({ rank: 1, size: 4, elems: bytes / 4, bytesPerElem: 4 });
  t.equal(at(0).algorithm, 'recursive-doubling');
  t.equal(at(RECURSIVE_DOUBLING_MAX_BYTES).algorithm, 'recursive-doubling');
  t.equal(at(RECURSIVE_DOUBLING_MAX_BYTES + 4).algorithm, 'ring');
  t.match(at(RECURSIVE_DOUBLING_MAX_BYTES + 4).reason, /32772 bytes are more than 32768/);
});

t.test('an operand travels with its request while those of all ranks together are small', async (t) => {
  t.ok(isStarAllreduce(2, STAR_MAX_BYTES / 2));
  t.notOk(isStarAllreduce(2, STAR_MAX_BYTES / 2 + 1));
  t.ok(isStarAllreduce(8, STAR_MAX_BYTES / 8));
  t.notOk(isStarAllreduce(9, STAR_MAX_BYTES / 8));
  t.notOk(isStarAllreduce(2, 0), 'nothing is no operand');
  t.notOk(isStarAllreduce(1, 4), 'a rank by itself has nobody to save a message to');
});

t.test('small broadcasts take the tree, larger ones the chain', async (t) => {
  const at = (bytes: number) => selectBroadcast({ rank: 1, size: 4, root: 2, elems: bytes, bytesPerElem: 1 });
  t.equal(at(TREE_MAX_BYTES).algorithm, 'tree');
  t.equal(at(TREE_MAX_BYTES + 1).algorithm, 'chain');
});

t.test('segments keep to their limits, of elements of any size', async (t) => {
  for (const bytesPerElem of [1, 2, 4, 8]) {
    const elems = (40 << 20) / bytesPerElem + 1;
    const reduced = longestBytes(selectAllreduce({ rank: 0, size: 3, elems, bytesPerElem }), bytesPerElem);
    const gathered = longestBytes(selectAllgather({ rank: 0, size: 2, elemsOf: [elems, 1], bytesPerElem }), bytesPerElem);
    const half = Math.floor(elems / 2);
    const scattered = longestBytes(selectReduceScatter({ rank: 0, size: 2, elemsOf: [[half, half]], bytesPerElem }), bytesPerElem);
    const exchanged = longestBytes(selectAlltoall({ rank: 0, size: 2, toEach: [0, elems], fromEach: [0, 0], bytesPerElem }), bytesPerElem);
    t.ok(scattered <= MOST_SEGMENT_BYTES && scattered > MOST_SEGMENT_BYTES / 2, `${scattered}`);
    t.ok(exchanged <= COPY_SEGMENT_BYTES && exchanged > COPY_SEGMENT_BYTES / 2, `${exchanged}`);
    t.ok(reduced <= MOST_SEGMENT_BYTES && reduced > MOST_SEGMENT_BYTES / 2, `${reduced}`);
    t.ok(gathered <= COPY_SEGMENT_BYTES && gathered > COPY_SEGMENT_BYTES / 2, `${gathered}`);
  }
});

t.test('chunks of the ring fit a cache and travel in two segments, none shorter than a wake-up is worth', async (t) => {
  const of = (bytes: number, size = 2) => selectAllreduce({ rank: 0, size, elems: bytes / 4, bytesPerElem: 4 });
  t.equal(of(8 << 20).plan.sends.length, 16, 'four blocks of two chunks of two segments');
  t.equal(longestBytes(of(8 << 20), 4), MOST_SEGMENT_BYTES);
  t.equal(of(8 << 20).plan.sends[2]!.from * 4, MOST_CHUNK_BYTES, 'the second chunk');
  t.equal(longestBytes(of(1 << 20), 4), LEAST_SEGMENT_BYTES);
  t.equal(of(32 << 20, 8).plan.sends.length, 4 * 14 * 2, 'four blocks of 8 MiB, 14 steps, two segments');
});

t.test('a group of one needs no algorithm', async (t) => {
  const group = { rank: 0, size: 1, bytesPerElem: 4 };
  for (const { algorithm, plan } of [
    selectAllreduce({ ...group, elems: 9 }),
    selectBroadcast({ ...group, elems: 9, root: 0 }),
    selectAllgather({ ...group, elemsOf: [9] }),
    selectReduceScatter({ ...group, elemsOf: [[9]] }),
    selectAlltoall({ ...group, toEach: [9], fromEach: [9] }),
  ]) {
    t.equal(algorithm, 'none');
    t.equal(plan.sends.length + plan.recvs.length, 0);
  }
});
