/**
 * How the study's network is trained and judged, on all ranks together: each calls these functions alike. Main thread of a rank.
 *
 * Invariant: an epoch depends on the seed, its number, the number of ranks, and the weights and slots it begins with, on nothing else. So a run that was stopped ends with the bits of one that was not.
 */
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import { batchOf } from '../../examples/cifar10/batch';
import { CLASSES, type Images, seeded, shuffled } from '../../examples/cifar10/data';
import { cifarNetwork, optimizers } from '../../examples/cifar10/network';
import type { Progress } from '../../examples/cifar10/progress';
import { type Epoch, restore, type Settings } from './checkpoint';

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
export async function trainEpoch(
  model: tf.LayersModel,
  images: Images,
  settings: Settings,
  epoch: number,
  progress?: Progress,
): Promise<void> {
  const { batchSize, ranks, seed } = settings;
  const order = shuffled(images.count, seeded(seedOf(seed, epoch, 0)));
  const masks = seeded(seedOf(seed, epoch, 1 + hvd.rank()));
  const steps = Math.floor(images.count / (batchSize * ranks));
  for (let step = 0; step < steps; step += 1) {
    seedDropout(model, Math.floor(masks() * 2 ** 32));
    const { xs, ys } = batchOf(images, order, (step * ranks + hvd.rank()) * batchSize, batchSize);
    const loss = (await model.trainOnBatch(xs, ys)) as number;
    tf.dispose([xs, ys]);
    progress?.step(`epoch ${epoch}/${settings.epochs}`, step + 1, steps, `loss ${loss.toFixed(3)}`);
  }
}

/** Mean loss and share of images told right, of all images: each rank looks at every size-th. */
export function evaluate(model: tf.LayersModel, images: Images): { loss: number; accuracy: number } {
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

/**
 * Network and optimizer, on every rank as rank 0 has them: as its checkpoint has them, or new.
 * @returns them, and on rank 0 the epochs that are done (elsewhere only their number counts)
 * @throws CheckpointError on rank 0
 */
export async function begin(folder: string, name: string, settings: Pick<Settings, 'seed' | 'learningRate'>, backend: string) {
  const model = cifarNetwork(settings.seed);
  const optimizer = hvd.DistributedOptimizer(optimizers[name]!.make(settings.learningRate));
  model.compile({ optimizer, loss: 'categoricalCrossentropy' });
  const epochs: Epoch[] = hvd.rank() === 0 ? [...(await restore(folder, name, backend, model, optimizer))] : [];
  const done = hvd.broadcastObject(epochs.length);
  hvd.broadcastVariables(model);
  await hvd.broadcastOptimizerState(optimizer);
  return { model, optimizer, epochs, done };
}
