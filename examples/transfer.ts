/**
 * Transfer learning: a network learns to tell six waveforms; then its layers are frozen, and a new last layer learns to tell three others from few recordings.
 *
 *   npx tsrun -np 2 examples/transfer.ts
 */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import * as hvd from 'khorovod';

const SAMPLES = 48;
type Wave = (phase: number) => number;

/** Phases are periods: 0 … 1. */
const BASE_WAVES: Wave[] = [
  (p) => Math.sin(2 * Math.PI * p),
  (p) => (p < 0.5 ? 1 : -1),
  (p) => 2 * p - 1,
  (p) => 4 * Math.abs(p - 0.5) - 1,
  (p) => (p < 0.2 ? 1 : -0.25),
  (p) => Math.abs(Math.sin(2 * Math.PI * p)),
];
const NEW_WAVES: Wave[] = [
  (p) => 1 - 2 * p,
  (p) => (p < 0.8 ? 0.25 : -1),
  (p) => Math.sin(2 * Math.PI * p) + 0.7 * Math.sin(6 * Math.PI * p),
];

interface Recording {
  samples: number[];
  label: number;
}

/** Two periods or three, from anywhere, louder and softer, with noise. */
function record(waves: Wave[], count: number, seed: number): Recording[] {
  let state = seed;
  const random = (from: number, to: number) => from + ((to - from) * (state = (state * 48_271) % 2_147_483_647)) / 2_147_483_647;
  return Array.from({ length: count }, (_, i) => {
    const label = i % waves.length;
    const [start, periods, volume] = [random(0, 1), random(2, 3), random(0.5, 1.5)];
    const samples = Array.from(
      { length: SAMPLES },
      (_, k) => volume * waves[label]!((start + (periods * k) / SAMPLES) % 1) + random(-0.1, 0.1),
    );
    return { samples, label };
  });
}

/** Trains what is not frozen, and returns the share of `test` that is told right. */
async function train(model: tf.LayersModel, recordings: Recording[], test: Recording[], epochs: number): Promise<number> {
  const tensors = (list: Recording[]) =>
    [tf.tensor2d(list.map(({ samples }) => samples)), tf.tensor1d(list.map(({ label }) => label))] as const;
  const [xs, ys] = tensors(recordings.filter((_, i) => i % hvd.size() === hvd.rank()));
  model.compile({
    optimizer: hvd.DistributedOptimizer(tf.train.adam(0.005)),
    loss: 'sparseCategoricalCrossentropy',
    metrics: ['accuracy'],
  });
  await model.fit(xs, ys, {
    epochs,
    batchSize: 16,
    callbacks: hvd.callbacks.broadcastGlobalVariables(),
  });
  const [, accuracy] = model.evaluate(...tensors(test)) as tf.Scalar[];
  return accuracy!.dataSync()[0]!;
}

async function main(): Promise<void> {
  hvd.init();
  await tf.setBackend('wasm');
  const last = (units: number) => tf.layers.dense({ units, activation: 'softmax' });
  const base = [
    tf.layers.dense({ units: 64, activation: 'relu', inputShape: [SAMPLES] }),
    tf.layers.dense({ units: 32, activation: 'relu' }),
  ];
  const all = tf.sequential({ layers: [...base, last(BASE_WAVES.length)] });
  const before = await train(all, record(BASE_WAVES, 2400, 1), record(BASE_WAVES, 600, 2), 12);

  for (const layer of base) layer.trainable = false;
  const frozen = base[0]!.getWeights()[0]!.dataSync();
  const model = tf.sequential({ layers: [...base, last(NEW_WAVES.length)] });
  const after = await train(model, record(NEW_WAVES, 240, 3), record(NEW_WAVES, 600, 4), 30);

  const isFrozen = base[0]!
    .getWeights()[0]!
    .dataSync()
    .every((weight, i) => weight === frozen[i]);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  console.log(`transfer: ${percent(before)} of six waveforms, ${percent(after)} of three others told right from 240 recordings`);
  if (!(isFrozen && before > 0.8 && after > 0.6))
    throw new Error(isFrozen ? 'the waveforms were not learnt' : 'the frozen layers have moved');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
