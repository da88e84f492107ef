/**
 * Training that is stopped and goes on: rank 0 saves model and optimizer after each epoch; started again, every rank loads them and the training goes on where it was.
 *
 *   npx tsrun -np 2 examples/resume.ts [--epochs 5] [--checkpoint resume.checkpoint]
 *
 * Where only rank 0 can read the file, only it loads, and before `fit` all ranks call `hvd.broadcastVariables(model)` and `await hvd.broadcastOptimizerState(model.optimizer)`.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import * as hvd from 'khorovod';

const BATCHES = 40;

/** One file for a model with its optimizer; TensorFlow.js has no `file://` without its Node backend. */
const inFile = (file: string): tf.io.IOHandler => ({
  async save(artifacts) {
    // Renamed when it is whole: who is stopped while writing still has the one before.
    writeFileSync(`${file}.part`, serialize(artifacts));
    renameSync(`${file}.part`, file);
    return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
  },
  load: async () => deserialize(readFileSync(file)) as tf.io.ModelArtifacts,
});

const surface = (x: number, y: number) => Math.sin(3 * x) * Math.cos(2 * y);

/** Points of the surface, each rank draws its own, for ever. */
function* points() {
  while (true) {
    const [x, y] = [2 * Math.random() - 1, 2 * Math.random() - 1];
    yield { xs: [x, y], ys: [surface(x, y)] };
  }
}

function newModel(): tf.LayersModel {
  const seeded = (seed: number) => tf.initializers.glorotNormal({ seed });
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 32, activation: 'tanh', inputShape: [2], kernelInitializer: seeded(1) }),
      tf.layers.dense({ units: 1, kernelInitializer: seeded(2) }),
    ],
  });
  model.compile({
    optimizer: hvd.DistributedOptimizer(tf.train.adam(0.01)),
    loss: 'meanSquaredError',
  });
  return model;
}

/** The loss on a grid of points, the same one each time. */
function lossOf(model: tf.LayersModel): number {
  const grid = Array.from({ length: 400 }, (_, i) => [(i % 20) / 9.5 - 1, Math.floor(i / 20) / 9.5 - 1]);
  const loss = model.evaluate(tf.tensor2d(grid), tf.tensor2d(grid.map(([x, y]) => [surface(x!, y!)])));
  return (loss as tf.Scalar).dataSync()[0]!;
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { epochs: { ...text, default: '5' }, checkpoint: { ...text, default: 'resume.checkpoint' } } });
  hvd.init();
  await tf.setBackend('wasm');
  const checkpoint = inFile(values.checkpoint);
  // All ranks begin alike: with what the file holds, or with the same seeds.
  const model = existsSync(values.checkpoint) ? await hvd.loadModel(checkpoint) : newModel();

  // The optimizer has counted its steps.
  const done = model.optimizer.iterations / BATCHES;
  const before = lossOf(model);
  await model.fitDataset(tf.data.generator(points).batch(32), {
    initialEpoch: done,
    epochs: done + Number(values.epochs),
    batchesPerEpoch: BATCHES,
    // Averaged, so that rank 0 judges by the loss of all.
    callbacks: [hvd.callbacks.metricAverage(), hvd.callbacks.bestModelCheckpoint({ url: checkpoint, monitor: 'loss' })],
  });

  const after = lossOf(model);
  console.log(`resume: epochs ${done} to ${done + Number(values.epochs)}, loss ${before.toFixed(5)} to ${after.toFixed(5)}`);
  if (!(after < before)) throw new Error('the loss has not fallen');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
