/** alltoall, reducescatter, grouped gathers and Adasum on real processes: every rank runs this file and checks its own results against the definition. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { adasumOf } from '../helpers/adasum';
import { type ArrayType, arrayTypes, filled, numbers } from '../helpers/typed_arrays';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);
const usage = { code: 'ERR_HVD_USAGE' };
const alone = { skip: size === 1 ? 'needs two ranks' : false };

// ───── alltoall ─────

/** What row `i` of those from one rank for another holds. */
const mark = (from: number, to: number, i: number): number => (from * 31 + to * 7 + i) % 120;
const rowsFrom = (splits: (from: number) => number[]) => ({
  sent: everyone.flatMap((to) => Array.from({ length: splits(rank)[to]! }, (_, i) => mark(rank, to, i))),
  received: everyone.flatMap((from) => Array.from({ length: splits(from)[rank]! }, (_, i) => mark(from, rank, i))),
  counts: everyone.map((from) => splits(from)[rank]!),
});

t.test('alltoall of every dtype, with every way to split', async (t) => {
  const ways: Record<string, (from: number) => number[]> = {
    'as many as its number, and one, for each': (from) => everyone.map(() => from + 1),
    'by receiver': () => everyone.map((to) => to),
    'nothing from the last': (from) => everyone.map(() => (from === size - 1 ? 0 : 3)),
    'nothing for rank 0': () => everyone.map((to) => (to === 0 ? 0 : 2)),
    nothing: () => everyone.map(() => 0),
    much: (from) => everyone.map((to) => 70_001 + from * 1000 + to),
  };
  for (const [what, splits] of Object.entries(ways)) {
    const { sent, received, counts } = rowsFrom(splits);
    for (const type of what === 'much' ? [Float32Array, Uint8Array] : arrayTypes) {
      const mine = filled(type, sent.length, (i) => sent[i]!);
      const { output, receivedSplits } = hvd.alltoall(mine, splits(rank));
      t.equal(output.constructor, type);
      t.ok(numbers(output).every((x, i) => x === received[i]) && output.length === received.length, `${what}, ${type.name}`);
      t.same([receivedSplits.constructor.name, ...receivedSplits], ['Int32Array', ...counts]);
      t.ok(
        numbers(mine).every((x, i) => x === sent[i]),
        'the argument is left alone',
      );
    }
  }
});

t.test('alltoall without splits gives every rank the same number of rows; both results come back', async (t) => {
  const mine = Int32Array.from({ length: 2 * size }, (_, i) => rank * 100 + i);
  const expected = everyone.flatMap((from) => [from * 100 + 2 * rank, from * 100 + 2 * rank + 1]);
  for (const splits of [undefined, null]) {
    const { output, receivedSplits } = hvd.alltoall(mine, splits);
    t.same([...output], expected);
    t.same([...receivedSplits], new Array(size).fill(2));
  }
  t.same([...hvd.alltoall(mine, new Int32Array(size).fill(2)).output], expected, 'an Int32Array of splits');
  t.same(hvd.alltoall(new Float32Array(0)).output.length, 0);
});

t.test('alltoall of tensors keeps dtype and the other axes', async (t) => {
  const rows = sum(everyone.map((to) => to + 1));
  const values = everyone.flatMap((to) => Array.from({ length: (to + 1) * 2 }, (_, i) => mark(rank, to, i) % 2));
  for (const dtype of ['float32', 'int32', 'bool'] as const) {
    const { output, receivedSplits } = hvd.alltoall(
      tf.tensor(values, [rows, 1, 2], dtype),
      everyone.map((to) => to + 1),
    );
    t.same([output.dtype, ...output.shape], [dtype, size * (rank + 1), 1, 2]);
    t.same(
      Array.from(output.dataSync(), Number),
      everyone.flatMap((from) => Array.from({ length: (rank + 1) * 2 }, (_, i) => mark(from, rank, i) % 2)),
    );
    t.same([...receivedSplits], new Array(size).fill(rank + 1));
  }
  t.same(hvd.alltoall(tf.zeros([size, 0])).output.shape, [size, 0]);
});

t.test('alltoalls in flight, submitted in another order on every rank; other splits under the same name', async (t) => {
  for (let round = 0; round < 4; round += 1) {
    const order = [0, 1, 2, 3, 4].map((k) => (k * 2 + rank) % 5);
    const splits = (k: number) => (from: number) => everyone.map((to) => (from + to * k + (round >> 1)) % 3);
    const handles = new Map(
      order.map((k) => {
        const { sent } = rowsFrom(splits(k));
        return [k, hvd.alltoallAsync(Float32Array.from(sent), splits(k)(rank), { name: `flight.${k}` })];
      }),
    );
    for (const [k, handle] of handles) {
      const { received, counts } = rowsFrom(splits(k));
      const { output, receivedSplits } = k % 2 ? await handle : hvd.synchronize(handle);
      t.same([[...output], [...receivedSplits]], [received, counts], `round ${round}, name ${k}`);
    }
  }
});

t.test('splits that name fewer rows than there are: the rest stays', async (t) => {
  // To rank r go r rows, and r + 1 stay behind them.
  const sent = everyone.flatMap((r) => Array<number>(r).fill(100 * rank + r));
  const value = Float32Array.from([...sent, ...Array<number>(rank + 1).fill(-1)]);
  const { output, receivedSplits } = hvd.alltoall(value, everyone);
  t.same(
    [...output],
    everyone.flatMap((r) => Array<number>(rank).fill(100 * r + rank)),
  );
  t.same(
    [...receivedSplits],
    everyone.map(() => rank),
  );
});

t.test('wrong splits are refused at the call', async (t) => {
  const value = new Float32Array(2 * size);
  const two = new Array<number>(size).fill(2);
  t.throws(() => hvd.alltoall(value, [...two, 0]), { ...usage, message: /has one entry for each of the/ });
  t.throws(() => hvd.alltoall(value, [3, ...two.slice(1)]), { ...usage, message: /add up to/ });
  t.throws(() => hvd.alltoall(value, [2.5, ...two.slice(1)]), { ...usage, message: /one is 2\.5/ });
  t.throws(() => hvd.alltoall(value, [-2, ...two.slice(1)]), { ...usage, message: /one is -2/ });
  t.throws(() => hvd.alltoall(value, [undefined as never, ...two.slice(1)]), usage);
  t.throws(() => hvd.alltoall(value, Float32Array.from(two) as never), { ...usage, message: /Int32Array/ });
  t.throws(() => hvd.alltoall(value, 2 as never), usage);
  t.throws(() => hvd.alltoall(tf.scalar(1)), { ...usage, message: /scalar/ });
  t.throws(() => hvd.alltoall(value, null, { op: 'sum' } as never), { ...usage, message: /no option 'op'/ });
  if (size > 1) t.throws(() => hvd.alltoall(new Float32Array(size + 1)), { ...usage, message: /cannot be split equally/ });
});

t.test('alltoall: what the ranks disagree about is told to all, and the job goes on', alone, async (t) => {
  const mismatch = { code: 'ERR_HVD_MISMATCH' };
  t.throws(() => hvd.alltoall(rank ? new Int32Array(size) : new Float32Array(size), null, { name: 'a2a' }), {
    ...mismatch,
    message: /float32[\s\S]*int32/,
  });
  t.throws(() => hvd.alltoall(tf.zeros([size, rank ? 2 : 3]), null, { name: 'a2a' }), {
    ...mismatch,
    message: /\[any,3\][\s\S]*\[any,2\]/,
  });
  t.same([...hvd.alltoall(new Float32Array(size).fill(rank), null, { name: 'a2a' }).output], everyone);
});

// ───── reducescatter ─────

const partOf = (rows: number): { first: number; rows: number } => {
  const rowsOf = (r: number): number => Math.floor(rows / size) + (r < rows % size ? 1 : 0);
  return { first: sum(everyone.slice(0, rank).map(rowsOf)), rows: rowsOf(rank) };
};
const value = (r: number, i: number): number => ((i * 3 + r * 5) % 11) + 1;

t.test('reducescatter of every dtype: sum and average, even and uneven rows, fewer than ranks, none', async (t) => {
  for (const type of arrayTypes as ArrayType[]) {
    for (const rows of [0, 1, size, size + 1, 4 * size + (size >> 1), 50_003]) {
      const mine = filled(type, rows, (i) => value(rank, i));
      const part = partOf(rows);
      const total = (i: number): number => sum(everyone.map((r) => value(r, part.first + i)));
      const scattered = numbers(hvd.reducescatter(mine, { op: 'sum' }));
      t.ok(scattered.length === part.rows && scattered.every((x, i) => x === total(i)), `sum of ${rows} ${type.name}`);
      const average = numbers(hvd.synchronize(hvd.reducescatterAsync(mine)));
      const isRight = (x: number, i: number): boolean =>
        type.name.startsWith('Float') ? Math.abs(x - total(i) / size) < 1e-5 : x === Math.trunc(total(i) / size);
      t.ok(average.length === part.rows && average.every(isRight), `average of ${rows} ${type.name}`);
      t.ok(
        numbers(mine).every((x, i) => x === value(rank, i)),
        'the argument is left alone',
      );
    }
  }
});

t.test('reducescatter of tensors splits axis 0 and scales before and after', async (t) => {
  const rows = 2 * size + 1;
  const mine = tf.tensor(
    Array.from({ length: rows * 3 }, (_, i) => i + rank),
    [rows, 3],
    'float32',
  );
  const result = hvd.reducescatter(mine, { op: 'sum', prescaleFactor: 0.5, postscaleFactor: 4 });
  const part = partOf(rows);
  t.same([result.dtype, ...result.shape], ['float32', part.rows, 3]);
  t.same(
    Array.from(result.dataSync()),
    Array.from({ length: part.rows * 3 }, (_, i) => 2 * sum(everyone.map((r) => part.first * 3 + i + r))),
  );
  t.same(hvd.reducescatter(tf.zeros([size, 0, 2])).shape, [1, 0, 2]);
});

t.test('a group is scattered tensor by tensor', async (t) => {
  const shapes = [[size, 2], [0], [2 * size + 1], [1, 3]];
  const tensors = shapes.map((shape, k) => tf.fill(shape, k + rank, 'int32'));
  for (const results of [hvd.groupedReducescatter(tensors, { op: 'sum' }), await hvd.groupedReducescatterAsync(tensors, { op: 'sum' })]) {
    for (const [k, result] of results.entries()) {
      t.same(result.shape, [partOf(shapes[k]![0]!).rows, ...shapes[k]!.slice(1)]);
      t.ok(result.dataSync().every((x) => x === sum(everyone.map((r) => k + r))));
    }
  }
  t.same(hvd.groupedReducescatter([]), []);
  t.same(await hvd.groupedReducescatterAsync([]), []);
});

t.test('reducescatter refuses what it cannot do, and tells what the ranks disagree about', async (t) => {
  const array = new Float32Array(4);
  for (const op of ['min', 'max', 'product', 'adasum'] as const)
    t.throws(() => hvd.reducescatter(array, { op }), { ...usage, message: /It has average, sum/ });
  t.throws(() => hvd.reducescatter(tf.scalar(1)), { ...usage, message: /scalar/ });
  t.throws(() => hvd.reducescatter(tf.zeros([2], 'bool')), { ...usage, message: /bool/ });
  t.throws(() => hvd.reducescatter(array, { inPlace: true }), { ...usage, message: /inPlace/ });
  t.throws(() => hvd.reducescatter(array, { prescaleFactor: Number.NaN }), usage);
  t.throws(() => hvd.groupedReducescatter([array, new Int32Array(1)] as never[]), usage);
  if (size === 1) return;
  t.throws(() => hvd.reducescatter(new Float32Array(4 + rank), { name: 'rs' }), {
    code: 'ERR_HVD_MISMATCH',
    message: /REDUCESCATTER tensor shapes/,
  });
  t.throws(() => hvd.reducescatter(array, { name: 'rs', op: rank ? 'sum' : 'average' }), {
    code: 'ERR_HVD_MISMATCH',
    message: /reduction operation/,
  });
  t.throws(() => hvd.reducescatter(array, { name: 'rs', postscaleFactor: 1 + rank }), { code: 'ERR_HVD_MISMATCH', message: /postscale/ });
  t.equal(hvd.reducescatter(array, { name: 'rs' }).length, partOf(4).rows);
});

// ───── grouped gathers ─────

t.test('a group is gathered tensor by tensor, of every dtype, ragged and empty', async (t) => {
  for (const type of arrayTypes) {
    const group = [rank + 1, 0, rank === 0 ? 0 : 2].map((elems, k) => filled(type, elems, () => 10 * k + rank));
    const expected = [everyone.flatMap((r) => Array(r + 1).fill(r)), [], everyone.flatMap((r) => Array(r === 0 ? 0 : 2).fill(20 + r))];
    t.same(hvd.groupedAllgather(group).map(numbers), expected, type.name);
    t.same((await hvd.groupedAllgatherAsync(group)).map(numbers), expected, type.name);
  }
  const [flags, more] = hvd.groupedAllgather([tf.tensor([rank % 2], [1, 1], 'bool'), tf.ones([rank, 3, 1], 'bool')]) as [
    tf.Tensor,
    tf.Tensor,
  ];
  t.same([flags.dtype, flags.shape, Array.from(flags.dataSync())], ['bool', [size, 1], everyone.map((r) => r % 2)]);
  t.same(more.shape, [sum(everyone), 3, 1]);
  t.same(hvd.groupedAllgather([]), []);
  t.same(await hvd.groupedAllgatherAsync([], { name: 'empty' }), []);
  t.throws(() => hvd.groupedAllgather([new Int8Array(1), new Float32Array(1)] as never[]), usage);
  t.throws(() => hvd.groupedAllgather([tf.scalar(1)]), usage);
});

// ───── Adasum ─────

const isSameEverywhere = (array: Float32Array | Float64Array): boolean => {
  const own = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return hvd.allgather(own).every((byte, i) => byte === own[i % own.length]);
};

t.test('Adasum follows its definition, blocking or not, and gives the same bits on every rank', async (t) => {
  const at = (r: number, i: number): number => Math.fround(Math.sin(i * 12.9898 + r * 78.233) + 0.3);
  for (const type of [Float32Array, Float64Array]) {
    for (const elems of [0, 1, 100, 400_003]) {
      const mine = filled(type, elems, (i) => at(rank, i)) as Float32Array | Float64Array;
      const expected = adasumOf(everyone.map((r) => Array.from({ length: elems }, (_, i) => at(r, i))));
      for (const result of [hvd.allreduce(mine, { op: hvd.Adasum }), await hvd.allreduceAsync(mine, { op: 'adasum' })]) {
        t.ok(
          result.every((x, i) => Math.abs(x - expected[i]!) < 1e-5),
          `${elems} ${type.name}`,
        );
        t.ok(isSameEverywhere(result));
      }
    }
  }
});

t.test('Adasum: orthogonal gradients are added, equal ones stay, a group goes tensor by tensor, in place too', async (t) => {
  const own = Float32Array.from({ length: size }, (_, i) => (i === rank ? rank + 1 : 0));
  const same = Float32Array.of(3, -4, 5);
  const [added, stayed, none] = hvd.groupedAllreduce([own, same, new Float32Array(0)], { op: 'adasum' });
  t.same([[...added!], [...stayed!], [...none!]], [everyone.map((r) => r + 1), [3, -4, 5], []]);
  const tensor = hvd.allreduce(tf.tensor2d([[6, 8]]), { op: 'adasum', prescaleFactor: 0.5, postscaleFactor: 3 });
  t.same(
    [tensor.shape, Array.from(tensor.dataSync())],
    [
      [1, 2],
      [9, 12],
    ],
  );
  const placed = hvd.allocate(Float64Array, size);
  placed.set(own);
  t.equal(hvd.allreduce(placed, { op: 'adasum', inPlace: true }), placed);
  t.same(
    [...placed],
    everyone.map((r) => r + 1),
  );
  hvd.release(placed);
});

t.test('many small Adasums in flight are not mixed up', async (t) => {
  const handles = [0, 1, 2, 3, 4, 5].map((k) => hvd.allreduceAsync(Float32Array.of(k, k), { op: 'adasum', name: `ada.${(k + rank) % 6}` }));
  for (const [k, handle] of handles.entries()) {
    const name = (k + rank) % 6;
    const expected = adasumOf(everyone.map((r) => new Array<number>(2).fill((name - r + 60) % 6)));
    t.ok((await handle).every((x, i) => Math.abs(x - expected[i]!) < 1e-5));
  }
});

t.test('Adasum is for floats', async (t) => {
  t.throws(() => hvd.allreduce(Int32Array.of(1), { op: 'adasum' }), { ...usage, message: /float32 and float64, not int32/ });
  t.throws(() => hvd.allreduce(tf.tensor([1], [1], 'int32'), { op: 'adasum' }), usage);
  if (size === 1) return;
  t.throws(() => hvd.allreduce(Float32Array.of(1), { op: rank ? 'sum' : 'adasum', name: 'ops' }), {
    code: 'ERR_HVD_MISMATCH',
    message: /adasum[\s\S]*sum/,
  });
});
