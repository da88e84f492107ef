/** The response cache on both sides of the wire, entry by entry. How the two meet under delay: negotiate.test.ts. */
import fc from 'fast-check';
import t from 'tap';
import { RequestCache, ResponseCache } from '../../../src/engine/cache';
import { callKey, isSameCall } from '../../../src/engine/call';
import { call } from './calls';

const key = (name: string): string => callKey(call(name));

t.test('what was remembered is hit by its id until it is forgotten', async (t) => {
  const cache = new ResponseCache(4);
  const id = cache.remember([call('a'), call('a')]);
  t.ok(id > 0);
  t.same(cache.hit(id, () => 1)?.call, call('a'));
  t.equal(cache.use(key('a')), id);
  t.equal(cache.hit(id + 1, () => 0)?.call, undefined);
  const next = cache.remember([call('a', { parts: [[9]] }), call('a', { parts: [[9]] })]);
  t.not(next, id, 'another call of that name takes its place under another id');
  t.equal(cache.hit(id, () => 0)?.call, undefined);
  t.same(cache.takeEvicted(), [id]);
  t.same(cache.takeEvicted(), [], 'evictions are said once');
});

t.test('an entry of a gather holds the rows of each member', async (t) => {
  const cache = new ResponseCache(4);
  const calls = [3, 5, 0].map((rows) => call('g', { kind: 'allgather', parts: [[rows, 2]] }));
  const id = cache.remember(calls);
  for (const [position, one] of calls.entries()) t.same(cache.hit(id, () => position)?.call, one);
});

t.test('with a capacity of 0 nothing is remembered', async (t) => {
  const cache = new ResponseCache(0);
  t.equal(cache.remember([call('a')]), 0);
  t.same(cache.takeEvicted(), []);
});

t.test('when there is no room, the least recently used goes, but none that some members have named', async (t) => {
  const cache = new ResponseCache(2);
  const [a, b] = [cache.remember([call('a')]), cache.remember([call('b')])];
  cache.hit(a, () => 0);
  cache.use(key('a'));
  const c = cache.remember([call('c')]);
  t.same(cache.takeEvicted(), [b], 'a was used after b');
  cache.hit(a, () => 0);
  cache.hit(c, () => 0);
  t.equal(cache.remember([call('d')]), 0, 'both are named: no room');
  t.same(cache.takeEvicted(), []);
  cache.release(key('c'));
  t.ok(cache.remember([call('d')]) > c);
  t.same(cache.takeEvicted(), [c]);
  t.same(cache.hit(a, () => 0)?.call, call('a'));
});

t.test('whatever happens, an id is never given twice, and no more is held than the capacity', async (t) => {
  const step = fc.record({
    act: fc.constantFrom('remember', 'hit', 'use', 'release'),
    name: fc.constantFrom(...'abcde'),
    shape: fc.nat(2),
  });
  fc.assert(
    fc.property(fc.nat(4), fc.array(step, { maxLength: 80 }), (capacity, steps) => {
      const cache = new ResponseCache(capacity);
      const given = new Set<number>();
      const live = new Map<string, number>();
      const hit = new Set<number>();
      for (const { act, name, shape } of steps) {
        const id = live.get(name);
        if (act === 'remember') {
          const next = cache.remember([call(name, { parts: [[shape]] })]);
          if (next > 0 && given.has(next)) throw new Error(`${next} twice`);
          given.add(next);
          for (const gone of cache.takeEvicted()) {
            const [owner] = [...live].find(([, known]) => known === gone)!;
            if (hit.has(gone) && owner !== name) throw new Error(`${gone} was named and went for room`);
            live.delete(owner);
          }
          if (next > 0) live.set(name, next);
        } else if (id === undefined) cache.release(key(name));
        else if (act === 'hit') {
          cache.hit(id, () => 0);
          hit.add(id);
        } else {
          if (act === 'use' && cache.use(key(name)) !== id) throw new Error('another id');
          if (act === 'release') cache.release(key(name));
          hit.delete(id);
        }
        if (live.size > capacity) throw new Error(`${live.size} held`);
        for (const known of given) {
          const isLive = [...live.values()].includes(known);
          if (known > 0 && isLive !== (cache.hit(known, () => 0) !== undefined)) throw new Error(`${known} is ${isLive ? '' : 'not '}live`);
          // Looking counts as naming; undo it where nobody had named it.
          const owner = [...live].find(([, one]) => one === known)?.[0];
          if (owner !== undefined && !hit.has(known)) cache.release(key(owner));
        }
      }
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('a rank names an id only for the very call that it stands for', async (t) => {
  const cache = new RequestCache();
  t.equal(cache.lookup(call('a')), undefined);
  cache.remember(7, call('a'));
  t.equal(cache.lookup(call('a')), 7);
  t.equal(cache.lookup(call('a', { parts: [[9]] })), undefined);
  t.equal(cache.lookup(call('b')), undefined);
  t.same(cache.callOf(7), call('a'));
  t.equal(cache.callOf(8), undefined);
});

t.test('a rank that has named an id knows its call although the news of the eviction comes first', async (t) => {
  const cache = new RequestCache();
  cache.remember(7, call('a'));
  cache.remember(8, call('b'));
  cache.lookup(call('a'));
  cache.evict([7, 8]);
  t.ok(isSameCall(cache.callOf(7)!, call('a')), 'named and not heard of');
  t.equal(cache.callOf(8), undefined, 'not named');
  t.equal(cache.lookup(call('a')), undefined, 'a new call is sent in full all the same');
  cache.answered(call('a'));
  t.equal(cache.callOf(7), undefined, 'nothing is kept once the call has ended');
});

t.test('a refused id is sent in full once, however often it is refused, and not at all when its call has ended', async (t) => {
  const cache = new RequestCache();
  cache.remember(7, call('a'));
  cache.lookup(call('a'));
  t.same(cache.refused([7, 7, 99]), [call('a')]);
  t.same(cache.refused([7]), []);
  t.equal(cache.lookup(call('a')), undefined);
  cache.remember(9, call('a'));
  cache.lookup(call('a'));
  cache.answered(call('a'));
  t.same(cache.refused([9]), []);
});

t.test('an answer that gives the call a new id leaves the old one until it is evicted or the call ends', async (t) => {
  for (const order of ['evict first', 'answer first']) {
    const cache = new RequestCache();
    cache.remember(1, call('a'));
    cache.lookup(call('a'));
    cache.remember(2, call('a'));
    if (order === 'evict first') cache.evict([1]);
    cache.answered(call('a'));
    if (order === 'answer first') cache.evict([1]);
    t.equal(cache.callOf(1), undefined, order);
    t.equal(cache.lookup(call('a')), 2, order);
  }
});
