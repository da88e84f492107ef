// Ten steps of a small network on the named backend, run by install_tfjs_node_ci.mjs in a project that has this package and tfjs-node. Prints `RESULT {…}`.
const { createHash } = require('node:crypto');
const util = require('node:util');

const backend = process.argv[2];
// What tfjs-node 4.22 calls and Node 23 removed.
util.isNullOrUndefined ??= (value) => value === null || value === undefined;
util.isArray ??= Array.isArray;
const tf = backend === 'tensorflow' ? require('@tensorflow/tfjs-node') : require('@tensorflow/tfjs');
const hvd = require('khorovod');

const [SIDE, CLASSES, BATCH] = [8, 3, 8];

function batch(step) {
  const xs = new Float32Array(BATCH * SIDE * SIDE);
  const ys = new Float32Array(BATCH * CLASSES);
  for (let i = 0; i < BATCH; i += 1) {
    const image = (step * hvd.size() + hvd.rank()) * BATCH + i;
    for (let k = 0; k < SIDE * SIDE; k += 1) xs[i * SIDE * SIDE + k] = Math.sin(image * 17.3 + k * ((image % CLASSES) + 1) * 0.7);
    ys[i * CLASSES + (image % CLASSES)] = 1;
  }
  return [tf.tensor4d(xs, [BATCH, SIDE, SIDE, 1]), tf.tensor2d(ys, [BATCH, CLASSES])];
}

async function main() {
  hvd.init();
  if (backend !== 'tensorflow') await hvd.selectBackend(backend);
  const kernelInitializer = (seed) => tf.initializers.glorotUniform({ seed });
  const convolution = (seed, rest) =>
    tf.layers.conv2d({
      filters: 4,
      kernelSize: 3,
      padding: 'same',
      activation: 'relu',
      kernelInitializer: kernelInitializer(seed),
      ...rest,
    });
  const model = tf.sequential({
    layers: [
      convolution(1, { inputShape: [SIDE, SIDE, 1] }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      convolution(2),
      tf.layers.flatten(),
      tf.layers.dense({ units: CLASSES, activation: 'softmax', kernelInitializer: kernelInitializer(3) }),
    ],
  });
  model.compile({ optimizer: hvd.DistributedOptimizer(tf.train.adam(0.01)), loss: 'categoricalCrossentropy' });
  hvd.broadcastVariables(model);
  for (let step = 0; step < 10; step += 1) await model.trainOnBatch(...batch(step));
  const parts = model.getWeights().map((weight) => weight.dataSync());
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  const weights = parts.flatMap((part) => [...part]);
  process.stdout.write(`RESULT ${JSON.stringify({ backend: tf.getBackend(), rank: hvd.rank(), bits: hash.digest('hex'), weights })}\n`);
}

void main();
