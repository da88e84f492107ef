/**
 * Handwritten digits with model.fit.
 *
 *   npx tsx examples/single/mnist.ts [--epochs 3] [--data FOLDER]
 *
 * --data: a folder with MNIST's files (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-…). Without it digits are drawn by a formula.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const CLASSES = 10;

interface Digit {
  /** 0 … 255, row by row. */
  pixels: Uint8Array;
  label: number;
}

/** IDX files (yann.lecun.com/exdb/mnist): a head of 16 bytes and the pixels; a head of 8 bytes and the labels. */
function readDigits(folder: string, set: 'train' | 't10k'): Digit[] {
  const images = readFileSync(path.join(folder, `${set}-images-idx3-ubyte`)).subarray(16);
  const labels = readFileSync(path.join(folder, `${set}-labels-idx1-ubyte`)).subarray(8);
  return Array.from(labels, (label, i) => ({ pixels: images.subarray(i * PIXELS, (i + 1) * PIXELS), label }));
}

/** Lines of a seven-segment display, from (x, y) to (x, y), and which of them each digit lights. */
const SEGMENTS = ['0010', '1011', '1112', '0212', '0102', '0001', '0111'].map((ends) => [...ends].map(Number));
const LIT = ['012345', '12', '01346', '01236', '1256', '02356', '023456', '012', '0123456', '012356'];

/** Digits somewhere in the image, larger and smaller, leaning, with noise. */
function makeDigits(count: number, seed: number): Digit[] {
  let state = seed;
  const random = (from: number, to: number) => from + ((to - from) * (state = (state * 48_271) % 2_147_483_647)) / 2_147_483_647;
  return Array.from({ length: count }, (_, i) => {
    const label = i % CLASSES;
    const pixels = Uint8Array.from({ length: PIXELS }, () => random(0, 60));
    const [left, top, size, lean] = [random(6, 11), random(3, 7), random(7, 10), random(-0.2, 0.2)];
    for (const [x0, y0, x1, y1] of [...LIT[label]!].map((lit) => SEGMENTS[Number(lit)]!)) {
      for (let step = 0; step <= 1; step += 0.05) {
        const y = top + size * (y0! + (y1! - y0!) * step);
        const x = left + size * (x0! + (x1! - x0!) * step) + lean * (14 - y);
        for (const [dx, dy] of [
          [0, 0],
          [1, 0],
          [0, 1],
          [1, 1],
        ])
          pixels[Math.floor(y + dy!) * SIDE + Math.floor(x + dx!)] = random(190, 255);
      }
    }
    return { pixels, label };
  });
}

function toTensors(digits: Digit[]): { xs: tf.Tensor2D; ys: tf.Tensor2D } {
  const values = new Float32Array(digits.length * PIXELS);
  for (const [i, { pixels }] of digits.entries()) values.set(pixels, i * PIXELS);
  const labels = digits.map(({ label }) => label);
  return tf.tidy(() => ({
    xs: tf.tensor2d(values, [digits.length, PIXELS]).div(255),
    ys: tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES).toFloat() as tf.Tensor2D,
  }));
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { epochs: { type: 'string', default: '3' }, data: { type: 'string' } } });
  await tf.setBackend('wasm');
  const sets = values.data
    ? [readDigits(values.data, 'train'), readDigits(values.data, 't10k')]
    : [makeDigits(4000, 1), makeDigits(1000, 2)];
  const [train, test] = sets.map((digits) => toTensors(digits));

  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 64, activation: 'relu', inputShape: [PIXELS] }),
      tf.layers.dropout({ rate: 0.1 }),
      tf.layers.dense({ units: CLASSES, activation: 'softmax' }),
    ],
  });
  model.compile({
    optimizer: tf.train.adam(1e-3),
    loss: 'categoricalCrossentropy',
    metrics: ['accuracy'],
  });
  const { history } = await model.fit(train!.xs, train!.ys, {
    epochs: Number(values.epochs),
    batchSize: 32,
    validationData: [test!.xs, test!.ys],
  });

  const accuracy = Number(history.val_acc!.at(-1));
  console.log(`mnist: ${sets[0]!.length} digits, accuracy on ${sets[1]!.length} others ${(100 * accuracy).toFixed(2)} %`);
  if (!(accuracy > 0.85)) throw new Error('the digits were not learnt');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
