/**
 * Trains by parameter servers what shows every push: a variable with a row for each rank, SGD of rate 1, and a gradient of ones in this rank's own row, so that a row counts the pushes of its rank. The
 * optimizer is DistributedOptimizer, unchanged: --strategy says what it does.
 * Arguments: folder, steps, and words: `hold=R:S` (after step S rank R says `held-R` and waits for `go`), `leave=R:S` (it leaves after that step), `fail=R` (it throws before its first step), `never=R` (it does
 * not come to its first step), `delays` (random ones before each step), `exclaims` (each step is told as `step-R`), `without=R` (nobody waits for rank R at the end), `deaf` (SIGTERM does not end it). What came of it is written as `result-R`: the rows as this rank saw them at the beginning of
 * each of its steps, those at the end (when every rank that comes to its end has), or its error.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';
import { put } from '../helpers/put';
import { randomOf } from '../helpers/random';

const [folder = '', stepsText = '1', ...words] = process.argv.slice(2);
const steps = Number(stepsText);
/** More than two servers' least pieces: a row in the middle lies on both. */
const COLUMNS = 40_000;
const isMeant = (name: string, step?: number): boolean => words.includes(`${name}=${rank}${step === undefined ? '' : `:${step}`}`);
const sleep = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
const awaitFile = (name: string): void => {
  while (!existsSync(path.join(folder, name))) sleep(10);
};

if (words.includes('deaf')) process.on('SIGTERM', () => {});
hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const random = randomOf(1 + rank);
const seen: Array<Array<[number, number]>> = [];

async function main(): Promise<void> {
  await hvd.selectBackend('cpu');
  const variable = tf.variable(tf.zeros([size, COLUMNS]));
  const ones = tf.tidy(() => tf.concat(Array.from({ length: size }, (_, row) => tf.fill([1, COLUMNS], Number(row === rank)))));
  const ownRow = tf.customGrad(() => ({ value: tf.scalar(0), gradFunc: () => ones.clone() }));
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(1));
  /** Fewest and most pushes that the elements of each row have seen. */
  const rows = (): Array<[number, number]> => {
    const values = variable.dataSync() as Float32Array;
    return Array.from({ length: size }, (_, row) => {
      const counts = values.subarray(row * COLUMNS, (row + 1) * COLUMNS);
      return [-counts.reduce((a, b) => Math.max(a, b)), -counts.reduce((a, b) => Math.min(a, b))];
    });
  };
  if (isMeant('fail')) throw new Error('no data');
  if (isMeant('never')) awaitFile('go');
  for (let step = 1; step <= steps; step += 1) {
    if (words.includes('delays')) sleep(random.below(8));
    optimizer.minimize(
      () => {
        seen.push(rows());
        return ownRow(variable) as tf.Scalar;
      },
      false,
      [variable],
    );
    if (words.includes('exclaims')) put(folder, `step-${rank}`, String(step));
    if (isMeant('hold', step)) {
      put(folder, `held-${rank}`, String(process.pid));
      awaitFile('go');
    }
    if (isMeant('leave', step)) return;
  }
  put(folder, `done-${rank}`, '');
  for (let other = 0; other < size; other += 1) if (!words.includes(`without=${other}`)) awaitFile(`done-${other}`);
  // A push of nothing brings what is there.
  optimizer.applyGradients([{ name: variable.name, tensor: tf.zeros([size, COLUMNS]) }]);
  put(folder, `result-${rank}`, JSON.stringify({ seen, end: rows() }));
}

main().catch((error) => {
  const { code, name, message, peer } = error as hvd.HvdError & { peer?: number };
  put(folder, `result-${rank}`, JSON.stringify({ seen, error: { code, name, message, peer } }));
  throw error;
});
