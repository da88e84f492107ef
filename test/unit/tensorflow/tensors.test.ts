/** Values between tensors and shared memory, on each backend: right, in one copy where the backend permits, and each side's own. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import type { Dtype, NumericArray } from '../../../src/dtype';
import * as hvd from '../../../src/index';
import { copyTensorInto, tensorFrom } from '../../../src/tensorflow/tensors';

const shared = (array: NumericArray): Float32Array => {
  const copy = new (array.constructor as Float32ArrayConstructor)(new SharedArrayBuffer(array.byteLength));
  copy.set(array as Float32Array);
  return copy;
};
const samples: Array<{ dtype: Dtype; values: NumericArray }> = [
  { dtype: 'float32', values: Float32Array.of(1.5, -2, 0, 1e-20, 3e38, 7) },
  { dtype: 'int32', values: Int32Array.of(1, -2, 0, 2 ** 31 - 1, -(2 ** 31), 7) },
  { dtype: 'bool', values: Uint8Array.of(1, 0, 0, 1, 1, 0) },
];

for (const { backend, threads } of [
  { backend: 'wasm', threads: 1 },
  { backend: 'wasm', threads: 2 },
  { backend: 'cpu', threads: 1 },
] as const) {
  t.test(`${backend}, threads: ${threads}`, async (t) => {
    process.env.TSRUN_THREADS_PER_PROCESS = String(threads);
    const { device } = await hvd.selectBackend(backend);
    if (backend === 'wasm') t.match(device, new RegExp(`${threads} thread`));
    for (const { dtype, values } of samples) {
      const memory = shared(values);
      const tensor = tensorFrom(memory, [2, 3], dtype);
      memory.fill(0);
      t.same(tensor.dataSync(), values, `${dtype}: a result stays when its memory is used again`);
      copyTensorInto(tensor, memory);
      t.same([...memory], [...values], `${dtype}: and is read`);
      memory.fill(0);
      t.same(tensor.dataSync(), values, `${dtype}: what was read is the reader's`);
      t.same([tensor.dtype, tensor.shape], [dtype, [2, 3]]);
      tensor.dispose();
    }
    t.equal(tf.memory().numTensors, 0);
  });
}

t.test('wasm: read from its heap and written into it, with no array between', async (t) => {
  await hvd.selectBackend('wasm');
  const backend = tf.backend() as unknown as { readSync: unknown };
  backend.readSync = () => t.fail('read by a copy');
  const memory = shared(Float32Array.of(4, 2));
  memory.slice = () => t.fail('copied') as never;
  const tensor = tensorFrom(memory, [2], 'float32');
  copyTensorInto(tensor, memory);
  Reflect.deleteProperty(backend, 'readSync');
  t.same([...memory], [4, 2]);
  tensor.dispose();
});

t.test('wasm: its heap grows between two readings', async (t) => {
  await hvd.selectBackend('wasm');
  const tensor = tf.tensor([1, 2, 3]);
  const memory = new Float32Array(3);
  copyTensorInto(tensor, memory);
  const large = tf.zeros([64 * 2 ** 18]);
  memory.fill(0);
  copyTensorInto(tensor, memory);
  t.same([...memory], [1, 2, 3]);
  tf.dispose([tensor, large]);
});

t.test('a tensor that was made on another backend', async (t) => {
  await hvd.selectBackend('cpu');
  const tensor = tf.tensor([1, 2, 3]);
  await hvd.selectBackend('wasm');
  const memory = new Float32Array(3);
  copyTensorInto(tensor, memory);
  t.same([...memory], [1, 2, 3]);
  tensor.dispose();
});
