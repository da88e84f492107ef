/** The images of the CIFAR-10 example: what is read, what is refused, how they are shared out, and that the made set is no linear matter. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import {
  CLASSES,
  DataError,
  IMAGE_ELEMS,
  type Images,
  makeGratings,
  parseBatch,
  readCifar10,
  seeded,
  shardOf,
  shuffled,
} from '../../../examples/cifar10/data';

const RECORD = 1 + IMAGE_ELEMS;
/** Label, then three planes: red counts up by 1, green by 2, blue by 3 a pixel. */
function record(label: number): Uint8Array {
  const bytes = new Uint8Array(RECORD);
  bytes[0] = label;
  for (let c = 0; c < 3; c += 1) for (let p = 0; p < 1024; p += 1) bytes[1 + c * 1024 + p] = (p * (c + 1)) & 255;
  return bytes;
}
const records = (...labels: number[]): Uint8Array => Buffer.concat(labels.map(record));

t.test('planes become pixels, channels last', async (t) => {
  const { pixels, labels, count } = parseBatch(records(3, 9), 'x.bin');
  t.same([count, [...labels]], [2, [3, 9]]);
  for (const image of [0, 1])
    for (const p of [0, 1, 100, 1023])
      t.same(
        [...pixels.subarray(image * IMAGE_ELEMS + p * 3, image * IMAGE_ELEMS + p * 3 + 3)],
        [1, 2, 3].map((by) => (p * by) & 255),
      );
});

t.test('a truncated, an empty and a foreign file are refused by name', async (t) => {
  t.throws(() => parseBatch(records(1, 2).subarray(0, RECORD + 17), 'cut.bin'), { message: /cut\.bin has 3090 bytes.*truncated/ });
  t.throws(() => parseBatch(new Uint8Array(0), 'empty.bin'), { message: /empty\.bin has 0 bytes/ });
  t.throws(() => parseBatch(records(1, 10), 'foreign.bin'), { message: /foreign\.bin: record 1 has the label 10/ });
  t.ok(t.throws(() => parseBatch(records(255), 'x')) instanceof DataError);
});

t.test('a folder: batches of any number of records in order; what is missing is said', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-cifar-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  t.throws(() => readCifar10(path.join(folder, 'nowhere')), { message: /nowhere cannot be read/ });
  t.throws(() => readCifar10(folder), { message: /holds no data_batch_N\.bin/ });
  writeFileSync(path.join(folder, 'data_batch_2.bin'), records(4, 5, 6));
  writeFileSync(path.join(folder, 'data_batch_1.bin'), records(1));
  t.throws(() => readCifar10(folder), { message: /holds no test_batch\.bin/ });
  writeFileSync(path.join(folder, 'test_batch.bin'), records(7, 8));
  const { train, test } = readCifar10(folder);
  t.same(
    [[...train.labels], [...test.labels]],
    [
      [1, 4, 5, 6],
      [7, 8],
    ],
  );
  writeFileSync(path.join(folder, 'data_batch_1.bin'), records(1).subarray(1));
  t.throws(() => readCifar10(folder), { message: /data_batch_1\.bin has 3072 bytes/ });
});

t.test('shards: every size-th image, equally many on all ranks, none twice', async (t) => {
  const images: Images = {
    count: 7,
    labels: Uint8Array.from([0, 1, 2, 3, 4, 5, 6]),
    pixels: new Uint8Array(7 * IMAGE_ELEMS).map((_, i) => Math.floor(i / IMAGE_ELEMS)),
  };
  t.same(
    [0, 1, 2].map((rank) => [...shardOf(images, rank, 3).labels]),
    [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
  );
  const last = shardOf(images, 2, 3);
  t.same([last.count, last.pixels[0], last.pixels[IMAGE_ELEMS]], [2, 2, 5]);
});

t.test('the same seed makes the same images and order', async (t) => {
  const differ = (a: number, b: number): number => Buffer.compare(makeGratings(20, a).pixels, makeGratings(20, b).pixels);
  t.equal(differ(1, 1), 0);
  t.not(differ(1, 2), 0);
  const order = shuffled(100, seeded(3));
  t.same(order, shuffled(100, seeded(3)));
  t.same(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

t.test('gratings: the mean images of all classes are the same grey, so that no linear model tells them apart', async (t) => {
  const { pixels, labels, count } = makeGratings(4000, 1);
  const means = Array.from({ length: CLASSES }, () => new Float64Array(IMAGE_ELEMS));
  for (let i = 0; i < count; i += 1) {
    const mean = means[labels[i]!]!;
    for (let k = 0; k < IMAGE_ELEMS; k += 1) mean[k]! += pixels[i * IMAGE_ELEMS + k]! / (count / CLASSES);
  }
  // A linear model sees a class only by its mean. A pixel's standard deviation is about 40, so a mean of 400 strays by 2 and the mean of all pixels by far less.
  const whole = means.map((mean) => mean.reduce((sum, value) => sum + value, 0) / IMAGE_ELEMS);
  for (const value of whole) t.ok(Math.abs(value - 128) < 3, `mean grey ${value}`);
  for (const mean of means) {
    const spread = Math.sqrt(mean.reduce((sum, value, k) => sum + (value - means[0]![k]!) ** 2, 0) / IMAGE_ELEMS);
    t.ok(spread < 6, `root mean square distance of two mean images: ${spread}`);
  }
});
