/**
 * Images for the CIFAR-10 example: the official binary files, or a labelled set of our own.
 *
 * Binary version (cs.toronto.edu/~kriz/cifar.html): records of 3073 bytes, a label 0 … 9 and 3 × 1024 bytes: the red, green and blue planes of 32 × 32 pixels, row by row.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export const SIDE = 32;
export const CHANNELS = 3;
export const CLASSES = 10;
const PIXELS = SIDE * SIDE;
export const IMAGE_ELEMS = PIXELS * CHANNELS;
const RECORD_BYTES = 1 + IMAGE_ELEMS;

export interface Images {
  /** Channels last, 0 … 255. */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
  readonly count: number;
}
export interface DataSet {
  readonly train: Images;
  readonly test: Images;
}

/** What is wrong with the data, in one line for the user. */
export class DataError extends Error {}

/** `data_batch_*.bin` and `test_batch.bin` of a folder, any number of records each. @throws DataError it cannot be read, or is something else */
export function readCifar10(folder: string): DataSet {
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch (error) {
    throw new DataError(`the data folder ${folder} cannot be read: ${(error as Error).message}`);
  }
  const batches = names.filter((name) => /^data_batch_\d+\.bin$/.test(name));
  if (batches.length === 0) throw new DataError(`${folder} holds no data_batch_N.bin: it is not the binary version of CIFAR-10`);
  if (!names.includes('test_batch.bin')) throw new DataError(`${folder} holds no test_batch.bin`);
  return {
    train: concatenate(batches.map((name) => readBatch(path.join(folder, name)))),
    test: readBatch(path.join(folder, 'test_batch.bin')),
  };
}

function readBatch(file: string): Images {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new DataError(`${file} cannot be read: ${(error as Error).message}`);
  }
  return parseBatch(bytes, file);
}

/** @throws DataError the bytes are no whole number of records, or a label is no class */
export function parseBatch(bytes: Uint8Array, file: string): Images {
  const count = bytes.length / RECORD_BYTES;
  if (!Number.isInteger(count) || count === 0) {
    throw new DataError(`${file} has ${bytes.length} bytes, no multiple of ${RECORD_BYTES}: it is truncated, or no CIFAR-10 binary file`);
  }
  const pixels = new Uint8Array(count * IMAGE_ELEMS);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i += 1) {
    const from = i * RECORD_BYTES;
    labels[i] = bytes[from]!;
    if (labels[i]! >= CLASSES)
      throw new DataError(
        `${file}: record ${i} has the label ${labels[i]}, but labels are 0 to ${CLASSES - 1}: it is no CIFAR-10 binary file`,
      );
    for (let p = 0; p < PIXELS; p += 1) {
      for (let c = 0; c < CHANNELS; c += 1) pixels[i * IMAGE_ELEMS + p * CHANNELS + c] = bytes[from + 1 + c * PIXELS + p]!;
    }
  }
  return { pixels, labels, count };
}

function concatenate(parts: readonly Images[]): Images {
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const pixels = new Uint8Array(count * IMAGE_ELEMS);
  const labels = new Uint8Array(count);
  let at = 0;
  for (const part of parts) {
    pixels.set(part.pixels, at * IMAGE_ELEMS);
    labels.set(part.labels, at);
    at += part.count;
  }
  return { pixels, labels, count };
}

/** mulberry32: numbers in [0, 1), the same everywhere for one seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Gratings: a class is an orientation (five) and a width (two). Phase, both colours and which of them comes first are random, so that the mean image of every class is the same grey and
 * no linear model can tell the classes; three small convolutions can.
 */
export function makeGratings(count: number, seed: number): Images {
  const random = seeded(seed);
  const pixels = new Uint8Array(count * IMAGE_ELEMS);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i += 1) {
    const label = i % CLASSES;
    labels[i] = label;
    const angle = ((label % 5) * Math.PI) / 5 + (random() - 0.5) * 0.25;
    const period = (label < 5 ? 4 : 8) * (0.9 + 0.2 * random());
    const phase = random() * 2 * Math.PI;
    const [dx, dy] = [(Math.cos(angle) * 2 * Math.PI) / period, (Math.sin(angle) * 2 * Math.PI) / period];
    const middle = Array.from({ length: CHANNELS }, () => 96 + 64 * random());
    const swing = Array.from({ length: CHANNELS }, () => (random() < 0.5 ? -1 : 1) * (15 + 45 * random()));
    for (let y = 0; y < SIDE; y += 1) {
      for (let x = 0; x < SIDE; x += 1) {
        const wave = Math.sin(x * dx + y * dy + phase);
        const at = i * IMAGE_ELEMS + (y * SIDE + x) * CHANNELS;
        for (let c = 0; c < CHANNELS; c += 1)
          pixels[at + c] = Math.max(0, Math.min(255, middle[c]! + swing[c]! * wave + (random() - 0.5) * 80));
      }
    }
  }
  return { pixels, labels, count };
}

/** Every `size`-th image from `rank` on, cut so that all ranks have equally many. */
export function shardOf(images: Images, rank: number, size: number): Images {
  const count = Math.floor(images.count / size);
  const pixels = new Uint8Array(count * IMAGE_ELEMS);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i += 1) {
    const from = i * size + rank;
    pixels.set(images.pixels.subarray(from * IMAGE_ELEMS, (from + 1) * IMAGE_ELEMS), i * IMAGE_ELEMS);
    labels[i] = images.labels[from]!;
  }
  return { pixels, labels, count };
}

/** Indices 0 … count−1 in a random order. */
export function shuffled(count: number, random: () => number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
