/** Ranks whose backend has two threads each: replicas are equal to the bit, and come to what one rank with all the data, and ranks on the cpu backend, come to. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { bytesOf, largestDifference, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

process.env.TSRUN_THREADS_PER_PROCESS = '2';
hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const BATCH = 4;
const STEPS = 10;

async function train(optimizer: tf.Optimizer, images: (step: number) => [from: number, count: number]): Promise<Float32Array> {
  const model = smallNetwork(1);
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  for (let step = 0; step < STEPS; step += 1) await trainStep(model, ...images(step));
  return weightsOf(model);
}
const distributed = (): Promise<Float32Array> =>
  train(hvd.DistributedOptimizer(tf.train.adam(0.002)), (step) => [(step * size + rank) * BATCH, BATCH]);

t.test('two threads a rank', async (t) => {
  const { device } = await hvd.selectBackend('wasm');
  t.equal(device, 'CPU (WebAssembly SIMD, 2 threads)');
  const own = await distributed();
  const again = await distributed();
  t.same(bytesOf(again), bytesOf(own), 'the same bits again');
  const all = hvd.allgather(bytesOf(own));
  t.ok(
    all.every((byte, i) => byte === all[i % own.byteLength]),
    'replicas are equal',
  );
  const whole = await train(tf.train.adam(0.002), (step) => [step * size * BATCH, size * BATCH]);
  t.ok(largestDifference(own, whole) < 5e-5, `off by ${largestDifference(own, whole)} from one rank with all the data`);
  t.ok(largestDifference(own, weightsOf(smallNetwork(1))) > 0.01, 'it has learnt');
  await hvd.selectBackend('cpu');
  const onCpu = await distributed();
  t.ok(largestDifference(own, onCpu) < 5e-5, `off by ${largestDifference(own, onCpu)} from the cpu backend`);
});
