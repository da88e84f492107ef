/**
 * Trains a network of the study on synthetic images by SGD and prints, as one line of JSON a rank, what a step takes and what memory the process holds:
 * `trains_big_network.js NETWORK BATCH STEPS [SIDE]`.
 */
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { CLASSES, makeNetwork } from '../../src/bench/models/networks';
import * as hvd from '../../src/index';

async function main(): Promise<void> {
  const [, , name = '', batch = '1', steps = '2', side = '224'] = process.argv;
  hvd.init();
  const { name: backend, device } = await hvd.selectBackend();
  const model = makeNetwork(name, { size: Number(side) });
  await hvd.broadcastVariables(model, 0);
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.sgd(0.001)), loss: 'categoricalCrossentropy' });
  const xs = tf.randomUniform<tf.Rank.R4>([Number(batch), Number(side), Number(side), 3], -1, 1, 'float32', hvd.rank() + 1);
  const ys = tf.tidy(() => tf.oneHot(tf.range(0, Number(batch), 1, 'int32'), CLASSES).toFloat());
  const [times, losses]: [number[], number[]] = [[], []];
  for (let n = 0; n < Number(steps); n += 1) {
    const from = performance.now();
    losses.push((await model.trainOnBatch(xs, ys)) as number);
    times.push(Math.round(performance.now() - from));
  }
  const peak = /^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);
  // Replicas have the same weights; one whole variable says so.
  const sum = tf.tidy(() => model.trainableWeights.at(-1)!.read().sum().dataSync()[0]);
  const found = { rank: hvd.rank(), backend, device, name, batch, losses, sum, msPerStep: times, peakMiB: mebibytes(Number(peak) * 1024) };
  console.log(JSON.stringify({ ...found, rssMiB: mebibytes(process.memoryUsage.rss()), tensorsMiB: mebibytes(tf.memory().numBytes) }));
}

void main();
