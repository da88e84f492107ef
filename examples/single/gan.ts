/**
 * A generative adversarial network with two optimizers: the generator learns where real points lie.
 *
 *   npx tsx examples/single/gan.ts [--steps 300]
 *
 * A loop of one's own has to free its tensors: the program holds itself to a constant number of them.
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

const NOISE = 4;
const BATCH = 64;
/** Where the real points lie. */
const CENTRE = [2, -1];
const SPREAD = 0.5;

function realPoints(): tf.Tensor2D {
  return tf.randomNormal([BATCH, 2], 0, SPREAD).add(tf.tensor1d(CENTRE));
}

function network(inputs: number, outputs: number): tf.Sequential {
  const hidden = { units: 16, activation: 'tanh' } as const;
  return tf.sequential({
    layers: [tf.layers.dense({ ...hidden, inputShape: [inputs] }), tf.layers.dense(hidden), tf.layers.dense({ units: outputs })],
  });
}

/** How far the discriminator's verdicts are from `isReal`. */
function lossOf(verdicts: tf.Tensor, isReal: boolean): tf.Scalar {
  return tf.losses.sigmoidCrossEntropy(isReal ? tf.onesLike(verdicts) : tf.zerosLike(verdicts), verdicts);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { steps: { type: 'string', default: '300' } } });
  await tf.setBackend('wasm');
  const generator = network(NOISE, 2);
  const discriminator = network(2, 1);
  const generatorOptimizer = tf.train.adam(3e-3, 0.5);
  const discriminatorOptimizer = tf.train.adam(6e-3, 0.5);
  const generatorWeights = generator.getWeights(true) as tf.Variable[];
  const discriminatorWeights = discriminator.getWeights(true) as tf.Variable[];

  const generate = () => generator.apply(tf.randomNormal([BATCH, NOISE])) as tf.Tensor2D;
  const judge = (points: tf.Tensor2D) => discriminator.apply(points) as tf.Tensor;
  let tensors = 0;
  for (let step = 1; step <= Number(values.steps); step += 1) {
    tf.tidy(() => {
      const [real, made] = [realPoints(), generate()];
      // Each optimizer moves its own variables only.
      discriminatorOptimizer.minimize(() => lossOf(judge(real), true).add(lossOf(judge(made), false)), false, discriminatorWeights);
      generatorOptimizer.minimize(() => lossOf(judge(generate()), true), false, generatorWeights);
    });
    // The first step makes the optimizers' variables.
    if (step === 1) tensors = tf.memory().numTensors;
    if (tf.memory().numTensors !== tensors) throw new Error(`step ${step}: ${tf.memory().numTensors} tensors, after the first ${tensors}`);
  }

  const made = generator.predict(tf.randomNormal([1000, NOISE], 0, 1, 'float32', 7)) as tf.Tensor2D;
  const { mean, variance } = tf.moments(made, 0);
  const [x, y] = mean.dataSync();
  const [spreadX, spreadY] = variance.sqrt().dataSync();
  console.log(
    `gan: ${tensors} tensors, points around (${x!.toFixed(2)}, ${y!.toFixed(2)}), spread (${spreadX!.toFixed(2)}, ${spreadY!.toFixed(2)})`,
  );
  if (!(Math.hypot(x! - CENTRE[0]!, y! - CENTRE[1]!) < 1)) throw new Error('where the points lie was not learnt');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
