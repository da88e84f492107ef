/** The ring that carries the main thread's events, from both sides. */
import t from 'tap';
import { EventRing } from '../../../src/engine/boundary';

const CAPACITY = 1 << 15;

function taken(ring: EventRing, most = Number.POSITIVE_INFINITY): number[] {
  const ids: number[] = [];
  ring.drain((_code, _from, _until, id) => ids.length < most && ids.push(id) > 0);
  return ids;
}

t.test('events come out as they went in, in order, once', async (t) => {
  const writer = new EventRing();
  const reader = new EventRing(writer.shared);
  writer.put(1, 2.5, 3.5, 4);
  writer.put(5, 6, 7, 2 ** 40);
  const events: number[][] = [];
  reader.drain((...event) => events.push(event) > 0);
  t.same(events, [
    [1, 2.5, 3.5, 4],
    [5, 6, 7, 2 ** 40],
  ]);
  t.same(taken(reader), []);
});

t.test('one that is refused stays, with all after it', async (t) => {
  const ring = new EventRing();
  for (let id = 0; id < 5; id += 1) ring.put(1, 0, 0, id);
  t.same(taken(ring, 2), [0, 1]);
  t.same(taken(ring), [2, 3, 4]);
});

t.test('it goes round; when it is full, what comes is lost and counted, and what is there stays', async (t) => {
  const ring = new EventRing();
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 3; round += 1) {
    for (let i = 0; i < CAPACITY; i += 1) ring.put(1, 0, 0, next++);
    for (let i = 0; i < 10; i += 1) ring.put(1, 0, 0, -1);
    const ids = taken(ring);
    t.equal(ids.length, CAPACITY);
    t.ok(ids.every((id) => id === expected++));
    t.equal(ring.takeLost(), 10);
    t.equal(ring.takeLost(), 0);
    // So that the next round begins in the middle.
    for (let i = 0; i < 1000; i += 1) ring.put(1, 0, 0, next++);
    t.ok(taken(ring).every((id) => id === expected++));
  }
});
