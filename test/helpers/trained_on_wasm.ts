/**
 * A program of its own: trains on the backend that its environment forces (TSRUN_BACKEND, TSRUN_THREADS_PER_PROCESS) and prints, as JSON, what it ran on, the weights of the small network, and of the
 * study's network, whose kernels are large enough to be divided, a hash: the same bits, the same hash.
 */
import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { makeGratings } from '../../examples/cifar10/data';
import { cifarNetwork } from '../../examples/cifar10/network';
import * as hvd from '../../src/index';
import { bytesOf, smallNetwork, trainStep, weightsOf } from './small_network';

const loss = 'categoricalCrossentropy';
const BATCH = 16;

async function smallWeights(): Promise<number[]> {
  const model = smallNetwork(1);
  model.compile({ optimizer: tf.train.adam(0.002), loss });
  for (let step = 0; step < 10; step += 1) await trainStep(model, step * BATCH, BATCH);
  return [...weightsOf(model)];
}

async function hashOfStudy(): Promise<string> {
  const { pixels, labels } = makeGratings(BATCH, 1);
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [BATCH, 32, 32, 3],
  );
  const ys = tf.oneHot(tf.tensor1d(labels, 'int32'), 10).toFloat();
  const model = cifarNetwork(1);
  // It draws anew in every run.
  for (const layer of model.layers) if (layer.getClassName() === 'Dropout') (layer as unknown as { rate: number }).rate = 0;
  model.compile({ optimizer: tf.train.adam(0.001), loss });
  for (let step = 0; step < 4; step += 1) await model.trainOnBatch(xs, ys);
  return createHash('sha256')
    .update(bytesOf(weightsOf(model)))
    .digest('hex');
}

async function main(): Promise<void> {
  const { name, device } = await hvd.selectBackend();
  const small = await smallWeights();
  const study = name === 'cpu' ? undefined : await hashOfStudy();
  process.stdout.write(JSON.stringify({ device, small, study }));
}

void main();
