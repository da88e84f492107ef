/** The collectives on real processes: every rank runs this file and checks its own results against the definition. */
import t from 'tap';
import * as hvd from '../../src/index';
import { arrayTypes, filled, numbers } from '../helpers/typed_arrays';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const total = (of: (r: number) => number): number => everyone.reduce((sum, r) => sum + of(r), 0);

const value = (r: number, i: number): number => ((i * 3 + r * 5) % 11) + 1;

const definitions: Record<string, (i: number) => number> = {
  sum: (i) => total((r) => value(r, i)),
  average: (i) => Math.trunc(total((r) => value(r, i)) / size),
  min: (i) => Math.min(...everyone.map((r) => value(r, i))),
  max: (i) => Math.max(...everyone.map((r) => value(r, i))),
  product: (i) => everyone.reduce((product, r) => product * value(r, i), 1),
};

t.test('allreduce of every dtype and op gives what its definition says', async (t) => {
  for (const type of arrayTypes) {
    for (const [op, definition] of Object.entries(definitions)) {
      if (op === 'product' && /8Array/.test(type.name)) continue; // 12³ does not fit
      for (const elems of [0, 1, size, 17, 1000]) {
        const mine = filled(type, elems, (i) => value(rank, i));
        // Blocking at once, a small operand travels with its request; otherwise it takes a plan.
        const results = {
          blocking: hvd.allreduce(mine, { op: op as hvd.ReduceOp }),
          asynchronous: hvd.synchronize(hvd.allreduceAsync(mine, { op: op as hvd.ReduceOp })),
        };
        const expected = Array.from({ length: elems }, (_, i) => definition(i));
        for (const [how, result] of Object.entries(results)) {
          const what = `${how} ${op} of ${elems} ${type.name}`;
          if (op === 'average' && type.name.startsWith('Float')) {
            const exact = (i: number): number => total((r) => value(r, i)) / size;
            t.ok(
              numbers(result).every((x, i) => Math.abs(x - exact(i)) < 1e-5),
              what,
            );
          } else t.same(numbers(result), expected, what);
        }
      }
    }
  }
});

t.test('who is who is what the launcher said', async (t) => {
  const said = ['RANK', 'SIZE', 'LOCAL_RANK', 'LOCAL_SIZE', 'CROSS_RANK', 'CROSS_SIZE'].map((name) =>
    Number(process.env[`HOROVOD_${name}`]),
  );
  t.same([hvd.rank(), hvd.size(), hvd.localRank(), hvd.localSize(), hvd.crossRank(), hvd.crossSize()], said);
  t.equal(hvd.isHomogeneous(), true);
});

t.test('factors before and after: floats in their own type, integers in float64 and truncated', async (t) => {
  for (const type of arrayTypes) {
    for (const elems of [3, 20_000]) {
      const isFloat = type.name.startsWith('Float');
      const scaled = (x: number, factor: number): number => (isFloat ? x * factor : Math.trunc(x * factor));
      const mine = filled(type, elems, (i) => value(rank, i));
      const result = numbers(hvd.allreduce(mine, { op: 'sum', prescaleFactor: 0.75, postscaleFactor: 1.5 }));
      const expected = (i: number): number =>
        scaled(
          total((r) => scaled(value(r, i), 0.75)),
          1.5,
        );
      t.ok(
        result.every((x, i) => x === expected(i)),
        `${elems} ${type.name}`,
      );
    }
  }
});

t.test('a large allreduce through the ring is right in every element', async (t) => {
  const elems = 2_000_003;
  const mine = new Float32Array(elems);
  for (let i = 0; i < elems; i += 1) mine[i] = (i % 1021) * (rank + 1);
  const sum = hvd.allreduce(mine, { op: 'sum' });
  const factor = (size * (size + 1)) / 2;
  t.equal(
    sum.findIndex((x, i) => x !== (i % 1021) * factor),
    -1,
  );
  t.equal(mine[5], 5 * (rank + 1), 'the argument is left alone');
});

t.test('inPlace on an allocated array overwrites it and returns it', async (t) => {
  const array = hvd.allocate(Float32Array, 100_003);
  t.ok(
    array.every((x) => x === 0),
    'it starts with zeros',
  );
  array.fill(rank + 1);
  const result = hvd.allreduce(array, { op: 'sum', inPlace: true });
  t.equal(result, array);
  t.ok(array.every((x) => x === (size * (size + 1)) / 2));
  hvd.release(array);
  t.throws(() => hvd.release(array), { code: 'ERR_HVD_USAGE' });
  t.throws(() => hvd.allocate('float32' as unknown as Float32ArrayConstructor, 3), {
    code: 'ERR_HVD_USAGE',
    message: /class of a typed array.*"float32"/,
  });
});

t.test('many calls in flight, submitted and awaited in another order on every rank', async (t) => {
  const names = Array.from({ length: 40 }, (_, k) => k);
  const order = (shift: number): number[] => names.map((k) => (k * 7 + shift) % names.length);
  for (let round = 0; round < 3; round += 1) {
    const handles = new Map<number, hvd.Handle<Float32Array>>();
    for (const k of order(rank * 3))
      handles.set(k, hvd.allreduceAsync(new Float32Array(10 + k * 50).fill(k + rank), { op: 'sum', name: `order.${k}` }));
    for (const k of order(rank + 5)) {
      const result = k % 2 ? await handles.get(k)! : hvd.synchronize(handles.get(k)!);
      t.ok(result.length === 10 + k * 50 && result.every((x) => x === total((r) => k + r)), `round ${round}, name ${k}`);
    }
  }
});

t.test('a group is reduced as one, and its members come back in order', async (t) => {
  const group = [5, 0, 300].map((elems, k) => new Int32Array(elems).fill(k + rank));
  const results = hvd.groupedAllreduce(group, { op: 'sum' });
  t.same(
    results.map((one) => [one.length, one[0] ?? null]),
    [5, 0, 300].map((elems, k) => [elems, elems ? total((r) => k + r) : null]),
  );
  t.same(hvd.groupedAllreduce([]), []);
});

t.test('allgather joins ragged rows in rank order', async (t) => {
  t.same(
    Array.from(hvd.allgather(new Int32Array(rank + 1).fill(rank))),
    everyone.flatMap((r) => Array(r + 1).fill(r)),
  );
  t.same(
    Array.from(hvd.allgather(new Float64Array(rank === 0 ? 0 : 2).fill(rank))),
    everyone.flatMap((r) => Array(r === 0 ? 0 : 2).fill(r)),
    'a rank may give nothing',
  );
});

t.test('broadcast gives the value of every root', async (t) => {
  for (const root of everyone) {
    for (const elems of [0, 1, 101, 300_001]) {
      const result = hvd.broadcast(new Float32Array(elems).fill(rank), root);
      t.ok(result.length === elems && result.every((x) => x === root), `${elems} from ${root}`);
    }
  }
});

t.test(
  'a mismatch is told to every rank with both sides, and the job goes on',
  { skip: size === 1 ? 'needs two ranks' : false },
  async (t) => {
    const mine = rank === 0 ? new Float32Array(4) : new Float64Array(4);
    t.throws(() => hvd.allreduce(mine, { name: 'types' }), { code: 'ERR_HVD_MISMATCH', message: /float32[\s\S]*float64/ });
    t.throws(() => hvd.allreduce(new Float32Array(rank === 0 ? 4 : 5), { name: 'shapes' }), {
      code: 'ERR_HVD_MISMATCH',
      message: /\b4\b[\s\S]*\b5\b/,
    });
    t.throws(
      () => (rank === 0 ? hvd.broadcast(new Float32Array(3), 0, { name: 'kinds' }) : hvd.allreduce(new Float32Array(3), { name: 'kinds' })),
      {
        code: 'ERR_HVD_MISMATCH',
      },
    );
    t.same(Array.from(hvd.allreduce(Float32Array.of(1), { op: 'sum', name: 'types' })), [size]);
  },
);

t.test('wrong arguments are refused at the call', async (t) => {
  for (const act of [hvd.allreduce, hvd.allgather, hvd.reducescatter] as const)
    t.throws(() => act(new Float32Array(1), null as never), { code: 'ERR_HVD_USAGE', message: /takes its options as an object/ });
  const usage = { code: 'ERR_HVD_USAGE' };
  t.throws(() => hvd.allreduce([1, 2] as never), usage);
  t.throws(() => hvd.allreduce(Float32Array.of(1), { op: 'mean' as never }), usage);
  t.throws(() => hvd.allreduce(Float32Array.of(1), { prescaleFactor: Number.NaN }), usage);
  t.throws(() => hvd.broadcast(Float32Array.of(1), size), usage);
  t.throws(() => hvd.groupedAllreduce([Float32Array.of(1), Int32Array.of(1)] as never[]), usage);
  t.throws(() => hvd.report({ bad: Number.NaN }), usage);
  const first = rank === 0 ? hvd.allreduceAsync(Float32Array.of(1), { op: 'sum', name: 'twice' }) : undefined;
  if (first && size > 1)
    t.throws(() => hvd.allreduceAsync(Float32Array.of(1), { op: 'sum', name: 'twice' }), { code: 'ERR_HVD_DUPLICATE_NAME' });
  // The others submit that name only now: else the first call could be complete before the second is made.
  hvd.barrier();
  t.same(Array.from(first ? await first : hvd.allreduce(Float32Array.of(1), { op: 'sum', name: 'twice' })), [size]);
});

t.test('poll is false until every rank has submitted', async (t) => {
  if (rank !== 0) {
    const handle = hvd.allreduceAsync(Float32Array.of(1), { op: 'sum', name: 'late' });
    t.equal(hvd.poll(handle), false);
    hvd.barrier();
    t.same(Array.from(await handle), [size]);
  } else {
    hvd.barrier();
    t.same(Array.from(hvd.allreduce(Float32Array.of(1), { op: 'sum', name: 'late' })), [size]);
  }
});

t.test('objects come back as what they were', async (t) => {
  const object = (r: number) => ({
    r,
    text: 'ü漢🚀',
    map: new Map<unknown, unknown>([
      ['a', r],
      [7, new Set([r, 'x'])],
    ]),
    big: -(2n ** 70n) - BigInt(r),
    date: new Date(1_700_000_000_000 + r),
    arrays: [Float32Array.of(r, 0.5), BigInt64Array.of(-5n), new Uint8Array(r)],
    buffer: Uint8Array.of(1, 2, r).buffer,
    list: [undefined, null, [r]],
  });
  const expected = (r: number) => ({ ...object(r), list: [null, null, [r]] });
  t.same(hvd.allgatherObject(object(rank)), everyone.map(expected));
  t.same(hvd.broadcastObject(rank === size - 1 ? object(rank) : undefined, size - 1), expected(size - 1));
  class Own {}
  t.throws(() => hvd.allgatherObject({ deep: [new Own()] }), { code: 'ERR_HVD_USAGE', message: /Own/ });
  if (size > 1) {
    t.throws(() => hvd.broadcastObject(rank === 0 ? () => 1 : undefined, 0), { code: rank === 0 ? 'ERR_HVD_USAGE' : 'ERR_HVD_MISMATCH' });
  }
});

t.test('shutdown and init make a new job', async (t) => {
  hvd.shutdown();
  t.equal(hvd.isInitialized(), false);
  t.throws(() => hvd.rank(), { code: 'ERR_HVD_NOT_INITIALIZED' });
  hvd.init();
  t.same(Array.from(hvd.allreduce(Float32Array.of(2), { op: 'sum', name: 'again' })), [2 * size]);
});

t.test('results are the same bits on every rank', async (t) => {
  const mine = Float32Array.from({ length: 50_003 }, (_, i) => Math.sin(i * (rank + 1)) * 10 ** ((i % 7) - 3));
  const average = hvd.allreduce(mine);
  const all = hvd.allgather(new Uint8Array(average.buffer));
  const bytes = all.length / size;
  t.ok(everyone.every((r) => Buffer.compare(all.subarray(0, bytes), all.subarray(r * bytes, (r + 1) * bytes)) === 0));
});
