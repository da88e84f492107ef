/**
 * A tf.data pipeline and fitDataset: prices of houses.
 *
 *   npx tsx examples/single/dataset.ts [--epochs 8]
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

interface House {
  [name: string]: number;
  rooms: number;
  area: number;
  age: number;
  price: number;
}

/** Houses by a formula, with prices that nobody could tell closer than to some 5 %. */
function makeHouses(count: number, seed: number): House[] {
  let state = seed;
  const random = (from: number, to: number) => from + ((to - from) * (state = (state * 48_271) % 2_147_483_647)) / 2_147_483_647;
  return Array.from({ length: count }, () => {
    const [rooms, area, age] = [Math.floor(random(1, 7)), random(30, 200), random(0, 100)];
    return { rooms, area, age, price: (50 + 3 * area + 20 * rooms) * (1 - 0.004 * age) * random(0.9, 1.1) };
  });
}

/** What the network sees: numbers around 0 … 1. */
const toExample = ({ rooms, area, age, price }: House) => ({
  xs: tf.tensor1d([rooms / 7, area / 200, age / 100]),
  ys: tf.tensor1d([price / 500]),
});

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { epochs: { type: 'string', default: '8' } } });
  await tf.setBackend('wasm');
  const houses = tf.data.array(makeHouses(2000, 1));
  const model = tf.sequential({
    layers: [tf.layers.dense({ units: 16, activation: 'relu', inputShape: [3] }), tf.layers.dense({ units: 1 })],
  });
  model.compile({
    optimizer: tf.train.adam(0.01),
    loss: 'meanSquaredError',
  });
  await model.fitDataset(houses.map(toExample).shuffle(200).batch(25), {
    epochs: Number(values.epochs),
  });

  const others = makeHouses(200, 2);
  const prices = model.predict(tf.stack(others.map((house) => toExample(house).xs))) as tf.Tensor;
  const errors = Array.from(prices.dataSync(), (price, i) => Math.abs((500 * price) / others[i]!.price - 1));
  const error = errors.reduce((sum, one) => sum + one, 0) / errors.length;
  console.log(`dataset: prices of ${others.length} other houses told to ${(100 * error).toFixed(1)} %`);
  if (!(error < 0.25)) throw new Error('the prices were not learnt');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
