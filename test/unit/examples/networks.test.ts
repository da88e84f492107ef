/** The networks of the literature have exactly the trainable parameters and tensors that tf_cnn_benchmarks' have at 1001 classes. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { resnet50 } from '../../../examples/networks/resnet50';
import { vgg16 } from '../../../examples/networks/vgg16';

const parametersOf = (model: tf.LayersModel): number =>
  model.trainableWeights.reduce((sum, { shape }) => sum + tf.util.sizeFromShape(shape as number[]), 0);

t.test('ResNet-50: 25,559,081 in 161 tensors, whatever the size of the images', async (t) => {
  const model = resnet50({ size: 32 });
  t.equal(parametersOf(model), 25_559_081);
  t.equal(model.trainableWeights.length, 161);
  t.same(model.outputs[0]!.shape, [null, 1001]);
  model.dispose();
});

t.test('VGG-16: 138,361,641 in 32 tensors at 224×224', async (t) => {
  // At 32×32 a single place is left to the first dense layer, at 224×224 there are 7 · 7, of 512 channels each: the rest is the same.
  const model = vgg16({ size: 32 });
  t.equal(parametersOf(model) + (7 * 7 - 1) * 512 * 4096, 138_361_641);
  t.equal(model.trainableWeights.length, 32);
  t.same(model.outputs[0]!.shape, [null, 1001]);
  model.dispose();
});

t.test('the strides of ResNet-50: a 224×224 image has 7×7 places before the mean', async (t) => {
  const model = resnet50({ classes: 2 });
  t.same((model.getLayer('stem_pool').output as tf.SymbolicTensor).shape, [null, 56, 56, 64]);
  t.same((model.getLayer('stage4_block3_add').output as tf.SymbolicTensor).shape, [null, 7, 7, 2048]);
  model.dispose();
});
