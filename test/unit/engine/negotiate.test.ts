/** What the coordinator decides: case by case, then as a whole job of ranks whose messages are late and overtake each other's. */
import fc from 'fast-check';
import t from 'tap';
import { STAR_MAX_BYTES } from '../../../src/collective/select';
import { RequestCache } from '../../../src/engine/cache';
import { type Call, callFromRequest, callToRequest } from '../../../src/engine/call';
import type { Decision } from '../../../src/engine/decision';
import { Negotiator, type NegotiatorOptions } from '../../../src/engine/negotiate';
import { khorovod } from '../../../src/wire/generated/messages';
import { randomFrom } from '../collective/simulation';
import { call, hostOf } from './calls';

const negotiatorOf = (size: number, options: Partial<NegotiatorOptions> = {}): Negotiator =>
  new Negotiator({
    size,
    hostOf,
    cacheCapacity: 16,
    fusionThresholdBytes: 0,
    ...options,
  });
const submit = (negotiator: Negotiator, rank: number, ...calls: Array<Call | number>): number[] =>
  negotiator.add(
    rank,
    { full: calls.filter((one) => typeof one === 'object'), cached: calls.filter((one) => typeof one === 'number') },
    1000 + rank,
  ).resend;
/** The answer to a resend. */
const resubmit = (negotiator: Negotiator, rank: number, ...full: Call[]): number[] =>
  negotiator.add(rank, { full, cached: [], isResent: true }, 2000).resend;
const joining = (fields: Partial<Call> = {}): Call => call('join', { kind: 'join', parts: [], ...fields });
const namesOf = (responses: readonly Decision[]): string[] => responses.map(({ names }) => names.join('+'));

t.test('a call is decided when the last member has submitted it, and the order is that in which calls became complete', async (t) => {
  const negotiator = negotiatorOf(3);
  submit(negotiator, 0, call('a'), call('b'));
  submit(negotiator, 2, call('b'), call('a'));
  t.same(negotiator.take(), { responses: [], evicted: [] });
  submit(negotiator, 1, call('b'));
  t.same(namesOf(negotiator.take().responses), ['b']);
  submit(negotiator, 1, call('a'));
  t.same(namesOf(negotiator.take().responses), ['a']);
  t.same(negotiator.take().responses, [], 'each is answered once');
});

t.test('what waits says since when, who is missing and who is not', async (t) => {
  const negotiator = negotiatorOf(3);
  submit(negotiator, 1, call('a'));
  submit(negotiator, 0, call('b'), call('a'));
  t.same(
    negotiator.waiting().map((one) => [one.call.name, one.sinceMs, one.missing(), one.submitted()]),
    [
      ['a', 1001, [2], [0, 1]],
      ['b', 1000, [1, 2], [0]],
    ],
  );
});

t.test('what became complete by one message is fused up to the threshold, groups excepted', async (t) => {
  const negotiator = negotiatorOf(2, { fusionThresholdBytes: 60 });
  const calls = [call('a'), call('g', { grouped: true }), call('b'), call('c')];
  submit(negotiator, 0, ...calls);
  submit(negotiator, 1, ...[...calls].reverse());
  t.same(namesOf(negotiator.take().responses), ['c+b', 'g', 'a'], 'c and b with what was passed over fit; a has no room');
});

t.test('operands that all came with the requests are handed out with the decision, in the order of members', async (t) => {
  const negotiator = negotiatorOf(3, { fusionThresholdBytes: 1000 });
  const operand = (rank: number, bytes = 24): Uint8Array => new Uint8Array(bytes).fill(rank);
  const add = (rank: number, one: Call | number, given?: Uint8Array): void => {
    const { resend } = negotiator.add(
      rank,
      typeof one === 'number' ? { full: [], cached: [one], operand: given } : { full: [one], cached: [], operand: given },
      0,
    );
    t.same(resend, []);
  };
  for (const rank of [2, 0]) add(rank, call('x'), operand(rank));
  submit(negotiator, 0, call('y'));
  submit(negotiator, 1, call('y'));
  negotiator.add(1, { full: [call('x')], cached: [], operand: operand(1) }, 0);
  submit(negotiator, 2, call('y'));
  const { responses } = negotiator.take();
  t.same(namesOf(responses), ['x', 'y'], 'and are not fused');
  t.same(
    responses.map(({ star }) => star?.operands.map((bytes) => bytes[0])),
    [[0, 1, 2], undefined],
  );
  const [id] = responses[0]!.cacheAs;
  for (const rank of [1, 0, 2]) add(rank, id!, operand(rank + 5));
  const [again] = negotiator.take().responses;
  t.match(again, { cached: [id], star: { call: { name: 'x' } } }, 'of calls named by their ids too');
  t.same(
    again!.star!.operands.map((bytes) => bytes[0]),
    [5, 6, 7],
  );
  for (const rank of [0, 2]) add(rank, id!, operand(rank));
  submit(negotiator, 1, id!);
  t.equal(negotiator.take().responses[0]!.star, undefined, 'one that does not block keeps its operand: all carry it out');
  for (const rank of [0, 1]) add(rank, call('z'), operand(rank));
  negotiator.add(2, { full: [call('z', { parts: [[1]] })], cached: [], operand: operand(2, 4) }, 0);
  t.match(negotiator.take().responses, [{ error: { code: 'ERR_HVD_MISMATCH' }, star: undefined }]);
});

t.test('an operand that fits no call is refused', async (t) => {
  const negotiator = negotiatorOf(2);
  const add = (full: Call[], bytes: number) => () => negotiator.add(0, { full, cached: [], operand: new Uint8Array(bytes) }, 0);
  t.throws(add([call('x'), call('y')], 24), { code: 'ERR_HVD_WIRE', message: /one operand for 2 calls/ });
  t.throws(add([call('x')], 23), { code: 'ERR_HVD_WIRE', message: /23 bytes along with allreduce 'x'/ });
  const large = STAR_MAX_BYTES / 2 + 4;
  t.throws(
    add([call('x', { parts: [[large / 4]] })], large),
    { code: 'ERR_HVD_WIRE', message: /4100 bytes along with/ },
    'nor more than a star carries',
  );
  t.throws(add([call('g', { kind: 'allgather' })], 24), { code: 'ERR_HVD_WIRE', message: /allgather 'g'/ });
  t.throws(
    add([call('a', { op: 'adasum' })], 24),
    { code: 'ERR_HVD_WIRE', message: /allreduce 'a'/ },
    'nor one that nobody can reduce by element',
  );
});

t.test('the rows of a gather come from every rank, for every part', async (t) => {
  const negotiator = negotiatorOf(2);
  const gather = (...rows: number[]): Call => call('g', { kind: 'allgather', parts: rows.map((n) => [n, 4]), grouped: true });
  submit(negotiator, 1, gather(0, 7));
  submit(negotiator, 0, gather(2, 5));
  const [first] = negotiator.take().responses;
  t.same(first!.sizes, [
    [2, 0],
    [5, 7],
  ]);
  const [id] = first!.cacheAs;
  submit(negotiator, 0, id!);
  submit(negotiator, 1, id!);
  const [again] = negotiator.take().responses;
  t.same([again!.cached, again!.sizes], [[id], first!.sizes], 'an id stands for the rows of each');
  submit(negotiator, 0, id!);
  submit(negotiator, 1, gather(1, 1));
  const { responses, evicted } = negotiator.take();
  t.same(responses[0]!.sizes, [
    [2, 1],
    [5, 1],
  ]);
  t.same(evicted, [id]);
  t.ok(responses[0]!.cacheAs[0]! > id!);
});

t.test('the splits of an alltoall come from every rank; other splits are another call', async (t) => {
  const negotiator = negotiatorOf(2);
  const exchange = (...splits: number[]): Call =>
    call('x', { kind: 'alltoall', parts: [[splits.reduce((sum, split) => sum + split, 0), 4]], splits });
  submit(negotiator, 1, exchange(0, 7));
  submit(negotiator, 0, exchange(2, 3));
  const [first] = negotiator.take().responses;
  t.same(first!.sizes, [
    [2, 3],
    [0, 7],
  ]);
  const [id] = first!.cacheAs;
  submit(negotiator, 0, id!);
  submit(negotiator, 1, id!);
  const [again] = negotiator.take().responses;
  t.same([again!.cached, again!.sizes], [[id], first!.sizes], 'an id stands for the splits of each');
  submit(negotiator, 0, exchange(3, 2));
  submit(negotiator, 1, id!);
  const { responses, evicted } = negotiator.take();
  t.same(responses[0]!.sizes, [
    [3, 2],
    [0, 7],
  ]);
  t.same(evicted, [id]);
  t.throws(() => submit(negotiator, 0, exchange(1, 2, 3)), { code: 'ERR_HVD_WIRE', message: /'x' for 3 of 2 ranks/ });
});

// ───── mismatches ─────

const mismatches: Array<[string, Call, Call, RegExp]> = [
  [
    'kinds',
    call('x'),
    call('x', { kind: 'broadcast', root: 0 }),
    /^Mismatched operations for 'x': allreduce on rank 0 \(host a\), but broadcast on rank 1 \(host a\)\. /,
  ],
  [
    'kinds, whatever else differs',
    call('x'),
    call('x', { kind: 'barrier', dtype: 'uint8', parts: [] }),
    /^Mismatched operations .*barrier/,
  ],
  ['dtypes', call('x'), call('x', { dtype: 'int32' }), /^Mismatched data types for 'x': float32 on rank 0 .*, but int32 on rank 1 .*Cast/],
  ['grouping', call('x'), call('x', { grouped: true }), /^Mismatched grouping .*a single tensor on rank 0.*a group on rank 1/],
  [
    'shapes',
    call('x'),
    call('x', { parts: [[3, 2]] }),
    /^Mismatched ALLREDUCE tensor shapes for 'x': \[2,3\] on rank 0 .*\[3,2\] on rank 1/,
  ],
  ['numbers of axes', call('x'), call('x', { parts: [[6]] }), /^Mismatched ALLREDUCE tensor shapes .*\[2,3\].*\[6\]/],
  [
    'shapes of a broadcast',
    call('x', { kind: 'broadcast', root: 0 }),
    call('x', { kind: 'broadcast', root: 0, parts: [[]] }),
    /^Mismatched BROADCAST tensor shapes .*\[2,3\].*\[\]/,
  ],
  [
    'numbers of tensors in a group',
    call('x', { grouped: true }),
    call('x', { grouped: true, parts: [[1], [2]] }),
    /^Mismatched ALLREDUCE tensor shapes .*1 tensors.*2 tensors/,
  ],
  [
    'shapes in a group',
    call('x', { grouped: true, parts: [[1], [2], [3]] }),
    call('x', { grouped: true, parts: [[1], [4], [5]] }),
    /^Mismatched ALLREDUCE tensor shapes .*\[2\] as tensor 1 of the group on rank 0.*\[4\] as tensor 1 of the group on rank 1/,
  ],
  [
    'prescale factors',
    call('x'),
    call('x', { prescale: 0.5 }),
    /^Mismatched prescale and\/or postscale factors .*prescale 1, postscale 1 on.*prescale 0\.5/,
  ],
  ['postscale factors', call('x'), call('x', { postscale: 0.5 }), /^Mismatched prescale and\/or postscale factors /],
  ['compression', call('x'), call('x', { compression: 'bf16' }), /^Mismatched compression .*none on rank 0 .*compression bf16 on rank 1/],
  ['ops', call('x'), call('x', { op: 'max' }), /^Mismatched reduction operation for 'x': sum on rank 0 .*max on rank 1/],
  [
    'axes of a gather other than axis 0',
    call('x', { kind: 'allgather', parts: [[2, 3]] }),
    call('x', { kind: 'allgather', parts: [[4, 5]] }),
    /^Mismatched ALLGATHER tensor shapes .*\[any,3\].*\[any,5\]/,
  ],
  [
    'numbers of axes of a gather',
    call('x', { kind: 'allgather', parts: [[2]] }),
    call('x', { kind: 'allgather', parts: [[2, 1]] }),
    /^Mismatched ALLGATHER tensor shapes .*\[any\].*\[any,1\]/,
  ],
  [
    'axes of an alltoall other than axis 0',
    call('x', { kind: 'alltoall', parts: [[2, 3]], splits: [1, 1] }),
    call('x', { kind: 'alltoall', parts: [[4, 5]], splits: [2, 2] }),
    /^Mismatched ALLTOALL tensor shapes .*\[any,3\].*\[any,5\].*of allgather and alltoall axis 0 may differ/,
  ],
  [
    'axes 0 of a reducescatter',
    call('x', { kind: 'reducescatter', parts: [[2, 3]] }),
    call('x', { kind: 'reducescatter', parts: [[4, 3]] }),
    /^Mismatched REDUCESCATTER tensor shapes .*\[2,3\].*\[4,3\]/,
  ],
  [
    'ops of a reducescatter',
    call('x', { kind: 'reducescatter' }),
    call('x', { kind: 'reducescatter', op: 'average' }),
    /^Mismatched reduction operation for 'x': sum on rank 0 .*average on rank 1/,
  ],
  [
    'factors of a reducescatter',
    call('x', { kind: 'reducescatter' }),
    call('x', { kind: 'reducescatter', prescale: 0.5 }),
    /^Mismatched prescale and\/or postscale factors /,
  ],
  ['sum and Adasum', call('x'), call('x', { op: 'adasum' }), /^Mismatched reduction operation .*sum on rank 0.*adasum on rank 1/],
  [
    'alltoall and allgather',
    call('x', { kind: 'alltoall', splits: [1, 1] }),
    call('x', { kind: 'allgather' }),
    /^Mismatched operations .*alltoall on rank 0.*allgather on rank 1/,
  ],
  [
    'roots',
    call('x', { kind: 'broadcast', root: 0 }),
    call('x', { kind: 'broadcast', root: 1 }),
    /^Mismatched BROADCAST root ranks for 'x': root 0 on rank 0.*root 1 on rank 1/,
  ],
];

for (const [what, one, other, message] of mismatches) {
  t.test(`two ranks with different ${what} both get the mismatch, and the name can be used again`, async (t) => {
    const negotiator = negotiatorOf(2);
    submit(negotiator, 0, one);
    submit(negotiator, 1, other);
    const [response] = negotiator.take().responses;
    t.match(response, { names: ['x'], error: { code: 'ERR_HVD_MISMATCH', tensor: 'x', message }, cached: [], cacheAs: [0] });
    submit(negotiator, 0, one);
    submit(negotiator, 1, one);
    t.match(negotiator.take().responses, [{ names: ['x'], error: undefined }]);
  });
}

t.test('a mismatch among many ranks names who holds which value, compactly', async (t) => {
  const negotiator = negotiatorOf(12);
  for (let rank = 0; rank < 12; rank += 1) submit(negotiator, rank, call('x', { dtype: rank === 3 ? 'int32' : 'float32' }));
  t.match(
    negotiator.take().responses[0]!.error!.message,
    /: float32 on rank 0, 1, 2, 4, 5, 6, 7, 8 and 3 more \(host a, b, c, d, e and f\), but int32 on rank 3 \(host b\)\. /,
  );
  for (let rank = 0; rank < 12; rank += 1) submit(negotiator, rank, call('x', { parts: [[rank]] }));
  t.match(
    negotiator.take().responses[0]!.error!.message,
    /\[0\] on rank 0 \(host a\), but \[1\] on .*\[3\] on rank 3 \(host b\), but something else on rank 4, 5, 6, 7, 8, 9, 10 and 11\. /,
  );
});

t.test('what was remembered survives a mismatch', async (t) => {
  const negotiator = negotiatorOf(2);
  for (const rank of [0, 1]) submit(negotiator, rank, call('x'));
  const [id] = negotiator.take().responses[0]!.cacheAs;
  submit(negotiator, 0, id!);
  submit(negotiator, 1, call('x', { dtype: 'int32' }));
  t.match(negotiator.take(), { responses: [{ error: { code: 'ERR_HVD_MISMATCH' } }], evicted: [] });
  for (const rank of [0, 1]) submit(negotiator, rank, id!);
  t.match(negotiator.take().responses, [{ error: undefined, cached: [id] }]);
});

t.test('after a mismatch what was remembered may go for room as before', async (t) => {
  const negotiator = negotiatorOf(2, { cacheCapacity: 1 });
  for (const rank of [0, 1]) submit(negotiator, rank, call('x'));
  const [id] = negotiator.take().responses[0]!.cacheAs;
  submit(negotiator, 0, id!);
  submit(negotiator, 1, call('x', { dtype: 'int32' }));
  for (const rank of [0, 1]) submit(negotiator, rank, call('y'));
  t.same(negotiator.take().evicted, [id]);
});

// ───── the response cache ─────

t.test('a call that all name by its id is answered by that id; one that some changed gets a new one', async (t) => {
  const negotiator = negotiatorOf(2);
  for (const rank of [0, 1]) submit(negotiator, rank, call('x'));
  const [id] = negotiator.take().responses[0]!.cacheAs;
  for (const rank of [1, 0]) t.same(submit(negotiator, rank, id!), []);
  t.match(negotiator.take(), { responses: [{ names: ['x'], cached: [id], cacheAs: [0] }], evicted: [] });
  for (const rank of [1, 0]) submit(negotiator, rank, call('x', { parts: [[9]] }));
  const { responses, evicted } = negotiator.take();
  t.same([responses[0]!.cached, evicted], [[], [id]]);
  t.not(responses[0]!.cacheAs[0], id);
});

t.test('an id that was forgotten on its way is asked for in full, of that rank only, and the call is decided with it', async (t) => {
  const negotiator = negotiatorOf(2, { cacheCapacity: 1 });
  for (const name of ['x', 'y']) for (const rank of [0, 1]) submit(negotiator, rank, call(name));
  const { responses, evicted } = negotiator.take();
  const [old] = responses[0]!.cacheAs;
  t.same(evicted, [old]);
  t.same(submit(negotiator, 0, old!), [old]);
  t.same(submit(negotiator, 1, call('x')), [], 'the other had heard of it, and sent it in full');
  t.same(negotiator.take().responses, []);
  t.same(resubmit(negotiator, 0, call('x')), []);
  t.match(negotiator.take().responses, [{ names: ['x'], error: undefined }]);
});

t.test('what a rank says behind an id that was forgotten waits until that call has come in full', async (t) => {
  const negotiator = negotiatorOf(2, { cacheCapacity: 1 });
  for (const name of ['x', 'y', 'z']) for (const rank of [0, 1]) submit(negotiator, rank, call(name));
  const [x, y] = negotiator.take().responses.map(({ cacheAs }) => cacheAs[0]!);
  submit(negotiator, 0, call('x'), call('y'), call('w'));
  t.same(submit(negotiator, 1, x!, call('w')), [x]);
  t.same(submit(negotiator, 1, y!), [], 'nothing more is asked for before that');
  t.same(submit(negotiator, 1, joining()), []);
  t.same(negotiator.take().responses, [], 'nor has it joined yet');
  t.same(resubmit(negotiator, 1, call('x')), [y], 'what follows is taken up to the next');
  t.match(negotiator.take().responses, [
    { names: ['x'], zeros: undefined },
    { names: ['w'], zeros: undefined },
  ]);
  t.same(resubmit(negotiator, 1, call('y')), []);
  submit(negotiator, 0, call('v'));
  t.match(negotiator.take().responses, [
    { names: ['y'], zeros: undefined },
    { names: ['v'], zeros: { name: 'v' } },
  ]);
});

t.test('what a rank has said behind such an id fails like the rest when it has left', async (t) => {
  const negotiator = negotiatorOf(3, { cacheCapacity: 1 });
  for (const name of ['x', 'y']) for (const rank of [0, 1, 2]) submit(negotiator, rank, call(name));
  const [x] = negotiator.take().responses[0]!.cacheAs;
  submit(negotiator, 0, call('x'));
  submit(negotiator, 1, x!, joining());
  negotiator.depart(1, 'shutdown()');
  t.match(negotiator.take().responses, [{ names: ['x'], error: { code: 'ERR_HVD_SHUTDOWN' } }]);
  resubmit(negotiator, 1);
  t.match(negotiator.take().responses, [{ names: ['join'], error: { code: 'ERR_HVD_SHUTDOWN' } }]);
});

t.test('an id that some ranks have named is not forgotten for room', async (t) => {
  const negotiator = negotiatorOf(2, { cacheCapacity: 1 });
  for (const rank of [0, 1]) submit(negotiator, rank, call('x'));
  const [id] = negotiator.take().responses[0]!.cacheAs;
  submit(negotiator, 0, id!);
  for (const rank of [0, 1]) submit(negotiator, rank, call('y'));
  t.match(negotiator.take(), { responses: [{ names: ['y'], cacheAs: [0] }], evicted: [] });
  t.same(submit(negotiator, 1, id!), []);
  t.match(negotiator.take().responses, [{ cached: [id] }]);
});

t.test('a fused response uses ids if all its calls were named by theirs, and names if some were not', async (t) => {
  const negotiator = negotiatorOf(2, { fusionThresholdBytes: 1000 });
  for (const rank of [0, 1]) submit(negotiator, rank, call('x'), call('y'));
  const [first] = negotiator.take().responses;
  t.same(namesOf([first!]), ['x+y']);
  const [x, y] = first!.cacheAs;
  for (const rank of [0, 1]) submit(negotiator, rank, x!, y!);
  t.match(negotiator.take().responses, [{ names: ['x', 'y'], cached: [x, y], cacheAs: [0, 0] }]);
  for (const rank of [0, 1]) submit(negotiator, rank, y!, call('z'));
  t.match(negotiator.take().responses, [{ names: ['y', 'z'], cached: [], cacheAs: [0, y! + 1] }]);
});

t.test('barriers, whose names do not come again, take no room', async (t) => {
  const negotiator = negotiatorOf(1);
  submit(negotiator, 0, call('barrier.noname.1', { kind: 'barrier', parts: [] }));
  t.match(negotiator.take().responses, [{ kind: 'barrier', cacheAs: [0] }]);
});

// ───── leaving, and what cannot be ─────

t.test('after a rank has left, what was complete is carried out, the rest and all that comes later fails and names it', async (t) => {
  const negotiator = negotiatorOf(3);
  for (const rank of [0, 1, 2]) submit(negotiator, rank, call('done'));
  submit(negotiator, 0, call('half'));
  submit(negotiator, 2, call('half'));
  negotiator.depart(2, 'shutdown()');
  negotiator.depart(1, 'shutdown()');
  submit(negotiator, 1, call('late'));
  const error = { code: 'ERR_HVD_SHUTDOWN', peer: 2, host: 'b', message: /^Rank 2 on host b has left the job \(shutdown\(\)\)/ };
  t.match(negotiator.take().responses, [
    { names: ['done'], error: undefined },
    { names: ['half'], error },
    { names: ['late'], error },
  ]);
  t.same(negotiator.waiting(), []);
});

t.test('a rank that submits what it has submitted before, or is no member, breaks the protocol', async (t) => {
  const negotiator = negotiatorOf(2);
  submit(negotiator, 0, call('x'));
  t.throws(() => submit(negotiator, 0, call('x')), { code: 'ERR_HVD_WIRE', message: /Rank 0 submitted 'x' again/ });
  t.throws(() => submit(negotiator, 2, call('x')), { code: 'ERR_HVD_WIRE', message: /Rank 2/ });
});

// ───── whole jobs ─────

interface Occurrence {
  /** The call of each rank. */
  readonly calls: readonly Call[];
  readonly agrees: boolean;
}
interface Job {
  readonly size: number;
  readonly capacity: number;
  readonly thresholdBytes: number;
  /** By name, one after the other. */
  readonly program: ReadonlyMap<string, readonly Occurrence[]>;
  readonly leaver?: number;
}

function makeJob(random: () => number): Job {
  const upTo = (n: number): number => Math.floor(random() * n);
  const size = 1 + upTo(4);
  const program = new Map<string, Occurrence[]>();
  for (let n = 1 + upTo(5); n > 0; n -= 1) {
    const name = `n${n}`;
    const base = call(
      name,
      [{}, {}, { grouped: true }, { kind: 'allgather' as const }, { kind: 'broadcast' as const, root: 0 }, { kind: 'alltoall' as const }][
        upTo(6)
      ],
    );
    let shape = 0;
    const occurrences = Array.from({ length: 1 + upTo(8) }, () => {
      if (upTo(4) === 0) shape = upTo(3);
      const dissenter = size > 1 && upTo(8) === 0 ? upTo(size) : -1;
      const isRagged = base.kind === 'allgather' && upTo(2) === 0;
      const splitsOf = () => (base.kind === 'alltoall' ? Array.from({ length: size }, () => upTo(2)) : []);
      const calls = Array.from({ length: size }, (_, rank) => {
        const splits = splitsOf();
        const rows = base.kind === 'alltoall' ? splits.reduce((sum, split) => sum + split, 0) : isRagged ? upTo(3) : 2;
        const parts = Array.from({ length: base.grouped ? 2 : 1 }, () => [rows, shape]);
        return { ...base, parts, splits, dtype: rank === dissenter ? ('int32' as const) : base.dtype };
      });
      return { calls, agrees: dissenter < 0 };
    });
    program.set(name, occurrences);
  }
  return {
    size,
    capacity: [0, 1, 2, 3, 100][upTo(5)]!,
    thresholdBytes: [0, 40, 1000][upTo(3)]!,
    program,
    leaver: upTo(4) === 0 ? upTo(size) : undefined,
  };
}

type ToCoordinator = { requests: khorovod.IRequests } | { goodbye: true };
type ToRank = { responses: Decision[]; evicted: number[] } | { resend: number[] };

/** Far quicker than an assertion of tap's. */
function same(found: string, expected: string): void {
  if (found !== expected) throw new Error(`${found} instead of ${expected}`);
}

/** A rank as the conductor is one: it submits in any order, flushes at any time, carries out late. */
class Rank {
  readonly carriedOut: string[] = [];
  readonly errors: string[] = [];
  readonly inbox: ToRank[] = [];
  readonly outbox: ToCoordinator[] = [];
  hasLeft = false;
  hits = 0;
  private readonly next = new Map<string, number>();
  private readonly pending = new Map<string, Call>();
  private readonly cache = new RequestCache();
  private readonly decisions: Array<{ names: string[]; decision: Decision }> = [];
  private outgoing: Call[] = [];

  constructor(
    readonly rank: number,
    private readonly job: Job,
  ) {}

  get submittable(): string[] {
    if (this.hasLeft) return [];
    return [...this.job.program.keys()].filter((name) => !this.pending.has(name) && this.at(name) < this.job.program.get(name)!.length);
  }
  get isIdle(): boolean {
    return this.outgoing.length === 0 && this.decisions.length === 0;
  }
  get unanswered(): string[] {
    return [...this.pending.keys()];
  }
  private at(name: string): number {
    return this.next.get(name) ?? 0;
  }

  submit(name: string): void {
    const one = this.job.program.get(name)![this.at(name)]!.calls[this.rank]!;
    this.pending.set(name, one);
    this.outgoing.push(one);
  }

  flush(): void {
    const full: khorovod.IRequest[] = [];
    const cached: number[] = [];
    for (const one of this.outgoing) {
      const id = this.cache.lookup(one);
      if (id === undefined) full.push(callToRequest(one));
      else cached.push(id);
    }
    this.hits += cached.length;
    this.outgoing = [];
    this.outbox.push({ requests: khorovod.Requests.decode(khorovod.Requests.encode({ full, cached }).finish()) });
  }

  leave(): void {
    this.hasLeft = true;
    this.flush();
    this.outbox.push({ goodbye: true });
  }

  hear(message: ToRank): void {
    if ('resend' in message) {
      this.outbox.push({ requests: { full: this.cache.refused(message.resend).map(callToRequest), cached: [], resent: true } });
      return;
    }
    for (const decision of message.responses) {
      const names = decision.cached.length > 0 ? decision.cached.map((id) => this.cache.callOf(id)!.name) : [...decision.names];
      same(names.join(), decision.names.join());
      for (const [i, id] of decision.cacheAs.entries()) if (id > 0) this.cache.remember(id, this.pending.get(names[i]!)!);
      this.decisions.push({ names, decision });
    }
    this.cache.evict(message.evicted);
  }

  carryOut(): void {
    const { names, decision } = this.decisions.shift()!;
    for (const [i, name] of names.entries()) {
      const own = this.pending.get(name);
      if (!own) {
        if (decision.error?.code !== 'ERR_HVD_SHUTDOWN') throw new Error(`rank ${this.rank} never submitted ${name}`);
        continue;
      }
      const occurrence = this.job.program.get(name)![this.at(name)]!;
      if (!decision.error && !occurrence.agrees) throw new Error(`${name}: a mismatch went unseen`);
      if (decision.error?.code === 'ERR_HVD_MISMATCH' && occurrence.agrees) throw new Error(`${name}: ${decision.error.message}`);
      if (own.kind === 'allgather' && !decision.error) {
        const expected = own.parts.map((_, part) => occurrence.calls.map(({ parts }) => parts[part]![0]!));
        same(JSON.stringify(decision.sizes), JSON.stringify(expected));
      }
      if (own.kind === 'alltoall' && !decision.error)
        same(JSON.stringify(decision.sizes), JSON.stringify(occurrence.calls.map(({ splits }) => splits)));
      if (names.length > 1 && (own.grouped || own.kind !== 'allreduce')) throw new Error(`${name} was fused`);
      if (decision.error) this.errors.push(`${name}#${this.at(name)} ${decision.error.code}`);
      this.pending.delete(name);
      this.cache.answered(own);
      if (i === 0 && decision.error?.code !== 'ERR_HVD_SHUTDOWN')
        this.carriedOut.push(`${names.map((each) => `${each}#${this.at(each)}`).join('+')} ${decision.error?.code ?? 'ok'}`);
      this.next.set(name, this.at(name) + 1);
    }
  }

  get canCarryOut(): boolean {
    return this.decisions.length > 0;
  }
  get canFlush(): boolean {
    return this.outgoing.length > 0;
  }
}

/** Runs the job to its end, whoever goes next drawn by chance. @returns how often ids were sent, and asked for in full */
function runJob(job: Job, random: () => number): { hits: number; resends: number } {
  const { size, capacity, thresholdBytes, leaver } = job;
  const negotiator = negotiatorOf(size, { cacheCapacity: capacity, fusionThresholdBytes: thresholdBytes });
  const ranks = Array.from({ length: size }, (_, rank) => new Rank(rank, job));
  const ids = new Set<number>();
  let resends = 0;
  let nowMs = 0;

  const deliver = (from: Rank): void => {
    const message = from.outbox.shift()!;
    if ('goodbye' in message) negotiator.depart(from.rank, 'shutdown()');
    else {
      const { full, cached, resent } = message.requests;
      const { resend } = negotiator.add(from.rank, { full: full!.map(callFromRequest), cached: cached!, isResent: resent! }, (nowMs += 1));
      resends += resend.length;
      if (resend.length > 0) from.inbox.push({ resend });
    }
    const { responses, evicted } = negotiator.take();
    for (const id of responses.flatMap(({ cacheAs }) => cacheAs)) {
      if (id > 0 && ids.has(id)) throw new Error(`id ${id} was given twice`);
      ids.add(id);
    }
    if (responses.length > 0 || evicted.length > 0) for (const rank of ranks) rank.inbox.push({ responses, evicted });
  };

  for (;;) {
    const possible = ranks.flatMap((rank) => [
      ...rank.submittable.map((name) => () => rank.submit(name)),
      ...(rank.canFlush ? [() => rank.flush()] : []),
      ...(rank.outbox.length > 0 ? [() => deliver(rank)] : []),
      ...(rank.inbox.length > 0 ? [() => rank.hear(rank.inbox.shift()!)] : []),
      ...(rank.canCarryOut ? [() => rank.carryOut()] : []),
      ...(rank.rank === leaver && !rank.hasLeft && random() < 0.05 ? [() => rank.leave()] : []),
    ]);
    if (possible.length === 0) break;
    possible[Math.floor(random() * possible.length)]!();
  }

  const longest = ranks.map(({ carriedOut }) => carriedOut).sort((a, b) => b.length - a.length)[0]!;
  for (const rank of ranks) {
    if (rank.unanswered.length > 0) throw new Error(`rank ${rank.rank} still waits for ${rank.unanswered}`);
    same(rank.carriedOut.join(), longest.join());
  }
  if (negotiator.waiting().length > 0) throw new Error('the coordinator still waits');
  const total = [...job.program.values()].reduce((sum, occurrences) => sum + occurrences.length, 0);
  if (!ranks.some(({ hasLeft }) => hasLeft)) {
    const answered = longest.flatMap((one) => one.split(' ')[0]!.split('+'));
    same(String(new Set(answered).size), String(total));
    same(String(answered.length), String(total));
  }
  return { hits: ranks.reduce((sum, rank) => sum + rank.hits, 0), resends };
}

t.test('in any job every rank carries out the same, every call is answered once and nobody waits for ever', async (t) => {
  let [hits, resends] = [0, 0];
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 }), (seed) => {
      const random = randomFrom(seed);
      const met = runJob(makeJob(random), random);
      hits += met.hits;
      resends += met.resends;
    }),
    { numRuns: 600 },
  );
  t.ok(hits > 100, 'calls were named by ids');
  t.ok(resends > 10, 'some of which were forgotten on their way');
});

// ───── process sets, joins, barriers with a time ─────

const barrier = (name: string, fields: Partial<Call> = {}): Call => call(name, { kind: 'barrier', parts: [], ...fields });
/** Has all ranks register that set. @returns its id */
function added(negotiator: Negotiator, size: number, ranks: number[]): number {
  for (let rank = 0; rank < size; rank += 1) submit(negotiator, rank, call(`add ${ranks}`, { kind: 'add-set', parts: [ranks] }));
  return negotiator.take().responses[0]!.sizes[0]![0]!;
}

t.test('a set decides by itself, and only its members are told', async (t) => {
  const negotiator = negotiatorOf(4);
  const pair = added(negotiator, 4, [1, 3]);
  const other = added(negotiator, 4, [0, 3]);
  t.same([pair, other], [1, 2]);
  submit(negotiator, 3, call('a', { processSet: pair }), call('a', { processSet: other }), call('a'));
  submit(negotiator, 0, call('a', { processSet: other }));
  submit(negotiator, 1, call('a', { processSet: pair, dtype: 'int32' }));
  const { responses } = negotiator.take();
  t.match(responses, [
    { names: ['a'], processSet: other, members: [0, 3], error: undefined },
    { names: ['a'], processSet: pair, members: [1, 3], error: { message: /'a' of process set 1 \(rank 1 and 3\)/ } },
  ]);
  t.throws(() => submit(negotiator, 2, call('b', { processSet: pair })), /of which it is no member/);
  t.throws(() => submit(negotiator, 1, call('b', { processSet: 9 })), /of which it is no member/);
});

t.test('what is pending on a set that is removed fails, and so does a set that a member has left', async (t) => {
  const negotiator = negotiatorOf(3);
  const pair = added(negotiator, 3, [0, 1]);
  const last = added(negotiator, 3, [1, 2]);
  submit(negotiator, 0, call('a', { processSet: pair }));
  submit(negotiator, 2, call('a', { processSet: last }));
  for (const rank of [0, 1, 2]) submit(negotiator, rank, call('remove', { kind: 'remove-set', parts: [[pair]] }));
  t.match(negotiator.take().responses, [
    { names: ['a'], error: { code: 'ERR_HVD_PROCESS_SET' } },
    { names: ['remove'], error: undefined },
  ]);
  negotiator.depart(0, 'it is over');
  t.same(negotiator.take().responses, [], 'nothing of the set without rank 0');
  submit(negotiator, 1, call('a', { processSet: last }), call('b'));
  t.match(negotiator.take().responses, [
    { names: ['a'], error: undefined },
    { names: ['b'], error: { code: 'ERR_HVD_SHUTDOWN' } },
  ]);
});

t.test('who has joined is not waited for', async (t) => {
  const negotiator = negotiatorOf(3, { fusionThresholdBytes: 1 << 20 });
  for (const rank of [0, 1, 2]) submit(negotiator, rank, call('a'));
  const [id] = negotiator.take().responses[0]!.cacheAs;
  submit(negotiator, 0, call('a'), call('b'), call('g', { kind: 'allgather' }), barrier('c'));
  submit(negotiator, 1, joining());
  submit(negotiator, 0, joining());
  t.same(negotiator.take().responses, [], 'rank 2 is still there');
  t.same(
    negotiator
      .waiting()
      .map(({ call, missing }) => [call.name, missing()])
      .slice(0, 2),
    [
      ['a', [2]],
      ['b', [2]],
    ],
  );
  submit(negotiator, 2, id!, call('b'), call('g', { kind: 'allgather' }), barrier('c'));
  t.match(negotiator.take().responses, [
    { names: ['a'], zeros: { name: 'a' }, cached: [] },
    { names: ['b'], zeros: { name: 'b' }, cacheAs: [0] },
    { names: ['g'], error: { code: 'ERR_HVD_MISMATCH', message: /rank 0 and 1 .*has joined/ } },
    { names: ['c'], error: undefined },
  ]);
  submit(negotiator, 2, call('d'), joining());
  t.match(negotiator.take().responses, [
    { names: ['d'], zeros: { name: 'd' } },
    { kind: 'join', sizes: [[2]] },
  ]);
  for (const rank of [0, 1, 2]) submit(negotiator, rank, call('g', { kind: 'allgather' }));
  t.match(negotiator.take().responses, [{ names: ['g'], error: undefined }], 'all is as before');
});

t.test('a barrier fails at the earliest time of those who wait, once for all, and for whoever comes later', async (t) => {
  const negotiator = negotiatorOf(3);
  submit(negotiator, 0, barrier('a', { timeoutMs: 500 }));
  submit(negotiator, 1, barrier('a', { timeoutMs: 100 }), barrier('b'));
  t.equal(negotiator.nextDeadlineMs(), 1101);
  negotiator.expire(1100);
  t.same(negotiator.take().responses, []);
  negotiator.expire(1101);
  t.match(negotiator.take().responses, [
    { names: ['a'], error: { code: 'ERR_HVD_STALL', message: /rank 2 .*had not come to the barrier .*rank 0 and 1/ } },
  ]);
  t.equal(negotiator.nextDeadlineMs(), undefined);
  submit(negotiator, 2, barrier('a'));
  t.match(negotiator.take().responses, [{ names: ['a'], error: { code: 'ERR_HVD_STALL' } }]);
  t.same(
    negotiator.waiting().map(({ call }) => call.name),
    ['b'],
  );
});
