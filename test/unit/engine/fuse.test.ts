/** What is fused with what. */
import fc from 'fast-check';
import t from 'tap';
import { bytesOfCall, type Call } from '../../../src/engine/call';
import { fuse, MOST_FUSED_BYTES, type Ready } from '../../../src/engine/fuse';
import { call } from './calls';

const ready = (name: string, elems: number, fields: Partial<Call> & Omit<Ready, 'call'> = {}): Ready => {
  const { error, operands, ...rest } = fields;
  return { call: call(name, { parts: [[elems]], ...rest }), error, operands };
};
const namesOf = (items: readonly Ready[], thresholdBytes: number): string[] =>
  fuse(items, thresholdBytes).map((batch) => batch.items.map((item) => item.call.name).join(''));

t.test('like calls that fit the threshold together are fused, in their order', async (t) => {
  const four = 'abcd'.split('').map((name) => ready(name, 10));
  t.same(namesOf(four, 160), ['abcd']);
  t.same(namesOf(four, 159), ['abc', 'd']);
  t.same(namesOf(four, 80), ['ab', 'cd']);
  t.same(namesOf(four, 79), ['a', 'b', 'c', 'd']);
  t.same(namesOf([], 100), []);
});

t.test('with a threshold of 0 nothing is fused, not even calls without elements', async (t) => {
  t.same(namesOf([ready('a', 0), ready('b', 0), ready('c', 1)], 0), ['a', 'b', 'c']);
  t.same(namesOf([ready('a', 0), ready('b', 0), ready('c', 1)], 4), ['abc']);
});

t.test('an Adasum is never fused, not even with another', async (t) => {
  const two = ['a', 'b'].map((name) => ready(name, 10, { op: 'adasum' }));
  t.same(namesOf(two, 1000), ['a', 'b']);
  t.match(fuse(two, 1000)[0]!.why(), /carried out by itself: adasum is not fused/);
});

t.test('a call that differs in kind, dtype, op, a factor, compression or process set is not fused', async (t) => {
  const others: Array<Partial<Call>> = [
    { dtype: 'int32' },
    { op: 'max' },
    { prescale: 2 },
    { postscale: 2 },
    { processSet: 1 },
    { compression: 'fp16' },
    { compression: 'int8' },
    { kind: 'broadcast', root: 0 },
    { kind: 'allgather' },
    { kind: 'alltoall', splits: [10] },
    { kind: 'reducescatter' },
    { kind: 'barrier', parts: [] },
  ];
  for (const fields of others) {
    t.same(namesOf([ready('a', 1), ready('b', 1, fields), ready('c', 1)], 1000), ['ac', 'b'], JSON.stringify(fields));
    t.same(namesOf([ready('b', 1, fields), ready('a', 1), ready('c', 1)], 1000), ['b', 'ac'], JSON.stringify(fields));
  }
});

t.test('what has failed, is a group or is held by the coordinator has no neighbours', async (t) => {
  for (const fields of [{ error: {} }, { grouped: true }, { operands: [] }])
    t.same(namesOf([ready('a', 1), ready('b', 1, fields), ready('c', 1, fields), ready('d', 1)], 1000), ['ad', 'b', 'c']);
});

t.test('a call larger than the threshold is carried out by itself', async (t) => {
  t.same(namesOf([ready('L', 100), ready('a', 1), ready('b', 1)], 100), ['L', 'ab']);
  t.same(namesOf([ready('a', 1), ready('L', 100), ready('b', 1)], 100), ['a', 'L', 'b'], 'and is too large to be looked past');
  t.same(namesOf([ready('a', 100), ready('b', 100)], 400), ['a', 'b']);
});

t.test('misfits are looked past while they and what is fused fit the threshold together, and keep their order', async (t) => {
  const int = (name: string, elems: number): Ready => ready(name, elems, { dtype: 'int32' });
  t.same(namesOf([ready('a', 5), int('x', 5), ready('b', 5), int('y', 5), ready('c', 5)], 100), ['abc', 'xy']);
  t.same(namesOf([ready('a', 5), int('x', 20), ready('b', 5)], 100), ['ab', 'x'], 'a and x make 100 bytes');
  t.same(namesOf([ready('a', 5), int('x', 21), ready('b', 5)], 100), ['a', 'x', 'b'], 'a and x make 104 bytes');
  t.same(namesOf([ready('a', 10), ready('b', 20), ready('c', 5)], 100), ['a', 'bc'], 'b does not fit, and is too large to be passed over');
});

t.test('no more is fused than the fusion region holds, whatever the threshold', async (t) => {
  const half = MOST_FUSED_BYTES / 8;
  t.same(namesOf([ready('a', half), ready('b', half), ready('c', half)], 2 ** 40), ['ab', 'c']);
});

t.test('each batch says why it is what it is', async (t) => {
  const items = [
    ready('a', 5),
    ready('b', 5),
    ready('g', 5, { grouped: true }),
    ready('o', 5, { operands: [] }),
    ready('L', 500),
    ready('x', 1, { kind: 'broadcast' }),
    ready('e', 1, { error: {} }),
  ];
  const reasons = fuse(items, 100).map(({ why }) => why());
  t.match(reasons, [
    /'a' and 'b' are fused.*sum, float32.* 40 of at most 100 bytes/,
    /'g'.*group/,
    /'o'.*came with the requests/,
    /'L'.*2000 bytes exceed.*100/,
    /'x'.*broadcast is not fused/,
    /'e'.*failed/,
  ]);
  t.match(fuse([ready('a', 1)], 100)[0]!.why(), /'a'.*nothing that is ready with it fits/);
  t.match(fuse([ready('a', 1)], 0)[0]!.why(), /threshold is 0/);
});

const anyReady = fc
  .record({
    elems: fc.nat(30),
    dtype: fc.constantFrom('float32' as const, 'int8' as const),
    kind: fc.constantFrom('allreduce' as const, 'allreduce' as const, 'allreduce' as const, 'broadcast' as const),
    op: fc.constantFrom('sum' as const, 'max' as const),
    grouped: fc.boolean(),
    isHeld: fc.boolean(),
    fails: fc.boolean(),
    isPlain: fc.boolean(),
  })
  .map(({ elems, dtype, kind, op, grouped, isHeld, fails, isPlain }) =>
    ready(
      '',
      elems,
      isPlain ? { dtype, op } : { dtype, op, kind, grouped, operands: isHeld ? [] : undefined, error: fails ? {} : undefined },
    ),
  );

t.test('every call is carried out once; what is fused is alike, fits, and keeps its order', async (t) => {
  fc.assert(
    fc.property(fc.array(anyReady, { maxLength: 25 }), fc.nat(200), (items, thresholdBytes) => {
      const batches = fuse(items, thresholdBytes).map((batch) => batch.items);
      const order = batches.flat().map((item) => items.indexOf(item));
      if ([...order].sort((a, b) => a - b).some((index, i) => index !== i) || order.length !== items.length) throw new Error(`${order}`);
      const first = batches.map(([item]) => items.indexOf(item!));
      if (first.some((index, i) => i > 0 && index < first[i - 1]!)) throw new Error(`batches begin with ${first}`);
      for (const batch of batches.filter(({ length }) => length > 1)) {
        const at = batch.map((item) => items.indexOf(item));
        if (at.some((index, i) => i > 0 && index < at[i - 1]!)) throw new Error(`${at} within a batch`);
        if (batch.reduce((sum, item) => sum + bytesOfCall(item.call), 0) > thresholdBytes) throw new Error('too large');
        if (batch.some(({ call, error, operands }) => error || operands || call.grouped || call.kind !== 'allreduce'))
          throw new Error('unfit');
        if (new Set(batch.map(({ call }) => `${call.dtype} ${call.op}`)).size > 1) throw new Error('unlike');
      }
    }),
    { numRuns: 500 },
  );
  t.pass();
});
