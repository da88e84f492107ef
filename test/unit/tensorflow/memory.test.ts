/** A device without memory left: said with what mends it, whichever library says so. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { explained } from '../../../src/tensorflow/backends/memory';

t.test('the words of each library', async (t) => {
  for (const [backend, words, place] of [
    [
      'tensorflow',
      'Invalid TF_Status: 8\nMessage: OOM when allocating tensor with shape[64,3,224,224] and type float',
      /a GPU or the host/,
    ],
    ['tensorflow', 'Invalid TF_Status: 8\nMessage: RESOURCE_EXHAUSTED: failed to allocate memory', /a GPU or the host/],
    ['webgpu', 'Error: Out of memory: vkAllocateMemory failed', /on its GPU/],
    ['wasm', 'Aborted(Cannot enlarge memory arrays to size 4294967296 bytes)', /in its heap/],
  ] as const) {
    const error = explained(new Error(words), backend) as Error;
    t.match(error, { code: 'ERR_HVD_BACKEND', message: place, cause: { message: words } });
    t.match(error.message, words.split('\n').at(-1)!.slice(-30));
    t.match(error.message, /smaller batch/);
  }
});

t.test('other errors stay as they are', async (t) => {
  for (const error of [new Error('shapes do not match'), undefined, 'OOM when allocating', null]) t.equal(explained(error, 'wasm'), error);
});

t.test('from the loss of a wrapped optimizer, and from variableGrads', async (t) => {
  await hvd.init();
  await hvd.selectBackend('cpu');
  const x = tf.variable(tf.scalar(1));
  const loss = (): tf.Scalar => {
    throw new Error('Message: OOM when allocating tensor');
  };
  const optimizer = hvd.DistributedOptimizer(tf.train.sgd(0.1));
  t.throws(() => optimizer.minimize(loss, false, [x]), { code: 'ERR_HVD_BACKEND', message: /'cpu' has no memory left/ });
  t.throws(() => hvd.variableGrads(loss, [x]), { code: 'ERR_HVD_BACKEND' });
  x.dispose();
  optimizer.dispose();
  hvd.shutdown();
});
