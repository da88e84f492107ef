/**
 * Trains the small network for 1,000 steps and prints tensors and resident memory after step 100 and at the end, as one line of JSON a rank. Argument: `distributed`, or `plain` for the same
 * training by the optimizer alone.
 */
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';
import { smallNetwork, trainStep } from '../helpers/small_network';

const STEPS = 1000;

async function main(): Promise<void> {
  const isPlain = process.argv[2] === 'plain';
  if (!isPlain) hvd.init();
  const [rank, size] = isPlain ? [0, 1] : [hvd.rank(), hvd.size()];
  await hvd.selectBackend('wasm');
  const model = smallNetwork(1);
  model.compile({ optimizer: isPlain ? 'adam' : hvd.DistributedOptimizer('adam'), loss: 'categoricalCrossentropy' });
  const look = (): { tensors: number; buffers: number; rssBytes: number } => {
    const { numTensors: tensors, numDataBuffers: buffers } = tf.memory();
    // Garbage is not growth.
    (globalThis as { gc?: () => void }).gc?.();
    return { tensors, buffers, rssBytes: process.memoryUsage.rss() };
  };
  let early = look();
  for (let step = 1; step <= STEPS; step += 1) {
    await trainStep(model, (step * size + rank) * 4, 4);
    if (step === 100) early = look();
  }
  console.log(JSON.stringify({ rank, early, late: look() }));
}

void main();
