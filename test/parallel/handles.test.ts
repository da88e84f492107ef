/** Whose the tensors of asynchronous collectives are: of who asks for them, where he asks; whatever else has completed them. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const everyone = Array.from({ length: size }, (_, r) => r);
const sum = everyone.reduce((total, r) => total + r, 0);

t.before(async () => {
  await hvd.selectBackend();
});

type Start = (value: tf.Tensor1D, name?: string) => hvd.Handle<tf.Tensor1D>;
/** Of size elements, each the rank; what each gives. */
const kinds: Record<string, { start: Start; expected: number[] }> = {
  allreduce: { start: (value, name) => hvd.allreduceAsync(value, { op: 'sum', name }), expected: everyone.map(() => sum) },
  broadcast: { start: (value, name) => hvd.broadcastAsync(value, size - 1, { name }), expected: everyone.map(() => size - 1) },
  reducescatter: { start: (value, name) => hvd.reducescatterAsync(value, { op: 'sum', name }), expected: [sum] },
  allgather: { start: (value, name) => hvd.allgatherAsync(value, { name }), expected: everyone.flatMap((r) => everyone.map(() => r)) },
};
/** All ranks have submitted it, and it is done here. */
async function done(handle: hvd.Handle<unknown>): Promise<void> {
  while (!hvd.poll(handle)) await sleep(1);
}
/** Until what a complete call calls back has run. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await sleep(1);
};

for (const [kind, { start, expected }] of Object.entries(kinds)) {
  t.test(`${kind}: its name is used again inside tidy(), and its result is there all the same`, async (t) => {
    const value = tf.fill([size], rank) as tf.Tensor1D;
    const before = tf.memory().numTensors;
    const earlier = start(value, 'x');
    // Without a turn of the event loop, in which it would be settled.
    while (!hvd.poll(earlier));
    tf.tidy(() => void hvd.synchronize(start(value, 'x')));
    t.equal(tf.memory().numTensors, before);
    const result = await earlier;
    t.same([...result.dataSync()], expected);
    t.equal(await earlier, result);
    tf.dispose([result, value]);
    t.equal(tf.memory().numTensors, before - 1);
  });

  t.test(`${kind}: done while a scope is open that has nothing to do with it`, async (t) => {
    const value = tf.fill([size], rank) as tf.Tensor1D;
    const handle = start(value);
    tf.engine().startScope();
    await done(handle);
    await turns();
    tf.engine().endScope();
    const result = hvd.synchronize(handle);
    t.same([...result.dataSync()], expected);
    tf.dispose([result, value]);
  });

  t.test(`${kind}: nobody asks, no tensor; asked inside tidy(), tidy() frees it`, async (t) => {
    const value = tf.fill([size], rank) as tf.Tensor1D;
    const before = tf.memory().numTensors;
    const [unasked, asked] = [start(value), start(value)];
    await done(unasked);
    await done(asked);
    await turns();
    t.equal(tf.memory().numTensors, before);
    const copy = tf.tidy(() => [...hvd.synchronize(asked).dataSync()]);
    t.same(copy, expected);
    t.equal(tf.memory().numTensors, before);
    value.dispose();
  });
}

t.test('an unnamed call that could not begin does not count: the next try meets the other ranks', async (t) => {
  const numberOf = ({ name }: hvd.Handle<unknown>): number => Number(name.split('.').at(-1));
  const before = hvd.allreduceAsync(Uint8Array.of(1));
  // On one rank alone, more than a rank can hold; nobody touches it.
  if (rank === size - 1) t.throws(() => hvd.allreduceAsync(new Uint8Array(2 ** 32 - 1)), hvd.HvdError);
  const after = hvd.allreduceAsync(Uint8Array.of(2), { op: 'sum' });
  t.equal(numberOf(after), numberOf(before) + 1);
  t.same(await after, [2 * size]);
  await before;
});
