/**
 * Trains and prints tensors, resident memory and, where nvidia-smi shows it, what is used of this rank's GPU, as one line of JSON a rank: `counts_memory.js NETWORK STEP...` looks after each of these
 * steps, the last of which ends it. NETWORK: `small`, or `study`, the study's with 32 images a step.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import { CLASSES, IMAGE_ELEMS, makeGratings, SIDE } from '../../examples/cifar10/data';
import { cifarNetwork } from '../../examples/cifar10/network';
import * as hvd from '../../src/index';
import { smallNetwork, trainStep } from '../helpers/small_network';

const [STILL_MS, STILL_BYTES, MOST_MS] = [300, 1 << 20, 10_000];

/** Undefined: there is none. */
function usedMiBOfGpu(): number | undefined {
  const { CUDA_VISIBLE_DEVICES: gpu = '0' } = process.env;
  const words = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', '-i', gpu];
  const { status, stdout } = spawnSync('nvidia-smi', words, { encoding: 'utf8', timeout: 10_000 });
  return status === 0 ? Number(stdout) : undefined;
}

/** Garbage is not growth, nor are the 12 MiB of its pages that a thread of V8's gives back only after the collection: looks until nothing more is given back. */
async function settledBytes(): Promise<number> {
  (globalThis as { gc?: () => void }).gc?.();
  await setTimeout(STILL_MS);
  const endMs = performance.now() + MOST_MS;
  for (let before = Number.POSITIVE_INFINITY; ; ) {
    const bytes = process.memoryUsage.rss();
    if (before - bytes < STILL_BYTES || performance.now() > endMs) return bytes;
    before = bytes;
    await setTimeout(STILL_MS);
  }
}

async function main(): Promise<void> {
  const [, , network, ...words] = process.argv;
  const lookAt = words.map(Number);
  hvd.init();
  const [rank, size] = [hvd.rank(), hvd.size()];
  await hvd.selectBackend();
  const isStudy = network === 'study';
  const model = isStudy ? cifarNetwork(1) : smallNetwork(1);
  const step = isStudy ? studyStep(model, rank) : (n: number) => trainStep(model, (n * size + rank) * 4, 4);
  model.compile({ optimizer: hvd.DistributedOptimizer('adam'), loss: 'categoricalCrossentropy' });
  const look = async (): Promise<{ tensors: number; buffers: number; rssBytes: number; gpuMiB: number | undefined }> => {
    const { numTensors: tensors, numDataBuffers: buffers } = tf.memory();
    return { tensors, buffers, rssBytes: await settledBytes(), gpuMiB: usedMiBOfGpu() };
  };
  const looks = [];
  for (let n = 1; n <= Math.max(...lookAt); n += 1) {
    await step(n);
    if (lookAt.includes(n)) looks.push(await look());
  }
  console.log(JSON.stringify({ rank, looks }));
}

function studyStep(model: tf.LayersModel, rank: number): (n: number) => Promise<void> {
  const batch = 32;
  const batches = 4;
  const { pixels, labels } = makeGratings(batch * batches, 1 + rank);
  return async (n) => {
    const at = (n % batches) * batch;
    const xs = tf.tensor4d(
      Float32Array.from(pixels.subarray(at * IMAGE_ELEMS, (at + batch) * IMAGE_ELEMS), (value) => value / 128 - 1),
      [batch, SIDE, SIDE, IMAGE_ELEMS / (SIDE * SIDE)],
    );
    const ys = tf.tidy(() => tf.oneHot(tf.tensor1d(labels.slice(at, at + batch), 'int32'), CLASSES).toFloat());
    await model.trainOnBatch(xs, ys);
    tf.dispose([xs, ys]);
  };
}

void main();
