/** The images of a run, and what tells them from others. Runs in the driver and in every rank; loads no TensorFlow. */
import { createHash } from 'node:crypto';
import { DataError, type DataSet, IMAGE_ELEMS, type Images, makeGratings, readCifar10 } from '../../examples/cifar10/data';

export { DataError };

const MADE = { train: 4000, test: 1000 };

/** @param folder of CIFAR-10's binary files; undefined: gratings made from the seed. @param count of images to train on, the first ones; undefined: all. @throws DataError the folder is no such */
export function studyData(folder: string | undefined, count: number | undefined, seed: number): DataSet {
  const { train, test } = folder
    ? readCifar10(folder)
    : { train: makeGratings(MADE.train, seed), test: makeGratings(MADE.test, seed + 1_000_003) };
  return { train: firstOf(train, count ?? train.count), test };
}

function firstOf({ pixels, labels, count }: Images, most: number): Images {
  const kept = Math.min(count, most);
  return { pixels: pixels.subarray(0, kept * IMAGE_ELEMS), labels: labels.subarray(0, kept), count: kept };
}

/** Numbers of images, and a digest of all pixels and labels in their order: a folder may be moved, another one is another run. */
export function identityOf({ train, test }: DataSet): { trainImages: number; testImages: number; sha256: string } {
  const hash = createHash('sha256');
  for (const { pixels, labels } of [train, test]) hash.update(pixels).update(labels);
  return { trainImages: train.count, testImages: test.count, sha256: hash.digest('hex') };
}
