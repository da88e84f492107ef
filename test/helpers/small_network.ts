/** A small convolutional network without dropout, and batches for it: the same numbers for the same arguments in every process. */
import * as tf from '@tensorflow/tfjs';

const SIDE = 8;
const CLASSES = 3;

export function smallNetwork(seed: number): tf.Sequential {
  const kernelInitializer = (n: number) => tf.initializers.glorotUniform({ seed: seed * 10 + n });
  return tf.sequential({
    layers: [
      tf.layers.conv2d({
        filters: 4,
        kernelSize: 3,
        padding: 'same',
        activation: 'relu',
        kernelInitializer: kernelInitializer(1),
        inputShape: [SIDE, SIDE, 1],
      }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.conv2d({ filters: 4, kernelSize: 3, padding: 'same', activation: 'relu', kernelInitializer: kernelInitializer(2) }),
      tf.layers.flatten(),
      tf.layers.dense({ units: CLASSES, activation: 'softmax', kernelInitializer: kernelInitializer(3) }),
    ],
  });
}

/** Images `from` … `from + count − 1` of an endless row. */
export function smallBatch(from: number, count: number): { xs: tf.Tensor4D; ys: tf.Tensor2D } {
  const elems = SIDE * SIDE;
  const xs = new Float32Array(count * elems);
  const ys = new Float32Array(count * CLASSES);
  for (let i = 0; i < count; i += 1) {
    const label = (from + i) % CLASSES;
    for (let k = 0; k < elems; k += 1) xs[i * elems + k] = Math.sin((from + i) * 17.3 + k * (label + 1) * 0.7);
    ys[i * CLASSES + label] = 1;
  }
  return { xs: tf.tensor4d(xs, [count, SIDE, SIDE, 1]), ys: tf.tensor2d(ys, [count, CLASSES]) };
}

export async function trainStep(model: tf.LayersModel, from: number, count: number): Promise<number> {
  const { xs, ys } = smallBatch(from, count);
  const loss = (await model.trainOnBatch(xs, ys)) as number;
  tf.dispose([xs, ys]);
  return loss;
}

/** All weights, one behind the other. */
export function weightsOf(model: tf.LayersModel): Float32Array {
  const parts = model.getWeights().map((weight) => weight.dataSync() as Float32Array);
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
export const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value - b[i]!)), 0);
