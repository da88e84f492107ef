/** Ends in one of the ways in which a program ends. Arguments: the backend, the way; a GPU is lost on webgpu only. */
import * as tf from '@tensorflow/tfjs';
import * as hvd from '../../src/index';

const ways: Record<string, () => unknown> = {
  naturally: () => {},
  exit: () => process.exit(3),
  'exit in a handler': () => {
    process.on('exit', () => process.exit(4));
  },
  'exit while the device works': () => {
    for (let i = 0; i < 20; i += 1) tf.matMul(tf.ones([256, 256]), tf.ones([256, 256]));
    void tf.matMul(tf.ones([256, 256]), tf.ones([256, 256])).data();
    process.exit(5);
  },
  'a timer that reads': () =>
    setTimeout(() => {
      process.exitCode = tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])).dataSync()[0] === 64 ? 6 : 1;
    }, 100),
  'an awaited read': async () => {
    const [value] = await tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])).data();
    process.exitCode = value === 64 ? 7 : 1;
  },
  'a rejection': () => Promise.reject(new Error('my bug')),
  'a lost GPU': () => {
    const product = tf.matMul(tf.ones([64, 64]), tf.ones([64, 64]));
    (tf.backend() as unknown as { device: { destroy(): void } }).device.destroy();
    try {
      product.dataSync();
    } catch (error) {
      process.exitCode = (error as { code?: string }).code === 'ERR_HVD_BACKEND' ? 8 : 1;
    }
  },
};

async function main(): Promise<void> {
  hvd.init();
  const [backend, way] = process.argv.slice(2);
  await hvd.selectBackend(backend as 'webgpu');
  // Kernels have run, and been read within this turn of the loop.
  if (hvd.allreduce(tf.matMul(tf.ones([64, 64]), tf.ones([64, 64]))).dataSync()[0] !== 64) throw new Error('a wrong product');
  await ways[way!]!();
}

void main();
