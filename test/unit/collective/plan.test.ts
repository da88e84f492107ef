/** What every plan must promise, whatever it runs over. */
import fc from 'fast-check';
import t from 'tap';
import { type Plan, partOf, rangesOf, rowsOfParts, segmentsOf } from '../../../src/collective/plan';
import { allgather, allreduces, alltoall, broadcasts, elemsFor, reduceScatter, sizes } from './algorithms';
import { racesIn, randomFrom, simulate, type Trace } from './simulation';

const input = fc.record({
  size: fc.integer({ min: 1, max: 17 }),
  elems: fc.integer({ min: 0, max: 60 }),
  segmentElems: fc.integer({ min: 1, max: 9 }),
  chunkElems: fc.integer({ min: 1, max: 20 }),
});
const seed = fc.integer({ min: 1, max: 2 ** 31 });
const runs = { numRuns: 150 };

const ownOf = (size: number, rank: number): Trace => ({
  contributions: Array.from({ length: size }, (_, i) => Number(i === rank)),
  finished: 0,
});
const operandsOf = (size: number, elems: number): Trace[][] =>
  Array.from({ length: size }, (_, rank) => Array.from({ length: elems }, () => ownOf(size, rank)));

for (const [name, plansOf] of Object.entries(allreduces)) {
  t.test(`${name} allreduce: every rank ends with each contribution once, post-scaled once, in any order of events`, async (t) => {
    const check = (shape: Parameters<typeof plansOf>[0], from: number): void => {
      const complete = JSON.stringify({ contributions: new Array(shape.size).fill(1), finished: 1 });
      for (const values of simulate(plansOf(shape), operandsOf(shape.size, shape.elems), randomFrom(from))) {
        for (const value of values) if (JSON.stringify(value) !== complete) throw new Error(JSON.stringify(value));
      }
    };
    fc.assert(fc.property(input, seed, check), runs);
    for (const size of sizes)
      for (const elems of elemsFor(size)) for (const chunkElems of [100, 1000]) check({ size, elems, segmentElems: 64, chunkElems }, 1);
    t.pass();
  });
}

for (const [name, plansOf] of Object.entries(broadcasts)) {
  t.test(`${name} broadcast: every rank ends with the root's elements, in any order of events`, async (t) => {
    fc.assert(
      fc.property(input, fc.nat(), seed, ({ size, elems, segmentElems }, anyRoot, from) => {
        const root = anyRoot % size;
        const expected = JSON.stringify(ownOf(size, root));
        for (const values of simulate(plansOf({ size, elems, segmentElems, root }), operandsOf(size, elems), randomFrom(from))) {
          for (const value of values) if (JSON.stringify(value) !== expected) throw new Error(JSON.stringify(value));
        }
      }),
      runs,
    );
    t.pass();
  });
}

const ragged = fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 9 });

t.test('ring allgather: every rank ends with every part, though parts differ in length or are empty', async (t) => {
  fc.assert(
    fc.property(ragged, fc.integer({ min: 1, max: 5 }), seed, (elemsOf, segmentElems, from) => {
      const expected = JSON.stringify(elemsOf.flatMap((elems, rank) => Array.from({ length: elems }, () => ownOf(elemsOf.length, rank))));
      const total = elemsOf.reduce((sum, elems) => sum + elems, 0);
      const results = simulate(allgather({ elemsOf, segmentElems }), operandsOf(elemsOf.length, total), randomFrom(from));
      for (const values of results) if (JSON.stringify(values) !== expected) throw new Error('parts differ');
    }),
    runs,
  );
  t.pass();
});

/** Of one to three tensors, what each of some positions keeps. */
const parted = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 3 }))
  .chain(([size, tensors]) =>
    fc.array(fc.array(fc.integer({ min: 0, max: 12 }), { minLength: size, maxLength: size }), { minLength: tensors, maxLength: tensors }),
  );

t.test(
  'ring reduce-scatter: every rank ends with its part of every tensor, complete and post-scaled once, and with nothing else',
  async (t) => {
    fc.assert(
      fc.property(parted, fc.integer({ min: 1, max: 5 }), seed, (elemsOf, segmentElems, from) => {
        const size = elemsOf[0]!.length;
        const complete = JSON.stringify({ contributions: new Array(size).fill(1), finished: 1 });
        const ranges = rangesOf(elemsOf.flat());
        const elems = ranges.at(-1)!.until;
        for (const [rank, values] of simulate(
          reduceScatter({ elemsOf, segmentElems }),
          operandsOf(size, elems),
          randomFrom(from),
        ).entries()) {
          for (const [i, range] of ranges.entries()) {
            for (let elem = range.from; elem < range.until; elem += 1) {
              if ((JSON.stringify(values[elem]) === complete) !== (i % size === rank))
                throw new Error(`rank ${rank}, element ${elem}: ${JSON.stringify(values[elem])}`);
            }
          }
        }
      }),
      runs,
    );
    t.pass();
  },
);

const exchanged = fc
  .integer({ min: 1, max: 8 })
  .chain((size) =>
    fc.array(fc.array(fc.integer({ min: 0, max: 7 }), { minLength: size, maxLength: size }), { minLength: size, maxLength: size }),
  );

t.test('pairwise alltoall: every rank gets from each what that has for it, in their order, in any order of events', async (t) => {
  fc.assert(
    fc.property(exchanged, fc.integer({ min: 1, max: 5 }), seed, (splits, segmentElems, from) => {
      const size = splits.length;
      // A trace tells where it comes from and for whom it is; what a rank has for itself is not the plan's.
      const mark = (owner: number, receiver: number, i: number): Trace => ({ contributions: [owner, receiver, i], finished: 0 });
      const parts = (owner: number, receiver: number): Trace[] =>
        Array.from({ length: splits[owner]![receiver]! }, (_, i) => mark(owner, receiver, i));
      const positions = Array.from({ length: size }, (_, position) => position);
      const sources = positions.map((owner) => positions.flatMap((receiver) => parts(owner, receiver)));
      const expected = positions.map((receiver) =>
        positions.flatMap((owner) => (owner === receiver ? parts(owner, receiver).fill(mark(-1, -1, -1)) : parts(owner, receiver))),
      );
      const empty = expected.map((values) => values.map(() => mark(-1, -1, -1)));
      const plans = alltoall({ splits, segmentElems });
      const results = simulate(plans, empty, randomFrom(from), sources);
      if (JSON.stringify(results) !== JSON.stringify(expected)) throw new Error(JSON.stringify(results));
      const longest = Math.max(0, ...plans.flatMap(({ sends }) => sends.map((send) => send.until - send.from)));
      if (longest > segmentElems) throw new Error(`a segment of ${longest} elements`);
    }),
    runs,
  );
  t.pass();
});

t.test('at each step of an alltoall every rank is sent to by exactly one', async (t) => {
  const size = 5;
  const plans = alltoall({ splits: new Array(size).fill(new Array(size).fill(1)), segmentElems: 1 });
  for (let step = 0; step < size - 1; step += 1) {
    t.same(plans.map(({ sends }) => sends[step]!.to).sort(), [0, 1, 2, 3, 4]);
    for (const [rank, { sends }] of plans.entries()) t.equal(plans[sends[step]!.to]!.recvs[step]!.peer, rank);
  }
});

/** The plans of any algorithm that works in its operand. */
const anyPlans: fc.Arbitrary<{ plans: Plan[]; segmentElems: number }> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...Object.values(allreduces)), input)
    .map(([plansOf, shape]) => ({ plans: plansOf(shape), segmentElems: shape.segmentElems })),
  fc
    .tuple(fc.constantFrom(...Object.values(broadcasts)), input, fc.nat())
    .map(([plansOf, shape, root]) => ({ plans: plansOf({ ...shape, root: root % shape.size }), segmentElems: shape.segmentElems })),
  fc
    .tuple(ragged, fc.integer({ min: 1, max: 5 }))
    .map(([elemsOf, segmentElems]) => ({ plans: allgather({ elemsOf, segmentElems }), segmentElems })),
  fc
    .tuple(parted, fc.integer({ min: 1, max: 5 }))
    .map(([elemsOf, segmentElems]) => ({ plans: reduceScatter({ elemsOf, segmentElems }), segmentElems })),
);

t.test('no plan lets a send and a receipt race for a range', async (t) => {
  fc.assert(
    fc.property(anyPlans, ({ plans }) => {
      for (const [rank, plan] of plans.entries()) {
        const races = racesIn(plan);
        if (races.length > 0) throw new Error(`rank ${rank}: ${races.join(', ')}`);
      }
    }),
    { numRuns: 400 },
  );
  t.pass();
});

t.test('messages between two ranks pair up in order, are never empty and never longer than a segment', async (t) => {
  fc.assert(
    fc.property(anyPlans, ({ plans, segmentElems }) => {
      for (const [from, { sends }] of plans.entries()) {
        for (const [to, { recvs }] of plans.entries()) {
          const left = sends.filter((send) => send.to === to).map((send) => [send.from, send.until]);
          const arrived = recvs.filter((recv) => recv.peer === from).map((recv) => [recv.from, recv.until]);
          if (JSON.stringify(left) !== JSON.stringify(arrived)) throw new Error(`from rank ${from} to rank ${to}`);
          if (left.some(([first, end]) => end! <= first! || end! - first! > segmentElems)) throw new Error(JSON.stringify(left));
        }
      }
    }),
    { numRuns: 400 },
  );
  t.pass();
});

t.test('the check for races finds one when a count of a ring is lowered', async (t) => {
  const plan = allreduces.ring!({ size: 3, elems: 6, segmentElems: 1 })[0]!;
  t.same(racesIn(plan), []);
  const hasty = { ...plan, recvs: plan.recvs.map((recv) => ({ ...recv, afterSends: 0 })) };
  t.ok(racesIn(hasty).length > 0);
  const early = { ...plan, sends: plan.sends.map((send) => ({ ...send, afterRecvs: Math.max(0, send.afterRecvs - 1) })) };
  t.ok(racesIn(early).length > 0);
});

t.test('parts and segments cover a range without gap or overlap, as evenly as can be', async (t) => {
  fc.assert(
    fc.property(fc.nat(100), fc.nat(1000), fc.integer({ min: 1, max: 40 }), (from, elems, n) => {
      const range = { from, until: from + elems };
      for (const pieces of [segmentsOf(range, n), Array.from({ length: n }, (_, i) => partOf(range, i, n))]) {
        let at = from;
        for (const piece of pieces) {
          if (piece.from !== at) throw new Error(`gap at ${at}`);
          at = piece.until;
        }
        if (at !== range.until) throw new Error(`ends at ${at}`);
        const lengths = pieces.map((piece) => piece.until - piece.from);
        if (lengths.length > 0 && Math.max(...lengths) - Math.min(...lengths) > 1) throw new Error(`${lengths}`);
      }
      const longest = Math.max(0, ...segmentsOf(range, n).map((piece) => piece.until - piece.from));
      if (longest > n) throw new Error(`${longest} > ${n}`);
    }),
  );
  t.pass();
});

t.test('rows are parted so that the first parts hold one more', async (t) => {
  t.same(rowsOfParts(7, 3), [3, 2, 2]);
  t.same(rowsOfParts(8, 3), [3, 3, 2]);
  t.same(rowsOfParts(2, 4), [1, 1, 0, 0]);
  t.same(rowsOfParts(0, 2), [0, 0]);
  t.same(rangesOf([3, 0, 2]), [
    { from: 0, until: 3 },
    { from: 3, until: 3 },
    { from: 3, until: 5 },
  ]);
});

t.test('a group of one exchanges nothing; its allreduce is post-scaled whole', async (t) => {
  for (const plansOf of Object.values(allreduces)) {
    t.same(plansOf({ size: 1, elems: 5, segmentElems: 2 }), [{ sends: [], recvs: [], finishAtEnd: { from: 0, until: 5 } }]);
    t.equal(plansOf({ size: 1, elems: 0, segmentElems: 2 })[0]!.finishAtEnd, undefined);
  }
  for (const plansOf of Object.values(broadcasts))
    t.same(plansOf({ size: 1, elems: 5, segmentElems: 2, root: 0 }), [{ sends: [], recvs: [] }]);
  t.same(allgather({ elemsOf: [5], segmentElems: 2 }), [{ sends: [], recvs: [] }]);
  t.same(alltoall({ splits: [[5]], segmentElems: 2 }), [{ sends: [], recvs: [] }]);
  t.same(reduceScatter({ elemsOf: [[5], [2]], segmentElems: 2 }), [{ sends: [], recvs: [], finishAtEnd: { from: 0, until: 7 } }]);
});
