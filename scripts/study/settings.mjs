// What a run of the optimizers' study is: its arguments, which settings have to be the same to go on, what is left to do. Pure; optimizers.mjs does the rest.
import { parseArgs } from 'node:util';

/** In the order in which they run. A test holds the names to `optimizers` of examples/cifar10/network.ts. */
export const OPTIMIZERS = ['sgd', 'momentum', 'nesterov', 'rmsprop', 'adam', 'adagrad', 'nadam'];

/** What is wrong with what the user gave, in one line. */
export class StudyError extends Error {}

const isCount = (value) => Number.isSafeInteger(value) && value >= 1;
const numbers = {
  epochs: [150, isCount, 'a whole number >= 1'],
  until: [undefined, isCount, 'a whole number >= 1'],
  np: [2, isCount, 'a whole number >= 1'],
  'batch-size': [32, isCount, 'a whole number >= 1'],
  images: [undefined, isCount, 'a whole number >= 1'],
  lr: [0.001, (value) => Number.isFinite(value) && value > 0, 'a number > 0'],
  seed: [1, Number.isSafeInteger, 'a whole number'],
};

/**
 * Reads the words after the script's name. `-np` is written as for tsrun.
 * @throws StudyError a word is unknown, or a value is not what it has to be
 */
export function readArguments(words) {
  const text = { type: 'string' };
  const names = [...Object.keys(numbers), 'optimizers', 'data', 'out', 'table'];
  let values;
  try {
    const args = words.map((word) => (word === '-np' ? '--np' : word));
    ({ values } = parseArgs({ args, options: Object.fromEntries(names.map((name) => [name, text])) }));
  } catch (error) {
    throw new StudyError(error.message.split('. ')[0]);
  }
  for (const name of ['data', 'out', 'table'])
    if (values[name] === '') throw new StudyError(`--${name} is the path of a folder, but was empty`);
  if (values.table !== undefined) {
    if (Object.keys(values).length > 1) throw new StudyError('--table DIR prints what DIR holds and takes no other option');
    return { table: values.table };
  }
  const read = Object.fromEntries(
    Object.entries(numbers).map(([name, [standard, isRight, expects]]) => {
      const given = values[name];
      const value = given === undefined ? standard : given.trim() === '' ? Number.NaN : Number(given);
      if (given !== undefined && !isRight(value))
        throw new StudyError(`${name === 'np' ? '-np' : `--${name}`} is ${expects}, but was '${given}'`);
      return [name, value];
    }),
  );
  return {
    optimizers: readOptimizers(values.optimizers),
    epochs: read.epochs,
    until: Math.min(read.until ?? read.epochs, read.epochs),
    ranks: read.np,
    batchSize: read['batch-size'],
    images: read.images,
    learningRate: read.lr,
    seed: read.seed,
    data: values.data,
    out: values.out ?? 'results/study/optimizers',
  };
}

function readOptimizers(given) {
  if (given === undefined) return OPTIMIZERS;
  const names = given.split(',').map((name) => name.trim());
  for (const name of names)
    if (!OPTIMIZERS.includes(name)) throw new StudyError(`--optimizers: '${name}' is none of ${OPTIMIZERS.join(', ')}`);
  return OPTIMIZERS.filter((name) => names.includes(name));
}

/**
 * What determines every bit of the results but the backend. `data`: {trainImages, testImages, sha256} of what is trained on; which optimizers run, and until which epoch for now, are no part of it.
 * @throws StudyError there are fewer images than asked for, or fewer than one step takes
 */
export function settingsOf({ epochs, ranks, batchSize, images, learningRate, seed }, data) {
  if (images !== undefined && data.trainImages < images)
    throw new StudyError(`--images ${images}: there are only ${data.trainImages} images to train on`);
  if (ranks * batchSize > data.trainImages)
    throw new StudyError(
      `-np ${ranks} with --batch-size ${batchSize} takes ${ranks * batchSize} images a step, but there are ${data.trainImages} to train on`,
    );
  return { epochs, ranks, batchSize, learningRate, seed, ...data };
}

/** Where two runs' settings differ, in words; empty: nowhere. */
export function differences(there, here) {
  const names = [...new Set([...Object.keys(there), ...Object.keys(here)])].sort();
  return names.filter((name) => there[name] !== here[name]).map((name) => `${name} is ${there[name]} there and ${here[name]} here`);
}

/**
 * Whether a run may use the folder. `found`: undefined (it is not there, or empty) or the settings that lie in it.
 * @throws StudyError it belongs to another run; the text names both
 */
export function checkFolder(folder, found, settings) {
  if (found === undefined) return;
  const differing = differences(found, settings);
  if (differing.length > 0)
    throw new StudyError(
      `${folder} holds a run with other settings: ${differing.join(', ')}. Repeat the command of that run to go on with it, or give another folder by --out`,
    );
}

/** What is left to do until that epoch, of optimizers whose number of finished epochs is known. */
export function planOf(optimizers, until, done) {
  return optimizers.map((optimizer) => {
    const from = done[optimizer] ?? 0;
    return { optimizer, from, act: from >= until ? 'done' : from > 0 ? 'go on' : 'start' };
  });
}
