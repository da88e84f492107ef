/** Reading many tensors at once, as from a GPU: what goes together, and that each gets its own values. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { bulkReader, runsOf } from '../../../src/tensorflow/backends/tfjs_node/read';

t.test('neighbours of one dtype go together, as many as there is room for', async (t) => {
  const float = (size: number) => ({ size, dtype: 'float32' });
  t.same(runsOf([], 10), []);
  t.same(runsOf([float(4), float(6), float(1)], 10), [
    [0, 2],
    [2, 3],
  ]);
  t.same(runsOf([float(40), float(6), { size: 1, dtype: 'int32' }, float(2), float(3)], 10), [
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 5],
  ]);
});

t.test('each target gets the values of its tensor, and no tensor is left', async (t) => {
  await hvd.selectBackend('cpu');
  const tensors = [tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.scalar(5), tf.tensor1d([6, 7], 'int32'), tf.zeros([0]), tf.tensor1d([8, 9])];
  const targets = [new Float32Array(4), new Float32Array(1), new Int32Array(2), new Float32Array(0), new Float32Array(2)];
  const before = tf.memory().numTensors;
  bulkReader(tf).readAllSync(tensors, targets);
  t.same(
    targets.map((target) => [...target]),
    [[1, 2, 3, 4], [5], [6, 7], [], [8, 9]],
  );
  t.equal(tf.memory().numTensors, before);
  tf.dispose(tensors);
});
