/**
 * Trains the study's CIFAR-10 network on every rank's own part of the images and says how well and how fast.
 *
 *   npx tsrun -np 2 examples/cifar10.ts [--optimizer adam] [--epochs 4] [--batch-size 32] [--lr 0.001] [--seed 1] [--data DIR]
 *
 * --data: a folder with the official binary files (data_batch_*.bin, test_batch.bin). Without it a seeded set of labelled gratings is made, which a linear model cannot tell apart.
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import { batchOf } from './cifar10/batch';
import { DataError, type DataSet, type Images, makeGratings, readCifar10, seeded, shardOf, shuffled } from './cifar10/data';
import { cifarNetwork, optimizers } from './cifar10/network';
import { Progress } from './cifar10/progress';

interface Settings {
  optimizer: string;
  epochs: number;
  batchSize: number;
  lr: number;
  seed: number;
  data?: string;
}

class ArgumentError extends Error {}

function readSettings(): Settings {
  const text = { type: 'string' } as const;
  let values: Record<string, string | undefined>;
  try {
    ({ values } = parseArgs({ options: { optimizer: text, epochs: text, 'batch-size': text, lr: text, seed: text, data: text } }));
  } catch (error) {
    throw new ArgumentError((error as Error).message.split('. ')[0]);
  }
  const { optimizer = 'adam' } = values;
  if (!optimizers[optimizer]) throw new ArgumentError(`--optimizer '${optimizer}' is none of ${Object.keys(optimizers).join(', ')}`);
  const number = (name: string, fallback: number, isRight: (value: number) => boolean, expects: string): number => {
    const value = values[name] === undefined ? fallback : Number(values[name]);
    if (!isRight(value)) throw new ArgumentError(`--${name} '${values[name]}' is no ${expects}`);
    return value;
  };
  const whole = (value: number): boolean => Number.isInteger(value) && value >= 1;
  return {
    optimizer,
    epochs: number('epochs', 4, whole, 'whole number >= 1'),
    batchSize: number('batch-size', 32, whole, 'whole number >= 1'),
    lr: number('lr', optimizers[optimizer].lr, (value) => value > 0 && Number.isFinite(value), 'number > 0'),
    seed: number('seed', 1, Number.isInteger, 'whole number'),
    data: values.data,
  };
}

/** Share of all ranks' images that are told right: each rank looks at its own part, the counts are added up. */
function accuracyOf(model: tf.LayersModel, images: Images): number {
  const order = Int32Array.from({ length: images.count }, (_, i) => i);
  let right = 0;
  for (let from = 0; from < images.count; from += 100) {
    const count = Math.min(100, images.count - from);
    right += tf.tidy(() => {
      const { xs, ys } = batchOf(images, order, from, count);
      return (model.predict(xs) as tf.Tensor).argMax(1).equal(ys.argMax(1)).sum().dataSync()[0]!;
    });
  }
  const [allRight, all] = hvd.allreduce(Float64Array.of(right, images.count), { op: hvd.Sum });
  return allRight! / all!;
}

async function main(): Promise<void> {
  const settings = readSettings();
  hvd.init();
  const [rank, size] = [hvd.rank(), hvd.size()];
  const progress = new Progress(rank === 0);
  const { name: backend } = await hvd.selectBackend();

  const all: DataSet = settings.data
    ? readCifar10(settings.data)
    : { train: makeGratings(4000, settings.seed), test: makeGratings(1000, settings.seed + 1_000_003) };
  const train = shardOf(all.train, rank, size);
  const test = shardOf(all.test, rank, size);
  const steps = Math.floor(train.count / settings.batchSize);
  if (steps === 0) throw new ArgumentError(`--batch-size ${settings.batchSize} is more than the ${train.count} images of a rank`);
  const source = settings.data ?? 'made gratings';
  progress.line(
    `${size} ranks, backend ${backend}, ${source}: ${all.train.count} images to train on, ${all.test.count} held out; ${settings.optimizer}, learning rate ${settings.lr}, batch ${settings.batchSize} a rank`,
  );

  const model = cifarNetwork(settings.seed);
  model.compile({
    optimizer: hvd.DistributedOptimizer(optimizers[settings.optimizer]!.make(settings.lr)),
    loss: 'categoricalCrossentropy',
  });
  hvd.broadcastVariables(model);

  const random = seeded(settings.seed * 1009 + rank);
  let trainedMs = 0;
  for (let epoch = 1; epoch <= settings.epochs; epoch += 1) {
    const order = shuffled(train.count, random);
    const startedMs = performance.now();
    let loss = 0;
    for (let step = 0; step < steps; step += 1) {
      const { xs, ys } = batchOf(train, order, step * settings.batchSize, settings.batchSize);
      loss += (await model.trainOnBatch(xs, ys)) as number;
      tf.dispose([xs, ys]);
      progress.step(`epoch ${epoch}/${settings.epochs}`, step + 1, steps, `loss ${(loss / (step + 1)).toFixed(3)}`);
    }
    trainedMs += performance.now() - startedMs;
    const [meanLoss] = hvd.allreduce(Float64Array.of(loss / steps));
    progress.line(
      `epoch ${epoch}/${settings.epochs}: loss ${meanLoss!.toFixed(4)}, accuracy on held-out images ${(100 * accuracyOf(model, test)).toFixed(1)} %`,
    );
  }

  const accuracy = accuracyOf(model, test);
  const imagesPerSec = (settings.epochs * steps * settings.batchSize * size) / (trainedMs / 1000);
  progress.line(`test accuracy ${(100 * accuracy).toFixed(1)} %, ${imagesPerSec.toFixed(0)} images per second on ${size} ranks`);
  if (rank === 0) hvd.report({ accuracy: Number(accuracy.toFixed(4)), imagesPerSec: Number(imagesPerSec.toFixed(1)) });
  hvd.shutdown();
}

main().catch((error: unknown) => {
  const isUsers = error instanceof ArgumentError || error instanceof DataError;
  process.stderr.write(`${isUsers ? `cifar10: ${(error as Error).message}` : ((error as Error)?.stack ?? String(error))}\n`);
  process.exit(1);
});
