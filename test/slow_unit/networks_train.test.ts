/** Each network of the study takes a training step on small images, and every variable of it moves. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { makeNetwork, type NetworkName, networkNames } from '../../src/bench/models/networks';
import * as hvd from '../../src/index';

const CLASSES = 3;
const BATCH = 2;
const sizes: Record<NetworkName, number> = { vgg16: 32, vgg19: 32, resnet50: 32, resnet152: 32, inception_v4: 75 };

t.before(() => hvd.selectBackend('wasm'));

for (const name of networkNames) {
  t.test(name, async (t) => {
    const model = makeNetwork(name, { size: sizes[name], classes: CLASSES, seed: 1 });
    const before = model.trainableWeights.map((weight) => weight.read().clone());
    // Adam's first step is of about the learning rate, whatever the gradient: what it does not move has no gradient.
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'categoricalCrossentropy' });
    const xs = tf.randomUniform([BATCH, sizes[name], sizes[name], 3], -1, 1, 'float32', 7);
    const ys = tf.oneHot(tf.tensor1d([0, 2], 'int32'), CLASSES).toFloat();
    const loss = (await model.trainOnBatch(xs, ys)) as number;
    t.ok(Number.isFinite(loss) && loss > 0, `loss ${loss}`);
    const still = model.trainableWeights.filter((weight, i) =>
      tf.tidy(() => {
        const moved = weight.read().sub(before[i]!).abs().max().dataSync()[0]!;
        return !(moved > 1e-6 && moved < 1);
      }),
    );
    t.same(
      still.map(({ originalName }) => originalName),
      [],
      'variables that did not move',
    );
    const gammas = model.weights.filter(({ originalName, trainable }) => originalName.endsWith('/gamma') && !trainable);
    t.equal(gammas.length, name === 'inception_v4' ? 149 : 0, 'γ that stay');
    t.ok(
      gammas.every((gamma) =>
        gamma
          .read()
          .dataSync<'float32'>()
          .every((value) => value === 1),
      ),
    );
    tf.dispose([...before, xs, ys]);
    model.optimizer.dispose();
    model.dispose();
  });
}
