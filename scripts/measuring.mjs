// What the measuring scripts share: medians, how sizes and times are written, and the study's network with a batch for it.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Of an even number of figures the upper of the two in the middle. */
export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

export const sizeText = (bytes) => (bytes >= 1 << 20 ? `${bytes / 2 ** 20} MiB` : bytes >= 1024 ? `${bytes / 1024} KiB` : `${bytes} B`);
export const timeText = (us) => (us >= 1000 ? `${(us / 1000).toFixed(us >= 10_000 ? 1 : 2)} ms` : `${us.toFixed(us >= 10 ? 0 : 1)} µs`);

/** The network, its images and labels, on the backend that is in use. */
export async function studyTraining(tf, batch) {
  const { cifarNetwork } = (await import(path.join(root, 'dist/examples/cifar10/network.js'))).default;
  const { CLASSES, IMAGE_ELEMS, makeGratings, SIDE } = (await import(path.join(root, 'dist/examples/cifar10/data.js'))).default;
  const { pixels, labels } = makeGratings(batch, 1);
  const xs = tf.tensor4d(
    Float32Array.from(pixels, (value) => value / 128 - 1),
    [batch, SIDE, SIDE, IMAGE_ELEMS / (SIDE * SIDE)],
  );
  const ys = tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES).toFloat();
  return { model: cifarNetwork(1), xs, ys };
}
