/**
 * What a rank does with its GPU, as one line of JSON. `uses_its_gpu.js select [BACKEND]` tells which it has; `train [BACKEND]` besides trains the study's network without dropout and tells how fast,
 * and a hash of the weights; `fill BACKEND GIB` makes tensors in a training step until no memory is left, at most so many GiB: on a GPU only, as a host would give its own memory away.
 * An error of the backend is told by its code and message; the exit code is then 1.
 */
import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import { CLASSES, IMAGE_ELEMS, makeGratings, SIDE } from '../../examples/cifar10/data';
import { cifarNetwork } from '../../examples/cifar10/network';
import * as hvd from '../../src/index';
import { bytesOf, weightsOf } from '../helpers/small_network';

const BATCH = 256;
const WARM_UP_STEPS = 10;
const STEPS = 40;
/** 1 GiB as float32. */
const [ROWS, COLUMNS] = [16_384, 16_384];

async function train(): Promise<object> {
  const { pixels, labels } = makeGratings(BATCH, 1 + hvd.rank());
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [BATCH, SIDE, SIDE, IMAGE_ELEMS / (SIDE * SIDE)],
  );
  const ys = tf.tidy(() => tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES).toFloat());
  const model = cifarNetwork(1);
  for (const layer of model.layers) if (layer.getClassName() === 'Dropout') (layer as unknown as { rate: number }).rate = 0;
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.momentum(0.01, 0.9)), loss: 'categoricalCrossentropy' });
  hvd.broadcastVariables(model);
  const losses: number[] = [];
  const run = async (steps: number): Promise<number> => {
    const from = performance.now();
    for (let step = 0; step < steps; step += 1) losses.push((await model.trainOnBatch(xs, ys)) as number);
    return (performance.now() - from) / 1000;
  };
  await run(WARM_UP_STEPS);
  hvd.barrier();
  const seconds = await run(STEPS);
  const bits = createHash('sha256')
    .update(bytesOf(weightsOf(model)))
    .digest('hex');
  return { bits, msPerStep: (1000 * seconds) / STEPS, imagesPerSec: (STEPS * BATCH) / seconds, losses: [losses[0], losses.at(-1)] };
}

function fill(gib: number): object {
  const weight = tf.variable(tf.ones([COLUMNS, 1]));
  hvd.DistributedOptimizer(tf.train.sgd(0.1)).minimize(() => {
    const parts = [tf.zeros([ROWS, COLUMNS])];
    for (let n = 1; n < gib; n += 1) parts.push(parts.at(-1)!.add(1));
    return tf.addN(parts).matMul(weight).sum() as tf.Scalar;
  });
  return { filled: gib };
}

async function main(): Promise<void> {
  const [act, backend, gib = '1'] = process.argv.slice(2);
  hvd.init();
  const { CUDA_VISIBLE_DEVICES: visible } = process.env;
  const said = { rank: hvd.rank(), size: hvd.size(), visible };
  try {
    const { name, device } = await hvd.selectBackend(backend as 'tfjs-node-gpu' | undefined);
    if (act === 'fill' && !device.startsWith('GPU')) throw new Error(`this rank has no GPU whose memory it may take: ${device}`);
    const found = act === 'train' ? await train() : act === 'fill' ? fill(Number(gib)) : {};
    console.log(JSON.stringify({ ...said, name, device, ...found }));
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    console.log(JSON.stringify({ ...said, code, message }));
    process.exit(1);
  }
}

void main();
