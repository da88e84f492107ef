/**
 * A recurrent network with embeddings learns to continue a text, letter by letter.
 *
 *   npx tsx examples/single/lstm.ts [--epochs 4]
 *
 * The text counts: one two three … ninety-nine one two three …
 */
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';

const ONES = 'one two three four five six seven eight nine'.split(' ');
const TEENS = 'ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(' ');
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const TEXT = [...ONES, ...TEENS, ...TENS.flatMap((ten) => [ten, ...ONES.map((one) => `${ten}-${one}`)])].join(' ');
const LETTERS = [...new Set(TEXT)].sort();
const CODES = [...TEXT].map((letter) => LETTERS.indexOf(letter));
/** Letters that the network sees before it tells the next one. */
const PASSAGE = 8;

interface Passage {
  [name: string]: tf.TensorContainer;
  xs: number[];
  ys: number;
}

/** Passages from anywhere in the text, for ever. */
function* passages(): Generator<Passage> {
  while (true) {
    const from = Math.floor(Math.random() * (CODES.length - PASSAGE));
    yield { xs: CODES.slice(from, from + PASSAGE), ys: CODES[from + PASSAGE]! };
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { epochs: { type: 'string', default: '4' } } });
  const model = tf.sequential({
    layers: [
      tf.layers.embedding({ inputDim: LETTERS.length, outputDim: 8, inputLength: PASSAGE }),
      // The default initializer, orthogonal, is slow.
      tf.layers.lstm({ units: 32, recurrentInitializer: 'glorotNormal' }),
      tf.layers.dense({ units: LETTERS.length, activation: 'softmax' }),
    ],
  });
  model.compile({
    optimizer: tf.train.adam(0.02),
    loss: 'sparseCategoricalCrossentropy',
  });
  const { history } = await model.fitDataset(tf.data.generator(passages).batch(32), {
    epochs: Number(values.epochs),
    batchesPerEpoch: 40,
  });

  const losses = history.loss as number[];
  console.log(
    `lstm: ${LETTERS.length} letters, loss ${losses[0]!.toFixed(3)} in the first epoch, ${losses.at(-1)!.toFixed(3)} in the last`,
  );
  if (!(losses.at(-1)! < 0.6 * losses[0]!)) throw new Error('the text was not learnt');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
