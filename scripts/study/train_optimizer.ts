/**
 * Trains the study's network by one optimizer and records every epoch: what scripts/study/optimizers.mjs has tsrun start on each rank, with a JSON of `Job` as its argument.
 *
 * Invariant: an epoch depends on the seed, its number and the weights and slots it begins with, on nothing else. So a run that was stopped ends with the bits of one that was not.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import { batchOf } from '../../examples/cifar10/batch';
import { CLASSES, DataError, type Images, seeded, shuffled } from '../../examples/cifar10/data';
import { cifarNetwork, optimizers } from '../../examples/cifar10/network';
import { Progress } from '../../examples/cifar10/progress';
import { CheckpointError, type Epoch, type Result, restore, type Settings, save, writeResult } from './checkpoint';
import { identityOf, studyData } from './data';

interface Job {
  readonly optimizer: string;
  readonly settings: Settings;
  /** Folder of CIFAR-10's files; undefined: made gratings. */
  readonly data?: string;
  readonly out: string;
  /** What `out`/owner holds as long as no other run has taken the folder over. */
  readonly owner: string;
}

const EVALUATED_AT_ONCE = 100;
/** tfjs's categoricalCrossentropy cuts probabilities off there. */
const LEAST_PROBABILITY = 1e-7;

/** A seed for each epoch and use: 0 the order of the images, r + 1 the dropout of rank r. */
const seedOf = (seed: number, epoch: number, use: number): number =>
  Math.imul(seed, 0x9e3779b1) + Math.imul(epoch, 0x85ebca6b) + Math.imul(use, 0xc2b2ae35);

/** The layers draw a mask from their seed at every call: with one seed it would always be the same mask, with none no run could be repeated. */
function seedDropout(model: tf.LayersModel, seed: number): void {
  for (const layer of model.layers) if (layer.getClassName() === 'Dropout') (layer as unknown as { seed: number }).seed = seed;
}

/** One pass over the images: of each step's images every rank takes a batch; what is less than a step's is left out, other ones in each epoch. */
async function trainEpoch(model: tf.LayersModel, images: Images, settings: Settings, epoch: number, progress: Progress): Promise<void> {
  const { batchSize, ranks, seed } = settings;
  const order = shuffled(images.count, seeded(seedOf(seed, epoch, 0)));
  const masks = seeded(seedOf(seed, epoch, 1 + hvd.rank()));
  const steps = Math.floor(images.count / (batchSize * ranks));
  for (let step = 0; step < steps; step += 1) {
    seedDropout(model, Math.floor(masks() * 2 ** 32));
    const { xs, ys } = batchOf(images, order, (step * ranks + hvd.rank()) * batchSize, batchSize);
    const loss = (await model.trainOnBatch(xs, ys)) as number;
    tf.dispose([xs, ys]);
    progress.step(`epoch ${epoch}/${settings.epochs}`, step + 1, steps, `loss ${loss.toFixed(3)}`);
  }
}

/** Mean loss and share of images told right, of all images: each rank looks at every size-th. */
function evaluate(model: tf.LayersModel, images: Images): { loss: number; accuracy: number } {
  const own = Int32Array.from({ length: Math.ceil((images.count - hvd.rank()) / hvd.size()) }, (_, i) => hvd.rank() + i * hvd.size());
  let [loss, right] = [0, 0];
  for (let from = 0; from < own.length; from += EVALUATED_AT_ONCE) {
    const count = Math.min(EVALUATED_AT_ONCE, own.length - from);
    const told = tf.tidy(() => (model.predictOnBatch(batchOf(images, own, from, count).xs) as tf.Tensor).dataSync());
    for (let i = 0; i < count; i += 1) {
      const probabilities = told.subarray(i * CLASSES, (i + 1) * CLASSES);
      const label = images.labels[own[from + i]!]!;
      loss -= Math.log(Math.max(probabilities[label]!, LEAST_PROBABILITY));
      if (probabilities.indexOf(Math.max(...probabilities)) === label) right += 1;
    }
  }
  const [allLoss, allRight] = hvd.allreduce(Float64Array.of(loss, right), { op: hvd.Sum });
  return { loss: allLoss! / images.count, accuracy: allRight! / images.count };
}

const machineOf = (backend: string, device: string): Result['machine'] => ({
  processors: os.cpus().length,
  processor: os.cpus()[0]?.model ?? 'unknown',
  node: process.version,
  backend,
  device,
  tfjs: tf.version.tfjs,
  khorovod: String(hvd.buildInfo().version),
});

async function main(): Promise<void> {
  const job = JSON.parse(process.argv[2]!) as Job;
  const { optimizer: name, settings, out } = job;
  hvd.init();
  const isFirst = hvd.rank() === 0;
  const progress = new Progress(isFirst);
  const { name: backend, device } = await hvd.selectBackend();

  const { train, test } = studyData(job.data, settings.trainImages, settings.seed);
  if (identityOf({ train, test }).sha256 !== settings.sha256)
    throw new DataError(`rank ${hvd.rank()} on ${hvd.hostname()} has other images than the run began with`);

  const model = cifarNetwork(settings.seed);
  const optimizer = hvd.DistributedOptimizer(optimizers[name]!.make(settings.learningRate));
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  const epochs: Epoch[] = isFirst ? [...(await restore(out, name, backend, model, optimizer))] : [];
  const done = hvd.broadcastObject(epochs.length);
  hvd.broadcastVariables(model);
  await hvd.broadcastOptimizerState(optimizer);

  const result: Result = { optimizer: name, settings, machine: machineOf(backend, device), epochs };
  if (isFirst && done > 0) writeResult(out, result);
  progress.line(`${name}: ${hvd.size()} ranks, ${device}, epochs ${done + 1} to ${settings.epochs}`);
  for (let epoch = done + 1; epoch <= settings.epochs; epoch += 1) {
    const startedMs = performance.now();
    await trainEpoch(model, train, settings, epoch, progress);
    const trainSeconds = (performance.now() - startedMs) / 1000;
    const [onTrain, onTest] = [evaluate(model, train), evaluate(model, test)];
    const seconds = (performance.now() - startedMs) / 1000;
    if (isFirst) {
      if (readFileSync(path.join(out, 'owner'), 'utf8') !== job.owner)
        throw new CheckpointError(`another run has taken ${out} over: this one ends`);
      epochs.push({
        epoch,
        trainLoss: onTrain.loss,
        trainAccuracy: onTrain.accuracy,
        testLoss: onTest.loss,
        testAccuracy: onTest.accuracy,
        seconds: Number(seconds.toFixed(3)),
        trainSeconds: Number(trainSeconds.toFixed(3)),
      });
      await save(out, result, model, optimizer);
    }
    const of = ({ loss, accuracy }: { loss: number; accuracy: number }) =>
      `loss ${loss.toFixed(4)}, accuracy ${(100 * accuracy).toFixed(1)} %`;
    progress.line(`${name} ${epoch}/${settings.epochs}: training ${of(onTrain)}; test ${of(onTest)}; ${seconds.toFixed(1)} s`);
  }
  hvd.shutdown();
}

main().catch((error: unknown) => {
  const isUsers = error instanceof DataError || error instanceof CheckpointError;
  process.stderr.write(`${isUsers ? `study: ${(error as Error).message}` : ((error as Error)?.stack ?? String(error))}\n`);
  process.exit(1);
});
