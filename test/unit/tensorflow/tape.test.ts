/** When a gradient is told to be final it is what tf.variableGrads returns, bit for bit, for every kind of layer; the order is that of backpropagation; nothing is kept. */
import * as tf from '@tensorflow/tfjs';
import t, { type Test } from 'tap';
import { selectBackend } from '../../../src/index';
import { releasing, watched } from '../../../src/tensorflow/tape';

t.before(async () => {
  await selectBackend('wasm');
});
t.afterEach(() => tf.disposeVariables());

interface Told {
  readonly index: number;
  readonly values: Float32Array;
}

function gradients(
  f: () => tf.Scalar,
  variables: tf.Variable[],
): { told: Told[]; plain: Array<Float32Array | undefined>; watched: Array<Float32Array | undefined> } {
  const told: Told[] = [];
  const read = (grads: tf.NamedTensorMap): Array<Float32Array | undefined> =>
    variables.map(({ name }) => grads[name]?.dataSync().slice() as Float32Array | undefined);
  const plain = tf.variableGrads(f, variables);
  const other = tf.variableGrads(
    watched(tf, f, variables, (index, gradient) => told.push({ index, values: gradient.dataSync().slice() as Float32Array })),
    variables,
  );
  const result = { told, plain: read(plain.grads), watched: read(other.grads) };
  tf.dispose([plain.value, plain.grads, other.value, other.grads]);
  return result;
}

/** Each variable with a gradient was told once, with the final value; the watched tape gives the plain one's bits. */
function same(t: Test, { told, plain, watched }: ReturnType<typeof gradients>): void {
  t.ok(
    plain.some((one) => one),
    'there are gradients',
  );
  t.strictSame(watched, plain, 'the gradients of the watched tape');
  t.equal(new Set(told.map(({ index }) => index)).size, told.length, 'told once');
  t.strictSame(
    plain.map((_, i) => told.find(({ index }) => index === i)?.values),
    plain,
    'what was told is what came out',
  );
}

const { layers } = tf;
const seed = { kernelInitializer: 'glorotUniform' as const };
/** Each kind of layer with weights, alone behind an input. */
const kinds: Record<string, () => { shape: number[]; layer: tf.layers.Layer; integers?: boolean }> = {
  dense: () => ({ shape: [4], layer: layers.dense({ units: 3, activation: 'relu', ...seed, kernelRegularizer: 'l1l2' }) }),
  conv1d: () => ({ shape: [8, 2], layer: layers.conv1d({ filters: 3, kernelSize: 3 }) }),
  conv2d: () => ({
    shape: [8, 8, 2],
    layer: layers.conv2d({ filters: 3, kernelSize: 3, strides: 2, padding: 'same', kernelConstraint: 'maxNorm' }),
  }),
  conv3d: () => ({ shape: [4, 4, 4, 2], layer: layers.conv3d({ filters: 2, kernelSize: 2 }) }),
  conv2dTranspose: () => ({ shape: [4, 4, 2], layer: layers.conv2dTranspose({ filters: 2, kernelSize: 3, strides: 2 }) }),
  separableConv2d: () => ({ shape: [6, 6, 2], layer: layers.separableConv2d({ filters: 3, kernelSize: 3 }) }),
  depthwiseConv2d: () => ({ shape: [6, 6, 2], layer: layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2 }) }),
  embedding: () => ({ shape: [5], integers: true, layer: layers.embedding({ inputDim: 7, outputDim: 3 }) }),
  simpleRNN: () => ({ shape: [4, 3], layer: layers.simpleRNN({ units: 2 }) }),
  gru: () => ({ shape: [4, 3], layer: layers.gru({ units: 2, returnSequences: true }) }),
  lstm: () => ({ shape: [4, 3], layer: layers.lstm({ units: 2 }) }),
  convLstm2d: () => ({ shape: [3, 4, 4, 1], layer: layers.convLstm2d({ filters: 2, kernelSize: 2 }) as tf.layers.Layer }),
  stackedRNN: () => ({
    shape: [4, 3],
    layer: layers.rnn({ cell: [layers.gruCell({ units: 2 }), layers.lstmCell({ units: 2 })] }) as tf.layers.Layer,
  }),
  bidirectional: () => ({
    shape: [4, 3],
    layer: layers.bidirectional({ layer: layers.lstm({ units: 2 }) as tf.RNN, mergeMode: 'concat' }),
  }),
  timeDistributed: () => ({ shape: [4, 3], layer: layers.timeDistributed({ layer: layers.dense({ units: 2 }) }) }),
  batchNormalization: () => ({ shape: [4, 4, 3], layer: layers.batchNormalization() }),
  layerNormalization: () => ({ shape: [5], layer: layers.layerNormalization() }),
  prelu: () => ({ shape: [4], layer: layers.prelu({ alphaInitializer: 'ones' }) }),
};

for (const [kind, make] of Object.entries(kinds)) {
  t.test(kind, async (t) => {
    const { shape, layer, integers } = make();
    const model = tf.sequential({
      layers: [layers.inputLayer({ inputShape: shape }), layer],
    });
    const x = integers ? tf.randomUniformInt([3, ...shape], 0, 7, 1) : tf.randomNormal([3, ...shape], 0, 1, 'float32', 1);
    const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    const before = tf.memory().numTensors;
    same(
      t,
      gradients(() => (model.apply(x, { training: true }) as tf.Tensor).square().mean() as tf.Scalar, variables),
    );
    t.equal(tf.memory().numTensors - before, 0, 'no tensor is left over');
    x.dispose();
    model.dispose();
  });
}

t.test('a layer used twice, a branch around it, a regularizer: final when its first use is passed', async (t) => {
  const input = tf.input({ shape: [4] });
  const shared = layers.dense({ units: 4, name: 'shared', kernelRegularizer: tf.regularizers.l2() });
  const once = shared.apply(input) as tf.SymbolicTensor;
  const twice = shared.apply(once) as tf.SymbolicTensor;
  const sum = layers.add().apply([input, twice]) as tf.SymbolicTensor;
  const model = tf.model({ inputs: input, outputs: layers.dense({ units: 2 }).apply(sum) as tf.SymbolicTensor });
  const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const x = tf.randomNormal([3, 4], 0, 1, 'float32', 1);
  const found = gradients(() => {
    const losses = model.calculateLosses().reduce<tf.Tensor>((sum, one) => sum.add(one), tf.scalar(0));
    return (model.apply(x) as tf.Tensor).square().mean().add(losses) as tf.Scalar;
  }, variables);
  same(t, found);
  t.strictSame(
    found.told
      .map(({ index }) => index)
      .slice(0, 2)
      .sort(),
    [2, 3],
    'the last layer first',
  );
  x.dispose();
});

t.test('what the loss does not depend on is never told; what it is alone is', async (t) => {
  const [a, b, c] = [tf.variable(tf.scalar(2)), tf.variable(tf.scalar(3)), tf.variable(tf.scalar(4))];
  const found = gradients(() => {
    a.mul(b);
    return a.mul(a).mul(c) as tf.Scalar;
  }, [a, b, c]);
  same(t, found);
  t.notOk(found.told.some(({ index }) => index === 1));
});

t.test('gradients of gradients: right, told by the outermost alone', async (t) => {
  const w = tf.variable(tf.tensor1d([1, 2, 3]));
  const penalty = (): tf.Scalar => {
    const slope = tf.grad((x: tf.Tensor) => x.mul(w).square().sum());
    return slope(tf.tensor1d([1, 1, 2]))
      .square()
      .sum()
      .add(w.sum()) as tf.Scalar;
  };
  same(t, gradients(penalty, [w]));
  const told: number[] = [];
  const outer = tf.grad((x: tf.Tensor) => {
    const { value, grads } = tf.variableGrads(
      watched(
        tf,
        () => x.mul(w).sum() as tf.Scalar,
        [w],
        (index) => told.push(index),
      ),
      [w],
    );
    return value.add(Object.values(grads)[0]!.sum());
  });
  t.strictSame([...outer(tf.tensor1d([1, 1, 2])).dataSync()], [2, 3, 4]);
  t.strictSame(told, [], 'inside another gradient nothing is told');
});

t.test('custom gradients, and a loss that throws', async (t) => {
  const w = tf.variable(tf.tensor1d([1, 2]));
  const twice = tf.customGrad((x, save) => {
    (save as tf.GradSaveFunc)([x as tf.Tensor]);
    return { value: (x as tf.Tensor).square(), gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => dy.mul(saved[0]!).mul(4) };
  });
  const found = gradients(() => twice(w).sum() as tf.Scalar, [w]);
  same(t, found);
  t.strictSame([...found.told[0]!.values], [4, 8]);
  const failing = watched(
    tf,
    () => {
      throw new Error('no loss today');
    },
    [w],
    () => undefined,
  );
  t.throws(() => tf.variableGrads(failing, [w]), { message: 'no loss today' });
  same(
    t,
    gradients(() => w.square().sum() as tf.Scalar, [w]),
  );
});

t.test('what a node has kept, and the gradients that arrive at it, are given back as the walk goes on', async (t) => {
  const weights = Array.from({ length: 8 }, (_, i) => tf.variable(tf.randomUniform([64, 64], -0.2, 0.2, 'float32', i + 1)));
  const x = tf.randomUniform([256, 64], -1, 1, 'float32', 9);
  const f = (): tf.Scalar => {
    let y: tf.Tensor = x;
    for (const w of weights) y = tf.relu(tf.matMul(y as tf.Tensor2D, w as tf.Tensor2D));
    return tf.mean(tf.square(y)).asScalar();
  };
  const bytesAt = (differentiate: (f: () => tf.Scalar) => () => tf.Scalar): { bytes: number[]; gradients: Float32Array[] } => {
    const bytes: number[] = [];
    const { value, grads } = tf.variableGrads(differentiate(watched(tf, f, weights, () => bytes.push(tf.memory().numBytes))), weights);
    const gradients = weights.map(({ name }) => grads[name]!.dataSync().slice() as Float32Array);
    tf.dispose([value, grads]);
    return { bytes, gradients };
  };
  const before = tf.memory();
  const plain = bytesAt((f) => f);
  const released = bytesAt((f) => releasing(tf, f));
  t.same(released.gradients, plain.gradients);
  t.ok(plain.bytes.at(-1)! > plain.bytes[0]!, 'without, memory grows to the end');
  const activation = 256 * 64 * 4;
  // Per layer the product's and the activation's values, and their gradients.
  t.ok(released.bytes.at(-1)! < plain.bytes.at(-1)! - 20 * activation, `${released.bytes} against ${plain.bytes} bytes`);
  t.equal(tf.memory().numTensors, before.numTensors);
  t.equal(tf.memory().numBytes, before.numBytes);
  x.dispose();
});

t.test('a gradient that passes on what arrived, or was kept, as it is', async (t) => {
  const w = tf.variable(tf.tensor1d([1, 2, 3]));
  const same = tf.customGrad((...args: unknown[]) => {
    const [a, save] = args as [tf.Tensor, (tensors: tf.Tensor[]) => void];
    save([a]);
    return { value: tf.mul(a, 1), gradFunc: (dy: tf.Tensor) => dy };
  });
  const kept = tf.customGrad((...args: unknown[]) => {
    const [a, save] = args as [tf.Tensor, (tensors: tf.Tensor[]) => void];
    save([a]);
    return { value: tf.square(a), gradFunc: (_: tf.Tensor, saved: tf.Tensor[]) => saved[0]! };
  });
  const f = (): tf.Scalar => tf.sum(tf.add(same(same(w)), tf.add(kept(w), kept(tf.mul(w, 2))))).asScalar();
  const plain = tf.variableGrads(f, [w]);
  const expected = plain.grads[w.name]!.dataSync().slice();
  const before = tf.memory().numTensors;
  const { value, grads } = tf.variableGrads(releasing(tf, f), [w]);
  t.same(grads[w.name]!.dataSync(), expected);
  tf.dispose([value, grads]);
  t.equal(tf.memory().numTensors, before);
  tf.dispose([plain.value, plain.grads]);
});

t.test('a gradient that several inputs share, or that is somebody else\u2019s tensor', async (t) => {
  const [a, b] = [tf.variable(tf.tensor1d([1, 2])), tf.variable(tf.tensor1d([3, 4]))];
  const mask = tf.tensor1d([0, 1]);
  let kept: tf.Tensor | undefined;
  const both = tf.customGrad((...args: unknown[]) => {
    const [x, y] = args as [tf.Tensor, tf.Tensor];
    const gradFunc = (dy: tf.Tensor) => {
      const shared = tf.mul(dy, 3);
      return [shared, shared];
    };
    return { value: tf.add(x, y), gradFunc };
  });
  const masked = tf.customGrad((...args: unknown[]) => ({ value: tf.mul(args[0] as tf.Tensor, 2), gradFunc: () => mask }));
  const keeping = tf.customGrad((...args: unknown[]) => ({
    value: tf.mul(args[0] as tf.Tensor, 2),
    gradFunc: (dy: tf.Tensor) => {
      kept = tf.keep(tf.mul(dy, 5));
      return kept;
    },
  }));
  for (const f of [
    () => tf.sum(both(tf.mul(a, 2), tf.mul(b, 2))).asScalar(),
    () => tf.sum(tf.add(masked(tf.square(a)), tf.square(b))).asScalar(),
    () => tf.sum(tf.add(keeping(tf.square(a)), tf.square(b))).asScalar(),
  ]) {
    const plain = tf.variableGrads(f, [a, b]);
    const released = tf.variableGrads(releasing(tf, f), [a, b]);
    for (const { name } of [a, b]) t.same(released.grads[name]!.dataSync(), plain.grads[name]!.dataSync());
    tf.dispose([plain.value, plain.grads, released.value, released.grads]);
  }
  t.same([mask.isDisposed, kept!.isDisposed], [false, false]);
  tf.dispose([mask, kept!]);
});

t.test('inside other gradients all is kept', async (t) => {
  const w = tf.variable(tf.scalar(3));
  const outer = tf.variableGrads(
    () =>
      tf
        .grads((x: tf.Tensor) => releasing(tf, () => tf.mul(tf.mul(x, x), x))())([w])[0]!
        .asScalar(),
    [w],
  );
  t.equal(outer.grads[w.name]!.dataSync()[0], 18);
});
