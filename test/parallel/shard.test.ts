/** `hvd.shard` on every rank: who gets which element, that it streams, that nothing of what is skipped is left, and training with it. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { bytesOf, smallBatch, smallNetwork, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const own = (n: number): number[] => upTo(n).filter((i) => i % size === rank);

t.before(async () => {
  await hvd.selectBackend();
});

/** Counts what is read of it. */
function counted(n: number, fail = Number.POSITIVE_INFINITY): { dataset: tf.data.Dataset<tf.TensorContainer>; read: () => number } {
  let read = 0;
  const dataset = tf.data.generator(function* () {
    for (let i = 0; i < n; i += 1) {
      read += 1;
      if (i === fail) throw new Error('the disk is gone');
      yield { x: tf.scalar(i), label: i };
    }
  } as never);
  return { dataset, read: () => read };
}
const take = async (iterator: { next(): Promise<{ value: unknown; done?: boolean }> }): Promise<number | undefined> => {
  const { value, done } = await iterator.next();
  if (done) return undefined;
  const { x, label } = value as { x: tf.Tensor; label: number };
  t.equal(x.dataSync()[0], label);
  x.dispose();
  return label;
};

t.test('even: as many for all, what fills no round is left out; else every element is somebody’s', async (t) => {
  for (const n of [0, 1, 5, 12, 13]) {
    const dataset = tf.data.array(upTo(n));
    const even = hvd.shard(dataset);
    const expected = own(n).slice(0, Math.floor(n / size));
    t.same(await even.toArray(), expected, `${n} elements, even`);
    t.equal(even.size, expected.length);
    const uneven = hvd.shard(dataset, { even: false });
    t.same(await uneven.toArray(), own(n), `${n} elements`);
    t.equal(uneven.size, own(n).length);
    t.same(await even.toArray(), expected, 'each iteration begins anew');
  }
});

t.test('batches before and after, repeat before and after', async (t) => {
  const dataset = tf.data.array(upTo(4 * size));
  t.same(await hvd.shard(dataset).repeat(2).toArray(), [...own(4 * size), ...own(4 * size)]);
  t.equal(hvd.shard(dataset.repeat(2)).size, 8);
  t.equal(hvd.shard(dataset).batch(2).size, 2);
  const endless = await hvd.shard(dataset.repeat()).iterator();
  const found: number[] = [];
  for (let i = 0; i < 9; i += 1) found.push((await endless.next()).value as number);
  t.same(found, [...own(4 * size), ...own(4 * size), rank]);
  t.equal(hvd.shard(dataset.repeat()).size, Number.POSITIVE_INFINITY);
});

for (const even of [true, false])
  t.test(`${even ? 'even' : 'not even'}: an endless data set is read one round at a time, and no tensor is left`, async (t) => {
    const before = tf.memory().numTensors;
    const { dataset, read } = counted(Number.POSITIVE_INFINITY);
    const iterator = await hvd.shard(dataset, { even }).iterator();
    t.equal(read(), 0, 'nothing is read before it is asked for');
    for (let i = 0; i < 20; i += 1) {
      t.equal(await take(iterator), i * size + rank);
      t.equal(read(), i * size + (even ? size : rank + 1));
      t.equal(tf.memory().numTensors, before);
    }
  });

for (const even of [true, false])
  t.test(`${even ? 'even' : 'not even'}: no tensor is left at the end, nor by an error of the source`, async (t) => {
    const before = tf.memory().numTensors;
    const n = 3 * size + Math.floor(size / 2);
    const iterator = await hvd.shard(counted(n).dataset, { even }).iterator();
    const found: number[] = [];
    for (let label = await take(iterator); label !== undefined; label = await take(iterator)) found.push(label);
    t.same(found, even ? own(3 * size) : own(n));
    t.equal(await take(iterator), undefined, 'it stays at its end');
    t.equal(tf.memory().numTensors, before);
    const failing = await hvd.shard(counted(n, 3 * size - 1).dataset, { even }).iterator();
    await t.rejects(async () => {
      for (;;) if ((await take(failing)) === undefined) return;
    }, /the disk is gone/);
    t.equal(tf.memory().numTensors, before);
  });

t.test('shuffled with one seed the ranks have different elements, and all of them together', async (t) => {
  const mine = await hvd.shard(tf.data.array(upTo(5 * size)).shuffle(100, '7')).toArray();
  const all = hvd.allgather(Int32Array.from(mine));
  t.same(
    [...all].sort((a, b) => a - b),
    upTo(5 * size),
  );
});

t.test('asked for several elements at once it gives them in order', async (t) => {
  const iterator = await hvd.shard(tf.data.array(upTo(4 * size))).iterator();
  const found = await Promise.all(upTo(5).map(() => iterator.next()));
  t.same(
    found.slice(0, 4).map(({ value }) => value),
    own(4 * size),
  );
  t.ok(found[4]!.done);
});

t.test('among the ranks of a process set', async (t) => {
  if (size === 1) {
    const twin = new hvd.ProcessSet([0]);
    t.throws(() => hvd.shard(tf.data.array([1]), { processSet: twin }), { code: 'ERR_HVD_PROCESS_SET', message: /not registered/ });
    return;
  }
  const others = hvd.addProcessSet(upTo(size).slice(1));
  const dataset = tf.data.array(upTo(12));
  if (rank === 0)
    t.throws(() => hvd.shard(dataset, { processSet: others }), { code: 'ERR_HVD_PROCESS_SET', message: /rank 0 is no member/ });
  else
    t.same(
      await hvd.shard(dataset, { processSet: others }).toArray(),
      upTo(12).filter((i) => i % (size - 1) === rank - 1),
    );
  hvd.removeProcessSet(others);
});

t.test('fitDataset: whole epochs of equal length, replicas equal, no tensor left', async (t) => {
  const batches = tf.data.generator(function* () {
    for (let i = 0; i < 3 * size + 1; i += 1) yield smallBatch(i * 4, 4);
  } as never);
  const model = smallNetwork(3);
  const optimizer = hvd.DistributedOptimizer('sgd');
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  const fit = () => model.fitDataset(hvd.shard(batches), { epochs: 2, verbose: 0 });
  await fit();
  const before = tf.memory().numTensors;
  await fit();
  t.equal(tf.memory().numTensors, before);
  t.equal(optimizer.iterations, 4 * Math.floor((3 * size + 1) / size));
  const bytes = bytesOf(weightsOf(model));
  t.ok(hvd.allgather(bytes).every((byte, i) => byte === bytes[i % bytes.length]));
});
