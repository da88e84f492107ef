import fc from 'fast-check';
import t from 'tap';
import { Overlap } from '../../../src/engine/overlap';

t.test('what is in flight is hidden while the main thread does not block', async (t) => {
  const stretches: number[][] = [];
  const overlap = new Overlap((from, until) => stretches.push([from, until]));
  overlap.submit(10);
  overlap.submit(12);
  overlap.complete(20);
  overlap.block(25);
  overlap.complete(30);
  overlap.resume(31);
  t.same(stretches, [[10, 25]]);
  t.same(overlap.totals(40), { hiddenUs: 15, exposedUs: 6 });
});

t.test('events of two threads that come a moment out of order: stretches follow each other, and are the total', async () => {
  const acts = ['submit', 'complete', 'block', 'resume'] as const;
  fc.assert(
    fc.property(fc.array(fc.record({ act: fc.constantFrom(...acts), late: fc.nat(5) }), { maxLength: 60 }), (events) => {
      const stretches: Array<readonly [number, number]> = [];
      const overlap = new Overlap((from, until) => stretches.push([from, until]));
      let [us, inFlight] = [100, 0];
      for (const { act, late } of events) {
        us += 3;
        if (act === 'complete' && inFlight === 0) continue;
        if ((act === 'block') === overlap.isBlocked && act !== 'submit' && act !== 'complete') continue;
        inFlight += act === 'submit' ? 1 : act === 'complete' ? -1 : 0;
        overlap[act](us - late);
      }
      while (inFlight-- > 0) overlap.complete(us);
      const sum = stretches.reduce((total, [from, until]) => total + until - from, 0);
      return (
        stretches.every(([from, until], i) => from < until && from >= (stretches[i - 1]?.[1] ?? 0)) && overlap.totals(us).hiddenUs === sum
      );
    }),
    { seed: 3 },
  );
});
