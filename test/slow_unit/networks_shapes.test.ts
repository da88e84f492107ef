/**
 * The networks of the study: exactly the trainable parameters and tensors of tf_cnn_benchmarks' own at 1001 classes, its shapes layer by layer, its initial values; and that the models are what the
 * descriptions say.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import { layersOf, parameterCount } from '../../src/bench/models/graph';
import { describeNetwork, makeNetwork, multiplyAddsOf, type NetworkName, networkNames, shapesOf } from '../../src/bench/models/networks';
import { UsageError } from '../../src/errors';

/** Of tf_cnn_benchmarks, at 1001 classes. */
const published: Record<NetworkName, { parameters: number; tensors: number }> = {
  vgg16: { parameters: 138_361_641, tensors: 32 },
  vgg19: { parameters: 143_671_337, tensors: 38 },
  resnet50: { parameters: 25_559_081, tensors: 161 },
  resnet152: { parameters: 60_194_857, tensors: 467 },
  inception_v4: { parameters: 42_649_769, tensors: 300 },
};
/** The smallest images, so that models are made in seconds. */
const leastSizes: Record<NetworkName, number> = { vgg16: 32, vgg19: 32, resnet50: 32, resnet152: 32, inception_v4: 75 };

t.before(() => tf.setBackend('cpu'));

t.test('parameters and tensors at the published sizes', async (t) => {
  t.same(networkNames, Object.keys(published));
  for (const name of networkNames) {
    const shapes = shapesOf(name);
    t.same({ parameters: parameterCount(shapes), tensors: shapes.length }, published[name], name);
    t.equal(new Set(shapes.map((one) => one.name)).size, shapes.length, `${name}: each name once`);
  }
});

t.test('the last layer alone depends on the classes, the first dense layer of VGG alone on the size', async (t) => {
  for (const name of networkNames) {
    const [many, few] = [shapesOf(name), shapesOf(name, { classes: 1000 })];
    const inputs = many.at(-2)!.shape[0]!;
    t.equal(parameterCount(many) - parameterCount(few), inputs + 1, `${name}: ${inputs} inputs and a bias`);
    const small = shapesOf(name, { size: leastSizes[name] });
    const changed = many.filter(({ shape }, i) => String(shape) !== String(small[i]!.shape));
    t.same(
      changed.map((one) => one.name),
      name.startsWith('vgg') ? ['dense1/kernel'] : [],
      name,
    );
  }
});

t.test('multiply-adds: those of the literature', async (t) => {
  const GIGA = 1e9;
  // VGG: torchvision's tables. Inception-v4: timm's. ResNet: the paper's 3.8 and 11.3 (its table 1), where the stride is in the first 1×1 convolution; tables of 4.1 and 11.5 have it in the 3×3 one.
  for (const [name, gigas] of [
    ['vgg16', 15.47],
    ['vgg19', 19.63],
    ['resnet50', 3.86],
    ['resnet152', 11.3],
    ['inception_v4', 12.27],
  ] as const) {
    const found = multiplyAddsOf(name) / GIGA;
    t.ok(Math.abs(found - gigas) < 0.06, `${name}: ${found.toFixed(3)} for ${gigas}`);
  }
  const dense = 2048 * 1001;
  t.equal(multiplyAddsOf('resnet50', { classes: 2 }), multiplyAddsOf('resnet50') - dense + 2048 * 2);
  t.ok(multiplyAddsOf('resnet50', { size: 112 }) < multiplyAddsOf('resnet50') / 3.5);
});

t.test('shapes, layer by layer', async (t) => {
  const expected: Array<[NetworkName, number | undefined, Record<string, number[]>]> = [
    [
      'vgg16',
      undefined,
      {
        block1_conv2: [224, 224, 64],
        block1_pool: [112, 112, 64],
        block2_pool: [56, 56, 128],
        block3_conv3: [56, 56, 256],
        block3_pool: [28, 28, 256],
        block4_pool: [14, 14, 512],
        block5_pool: [7, 7, 512],
        flatten: [25_088],
        dense1: [4096],
        dense2: [4096],
        classes: [1001],
      },
    ],
    [
      'vgg19',
      undefined,
      {
        block3_conv4: [56, 56, 256],
        block4_conv4: [28, 28, 512],
        block5_conv4: [14, 14, 512],
        block5_pool: [7, 7, 512],
        flatten: [25_088],
      },
    ],
    ['vgg16', 100, { block1_pool: [50, 50, 64], block3_pool: [12, 12, 256], block5_pool: [3, 3, 512], flatten: [4608] }],
    [
      'resnet50',
      undefined,
      {
        stem: [112, 112, 64],
        stem_pool: [56, 56, 64],
        stage1_block3_add: [56, 56, 256],
        stage2_block1_conv1: [28, 28, 128],
        stage2_block4_add: [28, 28, 512],
        stage3_block6_add: [14, 14, 1024],
        stage4_block3_add: [7, 7, 2048],
        mean: [2048],
        classes: [1001],
      },
    ],
    [
      'resnet152',
      undefined,
      {
        stage1_block3_add: [56, 56, 256],
        stage2_block8_add: [28, 28, 512],
        stage3_block36_add: [14, 14, 1024],
        stage4_block3_add: [7, 7, 2048],
      },
    ],
    ['resnet50', 64, { stem: [32, 32, 64], stem_pool: [16, 16, 64], stage1_block3_add: [16, 16, 256], stage4_block3_add: [2, 2, 2048] }],
    [
      'inception_v4',
      undefined,
      {
        stem_conv1: [149, 149, 32],
        stem_conv2: [147, 147, 32],
        stem_conv3: [147, 147, 64],
        stem1_concat: [73, 73, 160],
        stem2_concat: [71, 71, 192],
        stem3_concat: [35, 35, 384],
        a1_concat: [35, 35, 384],
        a4_concat: [35, 35, 384],
        reduction_a_concat: [17, 17, 1024],
        b1_column4_conv5: [17, 17, 256],
        b7_concat: [17, 17, 1024],
        reduction_b_concat: [8, 8, 1536],
        c1_column4_conv3: [8, 8, 512],
        c3_concat: [8, 8, 1536],
        mean: [1536],
        classes: [1001],
      },
    ],
    [
      'inception_v4',
      75,
      {
        stem_conv3: [35, 35, 64],
        stem3_concat: [7, 7, 384],
        reduction_a_concat: [3, 3, 1024],
        reduction_b_concat: [1, 1, 1536],
        c3_concat: [1, 1, 1536],
      },
    ],
  ];
  for (const [name, size, shapes] of expected) {
    const layers = new Map(layersOf(describeNetwork(name, { size })).map((layer) => [layer.name, layer.shape]));
    t.same(Object.fromEntries(Object.keys(shapes).map((layer) => [layer, layers.get(layer)])), shapes, `${name} at ${size}`);
  }
});

t.test('what cannot be is refused by a sentence', async (t) => {
  const refused = (name: string, options: object, message: RegExp) => {
    for (const make of [() => shapesOf(name, options), () => makeNetwork(name, options)]) {
      const error = t.throws(make, { message }) as Error;
      t.ok(error instanceof UsageError, error.name);
    }
  };
  refused('resnet51', {}, /no network 'resnet51'\. There are vgg16, vgg19, resnet50, resnet152, inception_v4/);
  refused('constructor', {}, /no network 'constructor'/);
  for (const name of networkNames) refused(name, { size: leastSizes[name] - 1 }, new RegExp(`${name} needs images of at least`));
  refused('resnet50', { size: 64.5 }, /not 64\.5/);
  refused('resnet50', { classes: 1 }, /2 classes or more, not 1/);
});

for (const name of networkNames) {
  t.test(`${name}: the model is what the description says`, async (t) => {
    const options = { size: leastSizes[name], classes: 7 };
    const model = makeNetwork(name, { ...options, seed: 1 });
    const trainable = model.trainableWeights.map(({ originalName, shape }) => ({ name: originalName, shape: shape as number[] }));
    t.same(trainable, shapesOf(name, options), 'variables, in order');
    for (const { name: layer, shape } of layersOf(describeNetwork(name, options)))
      if (String((model.getLayer(layer).output as tf.SymbolicTensor).shape.slice(1)) !== String(shape)) t.fail(`the shape of ${layer}`);
    t.same(model.outputs[0]!.shape, [null, 7]);

    // Variance 1 / fan-in of kernels, cut at two standard deviations; a dense layer's as drawn, before the cut.
    for (const weight of model.trainableWeights) {
      const { originalName, shape } = weight as unknown as { originalName: string; shape: number[] };
      const values = weight.read().dataSync<'float32'>();
      if (!originalName.endsWith('/kernel')) {
        const constant = originalName.endsWith('/gamma') ? 1 : 0;
        if (values.some((value) => value !== constant)) t.fail(`${originalName} is not ${constant}`);
        continue;
      }
      const fanIn = shape.slice(0, -1).reduce((all, axis) => all * axis, 1);
      const cut = 0.8796256610342398;
      const factor = shape.length === 4 ? 1 : /dense/.test(originalName) ? 2 * cut ** 2 : cut ** 2;
      const bound = (2 * Math.sqrt(factor / fanIn)) / cut;
      const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
      // Of n squares of about this distribution the mean strays by less than √(2/n); five times that.
      const tolerance = 5 * Math.sqrt(2 / values.length);
      if (!(Math.abs((variance * fanIn) / factor - 1) < tolerance))
        t.fail(`${originalName}: variance · fan-in is ${variance * fanIn}, not ${factor}`);
      if (values.some((value) => Math.abs(value) > bound * 1.000001)) t.fail(`${originalName} has values beyond ${bound}`);
    }
    model.dispose();
  });
}

t.test('the same seed makes the same weights', async (t) => {
  const firstKernel = (seed?: number): Buffer => {
    const model = makeNetwork('resnet50', { size: 32, classes: 2, seed });
    const values = Buffer.from(model.trainableWeights[0]!.read().dataSync().slice().buffer);
    model.dispose();
    return values;
  };
  t.ok(firstKernel(3).equals(firstKernel(3)));
  t.notOk(firstKernel(3).equals(firstKernel(4)));
  t.notOk(firstKernel().equals(firstKernel()));
});
