/**
 * The training benchmark of the study: a network of the literature on synthetic images or a folder of them, each step timed. Runs on every rank; rank 0 prints and reports. Main thread.
 *
 *   tsrun -np 2 dist/src/bench/throughput.js --network resnet50 [--image-size 64 …]       options: throughput_args.ts, docs/networks.md
 *
 * The time of a step is from asking for its batch until its loss is known: data, forward and backward pass, exchange and update. Verified: every loss is finite, and where the strategy promises it all
 * ranks end with the same bits. `--no-communication` is the control: the same work on the same host by ranks that exchange nothing while they train.
 */
import { createHash } from 'node:crypto';
import type { LayersModel, Optimizer, Tensor } from '@tensorflow/tfjs';
import { readConfig } from '../config';
import { HvdError, UsageError } from '../errors';
import * as hvd from '../index';
import type { Tf } from '../tensorflow/load';
import { DataError } from './data/data_error';
import { loadDecoder } from './data/decoded';
import { type ImageList, listImages, shardOf } from './data/image_folder';
import { Pipeline } from './data/pipeline';
import type { Source } from './data/source';
import { emulate } from './emulated_throughput';
import { makeNetwork } from './models/networks';
import { type OptimizerName, readThroughputArgs, type ThroughputSettings } from './throughput_args';
import { mean, throughputFigures } from './throughput_figures';

const MOMENTUM = 0.9;
const makeOptimizer: Readonly<Record<OptimizerName, (tf: Tf, learningRate: number) => Optimizer>> = {
  sgd: (tf, rate) => tf.train.sgd(rate),
  momentum: (tf, rate) => tf.train.momentum(rate, MOMENTUM),
  nesterov: (tf, rate) => tf.train.momentum(rate, MOMENTUM, true),
  rmsprop: (tf, rate) => tf.train.rmsprop(rate),
  adam: (tf, rate) => tf.train.adam(rate),
};
const LINE_STEPS = 10;

/** @throws DataError the folder is empty or damaged, has more classes than the network, or there is no decoder */
function findImages({ data, classes }: ThroughputSettings): ImageList | undefined {
  if (data === undefined) return undefined;
  const list = listImages(data);
  if (list.classes.length > classes)
    throw new DataError(`The data folder ${data} has ${list.classes.length} classes, but --classes is ${classes}.`);
  loadDecoder();
  return list;
}

const sourceOf = ({ seed, classes, onCorrupt }: ThroughputSettings, list: ImageList | undefined, rank: number, ranks: number): Source =>
  list ? { kind: 'folder', seed, rank, images: shardOf(list.images, rank, ranks), onCorrupt } : { kind: 'synthetic', seed, rank, classes };

interface Step {
  ms: number;
  waitedMs: number;
  loss: number;
}

/** @throws HvdError the loss is not finite; whatever training and data throw */
async function trainStep(tf: Tf, model: LayersModel, pipeline: Pipeline, { size, classes, batchSize }: ThroughputSettings): Promise<Step> {
  const startedMs = performance.now();
  const batch = await pipeline.next();
  const waitedMs = performance.now() - startedMs;
  const xs = tf.tensor4d(batch.images, [batchSize, size, size, 3]);
  const ys = tf.tidy((): Tensor => tf.oneHot(tf.tensor1d(batch.labels, 'int32'), classes).toFloat());
  const loss = (await model.trainOnBatch(xs, ys)) as number;
  // Backends that compute in the main memory train on the slot itself: it is given back when nothing looks at it any longer.
  tf.dispose([xs, ys]);
  batch.release();
  if (!Number.isFinite(loss)) throw new HvdError(`The loss of step ${batch.number + 1} is ${loss}. Take a smaller learning rate (--lr).`);
  return { ms: performance.now() - startedMs, waitedMs, loss };
}

/** Of the trainable variables: moving averages of batch normalisation are each rank's own. */
function hashOf(model: LayersModel): string {
  const hash = createHash('sha256');
  for (const weight of model.trainableWeights) hash.update(weight.read().dataSync());
  return hash.digest('hex');
}

/** @throws HvdError ranks that must be alike differ */
function checkReplicas(model: LayersModel, settings: ThroughputSettings, strategy: string): string {
  if (settings.isWithoutCommunication || !['ring', 'ps-sync'].includes(strategy)) return 'not compared';
  const hashes = hvd.allgatherObject(hashOf(model));
  const other = hashes.findIndex((hash) => hash !== hashes[0]);
  if (other >= 0)
    throw new HvdError(`Rank ${other} ended with other weights than rank 0, but ${strategy} keeps all ranks alike. Please report it.`);
  return 'identical';
}

async function train(settings: ThroughputSettings): Promise<void> {
  const { network, batchSize, size, classes, seed, warmUp, iterations, compression, isWithoutCommunication } = settings;
  const list = findImages(settings);
  hvd.init();
  const [rank, ranks] = [hvd.rank(), hvd.size()];
  const say = (line: string): void => {
    if (rank === 0) process.stdout.write(`${line}\n`);
  };
  const pipeline = new Pipeline({
    source: sourceOf(settings, list, rank, ranks),
    batchSize,
    size,
    workers: settings.dataWorkers,
    processes: hvd.localSize(),
    onSkip: (file, reason) => process.stderr.write(`throughput: the image ${file} is skipped: ${reason}\n`),
  });
  const { name: backend, device, tf } = await hvd.selectBackend();
  const model = makeNetwork(network, { size, classes, seed });
  const plain = makeOptimizer[settings.optimizer](tf, settings.learningRate);
  const optimizer = isWithoutCommunication ? plain : hvd.DistributedOptimizer(plain, { compression });
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  hvd.broadcastVariables(model);
  const strategy = isWithoutCommunication ? 'none' : readConfig().strategy;
  say(
    `${network} at ${size}×${size}, ${classes} classes, batch ${batchSize} a rank, ${settings.optimizer}; ${ranks} ranks, strategy ${strategy}, compression ${compression.name}, backend ${backend} (${device}), ${settings.dataWorkers} data workers a rank, ${list ? `${list.images.length} images of ${settings.data}` : 'synthetic images'}`,
  );

  for (let i = 0; i < warmUp; i += 1) await trainStep(tf, model, pipeline, settings);
  hvd.barrier();
  const steps: Step[] = [];
  for (let i = 1; i <= iterations; i += 1) {
    steps.push(await trainStep(tf, model, pipeline, settings));
    if (i % LINE_STEPS !== 0 && i !== iterations) continue;
    const last = steps.slice(-LINE_STEPS);
    const ms = mean(last.map((step) => step.ms));
    say(`step ${i}/${iterations}: ${((1000 * batchSize) / ms).toFixed(1)} images/s on this rank, loss ${last.at(-1)!.loss.toFixed(3)}`);
  }
  const gathered = hvd.allgather(Float64Array.from(steps, ({ ms }) => ms));
  const times = Array.from({ length: ranks }, (_, i) => [...gathered.subarray(i * iterations, (i + 1) * iterations)]);
  const replicas = checkReplicas(model, settings, strategy);
  const { skipped } = pipeline.progress();
  await pipeline.close();
  const figures = throughputFigures(times, batchSize);
  const dataWaitMs = mean(steps.map(({ waitedMs }) => waitedMs));
  say(
    `${figures.imagesPerSec.toFixed(2)} images/s on ${ranks} ranks (standard deviation ${figures.imagesPerSecSd.toFixed(2)}), ${figures.msPerStepMedian.toFixed(1)} ms a step (median), of which ${dataWaitMs.toFixed(1)} ms waiting for data; replicas ${replicas}`,
  );
  const { optimizer: optimizerName, dataWorkers } = settings;
  const what = {
    network,
    batchSize,
    size,
    classes,
    iterations,
    ranks,
    strategy,
    backend,
    optimizer: optimizerName,
    compression: compression.name,
    dataWorkers,
    replicas,
  };
  if (rank === 0) hvd.report({ ...what, ...figures, dataWaitMs, skipped, loss: steps.at(-1)!.loss });
  hvd.shutdown();
}

async function main(): Promise<void> {
  const settings = readThroughputArgs(process.argv.slice(2));
  if (settings.emulate === undefined) await train(settings);
  else emulate(settings);
}

if (require.main === module)
  main().catch((error: unknown) => {
    const isUsers = error instanceof HvdError && error.code !== 'ERR_HVD_BUG';
    process.stderr.write(`throughput: ${isUsers ? error.message : ((error as Error)?.stack ?? String(error))}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  });
