/**
 * A training script as users have it, which knows nothing of strategies: a network by single steps, one by `fit` with callbacks, one that is saved and loaded on its way. Rank 0 writes what came of it as
 * `result`. Arguments: folder.
 */
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';
import { put } from '../helpers/put';
import { smallBatch, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

const [folder = ''] = process.argv.slice(2);
const BATCH = 4;
const loss = 'categoricalCrossentropy';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const numbers = (model: tf.LayersModel): number[] => [...weightsOf(model)];
const batchAt = (step: number): number => (step * size + rank) * BATCH;

async function bySteps(): Promise<object> {
  const model = smallNetwork(1);
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.adam(0.01)), loss });
  const losses: number[] = [];
  for (let step = 0; step < 12; step += 1) losses.push(await trainStep(model, batchAt(step), BATCH));
  return { weights: numbers(model), losses };
}

async function byFit(): Promise<object> {
  // Whatever the others begin with: the callback makes them equal.
  const model = smallNetwork(2);
  model.compile({ optimizer: hvd.DistributedOptimizer('adam'), loss, metrics: ['accuracy'] });
  const { xs, ys } = smallBatch(1000 * rank, 4 * BATCH);
  const logs: tf.Logs[] = [];
  await model.fit(xs, ys, {
    batchSize: BATCH,
    epochs: 2,
    shuffle: false,
    verbose: 0,
    callbacks: [
      hvd.callbacks.broadcastGlobalVariables(0),
      hvd.callbacks.metricAverage(),
      hvd.callbacks.learningRateWarmup({ initialLr: 0.02, warmupEpochs: 1, stepsPerEpoch: 4 }),
      new tf.CustomCallback({ onEpochEnd: async (_, epochLogs) => void logs.push({ ...epochLogs }) }),
    ],
  });
  return { weights: numbers(model), logs: hvd.allgatherObject(logs) };
}

async function bySavedModel(): Promise<object> {
  const model = smallNetwork(3);
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.adam(0.01)), loss });
  for (let step = 0; step < 3; step += 1) await trainStep(model, batchAt(step), BATCH);
  let saved: tf.io.ModelArtifacts | undefined;
  const handler = tf.io.withSaveHandler(async (artifacts) => {
    saved = artifacts;
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  });
  await model.save(handler, { includeOptimizer: true });
  const loaded = await hvd.loadModel(tf.io.fromMemory(saved!));
  for (let step = 3; step < 6; step += 1) {
    await trainStep(model, batchAt(step), BATCH);
    await trainStep(loaded as tf.LayersModel, batchAt(step), BATCH);
  }
  return { weights: numbers(model), resumed: numbers(loaded as tf.LayersModel) };
}

async function main(): Promise<void> {
  await hvd.selectBackend('wasm');
  const result = { steps: await bySteps(), fit: await byFit(), saved: await bySavedModel(), sizes: hvd.allgatherObject(hvd.size()) };
  if (rank === 0) put(folder, 'result', JSON.stringify(result));
}

void main();
