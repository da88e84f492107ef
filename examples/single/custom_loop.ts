/**
 * A training loop of one's own with tf.variableGrads: a small network of plain variables learns which of two spirals a point lies on.
 *
 *   npx tsx examples/single/custom_loop.ts [--epochs 40]
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

const POINTS = 1024;
const BATCH = 64;

/** The arms of two spirals, one and a half turns, in turn; a label is 0 or 1. */
function makeSpirals(): number[][] {
  return Array.from({ length: POINTS }, (_, i) => {
    const [turn, label] = [Math.sqrt(i / POINTS), i % 2];
    const angle = 3 * Math.PI * turn + Math.PI * label;
    return [turn * Math.cos(angle), turn * Math.sin(angle), label];
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { epochs: { type: 'string', default: '40' } } });
  await tf.setBackend('wasm');
  const weight = (from: number, to: number) => tf.variable(tf.randomNormal([from, to], 0, Math.sqrt(2 / from)));
  const bias = (units: number) => tf.variable(tf.zeros([units]));
  const variables = [weight(2, 32), bias(32), weight(32, 32), bias(32), weight(32, 1), bias(1)];
  const logits = (points: tf.Tensor2D) => {
    const [w1, b1, w2, b2, w3, b3] = variables;
    // Angles are easier to tell from points that lie farther out.
    return points.mul(4).matMul(w1!).add(b1!).relu().matMul(w2!).add(b2!).relu().matMul(w3!).add(b3!);
  };

  // Shuffled by a step that shares no factor with their number.
  const spirals = makeSpirals();
  const points = spirals.map((_, i) => spirals[(i * 389) % POINTS]!);
  const optimizer = tf.train.adam(0.01);
  const losses: number[] = [];
  for (let epoch = 0; epoch < Number(values.epochs); epoch += 1) {
    let loss = 0;
    for (let from = 0; from < points.length; from += BATCH) {
      tf.tidy(() => {
        const batch = tf.tensor2d(points.slice(from, from + BATCH));
        const [xs, labels] = tf.split(batch, [2, 1], 1) as [tf.Tensor2D, tf.Tensor2D];
        const { value, grads } = tf.variableGrads(() => tf.losses.sigmoidCrossEntropy(labels, logits(xs)), variables);
        // Gradients by name, which TensorFlow.js's own types call variables.
        optimizer.applyGradients(grads as Record<string, tf.Variable>);
        loss += (value.dataSync()[0]! * batch.shape[0]) / points.length;
      });
    }
    losses.push(loss);
  }

  const right = spirals.filter(([x, y, label]) =>
    tf.tidy(() => logits(tf.tensor2d([[x!, y!]])).dataSync()[0]! > 0 === (label === 1)),
  ).length;
  console.log(`custom_loop: ${((100 * right) / POINTS).toFixed(1)} % of ${POINTS} points told right`);
  if (!(right > 0.8 * POINTS)) throw new Error(`the spirals were not learnt: losses ${losses.map((loss) => loss.toFixed(3)).join(' ')}`);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
