/** Trains small models of every kind on a backend, each from the same weights on the same data, and writes what came of it. Arguments: backend, folder, [models]. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';
import { type Random, randomOf } from '../helpers/random';

const { layers: L } = tf;
const STEPS = 3;
const BATCH = 4;
const CLASSES = 3;

/** What a model takes: the shape of a sample, and values up to which number. */
interface Case {
  readonly make: () => tf.LayersModel;
  readonly shape: number[];
  readonly below?: number;
}
const sequential = (...layers: tf.layers.Layer[]): tf.LayersModel => tf.sequential({ layers });
const output = (): tf.layers.Layer => L.dense({ units: CLASSES, activation: 'softmax' });
const image = [8, 8, 3];

const cases: Record<string, Case> = {
  mlp: {
    shape: [8],
    make: () => sequential(L.dense({ units: 16, activation: 'relu', inputShape: [8] }), L.dropout({ rate: 0.3, seed: 7 }), output()),
  },
  cnn: {
    shape: image,
    make: () =>
      sequential(
        L.conv2d({ filters: 4, kernelSize: 3, padding: 'same', activation: 'relu', inputShape: [8, 8, 3] }),
        L.maxPooling2d({ poolSize: 2 }),
        L.conv2d({ filters: 4, kernelSize: 3, activation: 'relu' }),
        L.flatten(),
        output(),
      ),
  },
  residual: {
    shape: image,
    make: () => {
      const inputs = tf.input({ shape: image });
      const first = L.conv2d({ filters: 4, kernelSize: 3, padding: 'same' }).apply(inputs) as tf.SymbolicTensor;
      const normal = L.activation({ activation: 'relu' }).apply(L.batchNormalization().apply(first)) as tf.SymbolicTensor;
      const second = L.conv2d({ filters: 4, kernelSize: 3, padding: 'same' }).apply(normal) as tf.SymbolicTensor;
      const pooled = L.globalAveragePooling2d({}).apply(L.add().apply([first, second]));
      return tf.model({ inputs, outputs: output().apply(pooled) as tf.SymbolicTensor });
    },
  },
  depthwise: { shape: image, make: () => sequential(L.depthwiseConv2d({ kernelSize: 3, inputShape: [8, 8, 3] }), L.flatten(), output()) },
  lstm: { shape: [6, 3], make: () => sequential(L.lstm({ units: 5, inputShape: [6, 3] }), output()) },
  embedding: {
    shape: [5],
    below: 10,
    make: () => sequential(L.embedding({ inputDim: 10, outputDim: 4, inputLength: 5 }), L.flatten(), output()),
  },
};

/** From 0 to 1, exclusive. */
const fraction = (random: Random): number => random.below(1024) / 1024;

function samples({ shape, below }: Pick<Case, 'shape' | 'below'>): { x: tf.Tensor; y: tf.Tensor } {
  const random = randomOf(20 + hvd.rank());
  const all = [STEPS * BATCH, ...shape];
  const values = Float32Array.from({ length: tf.util.sizeFromShape(all) }, () => (below ? random.below(below) : fraction(random) - 0.5));
  const classes = Int32Array.from({ length: STEPS * BATCH }, () => random.below(CLASSES));
  return { x: tf.tensor(values, all), y: tf.tidy(() => tf.oneHot(tf.tensor1d(classes, 'int32'), CLASSES).cast('float32')) };
}

/** The same on all ranks and backends. */
function setWeights(model: tf.LayersModel): void {
  const same = randomOf(3);
  tf.tidy(() =>
    model.setWeights(
      model.getWeights().map((w) =>
        tf.tensor(
          Float32Array.from({ length: w.size }, () => fraction(same) * 0.4 + 0.1),
          w.shape,
        ),
      ),
    ),
  );
}

/** Those that are trained: batch norm's moving averages are each rank's own. */
const weightsOf = (model: tf.LayersModel): number[] => model.getWeights(true).flatMap((w) => [...w.dataSync()]);

async function train(one: Case): Promise<{ fitted: number[]; tensors: number[] }> {
  const model = one.make();
  setWeights(model);
  const { x, y } = samples(one);
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.adam(0.01)), loss: 'categoricalCrossentropy' });
  const fit = () => model.fit(x, y, { batchSize: BATCH, epochs: 1, shuffle: false, verbose: 0 });
  await fit();
  const tensors = [tf.memory().numTensors];
  await fit();
  tensors.push(tf.memory().numTensors);
  return { fitted: weightsOf(model), tensors };
}

/** A loop without a model's `fit`. */
function loop(): { fitted: number[]; tensors: number[] } {
  const { x, y } = samples({ shape: [8] });
  const w = tf.variable(tf.fill([8, CLASSES], 0.1));
  const optimizer = hvd.DistributedOptimizer(tf.train.momentum(0.1, 0.9));
  const tensors: number[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const loss = optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, tf.matMul(x as tf.Tensor2D, w)) as tf.Scalar, true)!;
    loss.dispose();
    if (step > 0) tensors.push(tf.memory().numTensors);
  }
  return { fitted: [...w.dataSync()], tensors };
}

async function main(): Promise<void> {
  const [backend, folder, which] = process.argv.slice(2);
  hvd.init();
  const { device } = await hvd.selectBackend(backend as 'webgpu');
  const results: Record<string, { fitted: number[]; tensors: number[] }> = { loop: loop() };
  for (const [name, one] of Object.entries(cases)) if (!which || which.split(',').includes(name)) results[name] = await train(one);
  writeFileSync(path.join(folder!, `${backend}.${hvd.rank()}.json`), JSON.stringify({ device, results }));
}

void main();
