/** Where other processes' memory is seen: whatever the number of ranks, ranges of whole pages side by side, with room left for arrays. */
import t from 'tap';
import { layOutWindows } from '../../../../src/transport/shared_memory/windows';

const PAGE_BYTES = 65536;

t.test('ranges of whole pages, one behind the other, the own heap last', async (t) => {
  for (let ranks = 2; ranks <= 64; ranks += 1) {
    const { links, neighbours, heap } = layOutWindows(140 << 20, ranks);
    let until = 140 << 20;
    for (const { byteOffset, bytes } of [links, ...neighbours, heap]) {
      t.equal(byteOffset, until, `${ranks} ranks`);
      t.equal(bytes % PAGE_BYTES, 0);
      until = byteOffset + bytes;
    }
    t.ok(until < 2 ** 31, 'half of the addresses are left');
  }
});

t.test('up to eight ranks see all heaps, of more each sees one', async (t) => {
  for (const [ranks, seen] of [
    [2, 1],
    [4, 3],
    [8, 7],
    [9, 1],
    [64, 1],
  ] as const)
    t.equal(layOutWindows(0, ranks).neighbours.length, seen, `${ranks} ranks`);
  for (const ranks of [2, 3, 8, 9]) {
    const { neighbours, heap } = layOutWindows(0, ranks);
    t.ok(
      neighbours.every(({ bytes }) => bytes === heap.bytes),
      'as long as the own one',
    );
  }
});
