/**
 * hvd.train against the papers' formulas, written down here once more in float64: 100 steps in bare loops and in models; saved and resumed to the bit; what they leave alone and refuse.
 */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { formulas } from '../../helpers/optimizer_formulas';
import { bytesOf, smallNetwork, trainStep, weightsOf } from '../../helpers/small_network';

/** Of the oracle's largest value. float32 has 6e-8; a hundred steps add up. */
const ERROR = 5e-6;
const STEPS = 100;

t.before(async () => {
  await hvd.selectBackend('wasm');
  hvd.init();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

type Name = keyof typeof hvd.train;
const cases: Array<{ name: Name; args: number[] }> = [
  { name: 'nadam', args: [] },
  { name: 'nadam', args: [0.01, 0.8, 0.99, 1e-4] },
  { name: 'adamw', args: [] },
  { name: 'adamw', args: [0.01, 0.8, 0.99, 1e-4, 0.1] },
  { name: 'lars', args: [0.5] },
  { name: 'lars', args: [0.3, 0.5, 0.01, 0.02] },
  { name: 'lamb', args: [] },
  { name: 'lamb', args: [0.01, 0.8, 0.99, 1e-4, 0.1] },
];
const make = ({ name, args }: { name: Name; args: number[] }): tf.Optimizer =>
  (hvd.train[name] as (...values: number[]) => tf.Optimizer)(...args);
const titleOf = ({ name, args }: { name: Name; args: number[] }): string => `${name}(${args.join(', ')})`;
/** One way to make each, with a rate at which the small network learns. */
const quick: Record<Name, () => tf.Optimizer> = {
  nadam: () => hvd.train.nadam(0.01),
  adamw: () => hvd.train.adamw(0.01),
  lars: () => hvd.train.lars(5),
  lamb: () => hvd.train.lamb(0.02),
};

/** The largest difference, of the largest expected value; a NaN is infinitely far off. */
function errorOf(found: ArrayLike<number>, expected: readonly number[]): number {
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(
    ...expected.map((value, i) => (Number.isFinite(found[i]!) ? Math.abs(found[i]! - value) / scale : Number.POSITIVE_INFINITY)),
  );
}

const numbers = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.fround(Math.sin(seed + 7.3 * i) + 0.1));

for (const one of cases) {
  t.test(`${titleOf(one)}: the paper's formulas over ${STEPS} steps of a bare loop`, async (t) => {
    const shapes = [[4, 3], [5], [], [2, 2, 3]];
    const sizes = shapes.map((shape) => shape.reduce((a, b) => a * b, 1));
    // Σ k/2·(x − c)² + Σ sin x: its gradient k·(x − c) + cos x is as easily written in float64.
    const starts = sizes.map((size, i) => numbers(size, i));
    const centres = sizes.map((size, i) => numbers(size, 50 + i).map((value) => Math.fround(3 * value)));
    const factor = (i: number): number => 10 ** (i - 2);
    for (const isListed of [true, false]) {
      const variables = shapes.map((shape, i) => tf.variable(tf.tensor(starts[i]!, shape), true));
      const optimizer = make(one);
      const steps = formulas[one.name](...one.args);
      const expected = starts.map((values) => [...values]);
      for (let step = 0; step < STEPS; step += 1) {
        optimizer.minimize(
          () =>
            tf.addN(
              variables.map((x, i) =>
                x
                  .sub(tf.tensor(centres[i]!, shapes[i]!))
                  .square()
                  .mul(factor(i) / 2)
                  .add(x.sin())
                  .sum(),
              ),
            ) as tf.Scalar,
          false,
          isListed ? variables : undefined,
        );
        steps(
          expected,
          expected.map((values, i) => values.map((x, k) => factor(i) * (x - centres[i]![k]!) + Math.cos(x))),
        );
      }
      t.equal(optimizer.iterations, STEPS);
      for (const [i, variable] of variables.entries()) {
        const error = errorOf(variable.dataSync(), expected[i]!);
        t.ok(error < ERROR, `${isListed ? 'list' : 'names'}, shape [${shapes[i]}]: off by ${error}`);
        t.ok(errorOf(starts[i]!, expected[i]!) > 1000 * ERROR, 'it has moved');
      }
      tf.dispose(variables);
      optimizer.dispose();
    }
  });

  t.test(`${titleOf(one)}: the paper's formulas over ${STEPS} steps of model.fit and trainOnBatch`, async (t) => {
    const [rows, inputs, units] = [6, 3, 2];
    const [x, y] = [numbers(rows * inputs, 1), numbers(rows * units, 2)];
    const kernel = numbers(inputs * units, 3);
    for (const isWrapped of [false, true]) {
      const layer = tf.layers.dense({ units, inputShape: [inputs] });
      const model = tf.sequential({ layers: [layer] });
      layer.setWeights([tf.tensor2d(kernel, [inputs, units]), tf.zeros([units])]);
      const optimizer = make(one);
      model.compile({ optimizer: isWrapped ? hvd.DistributedOptimizer(optimizer) : optimizer, loss: 'meanSquaredError' });
      const [xs, ys] = [tf.tensor2d(x, [rows, inputs]), tf.tensor2d(y, [rows, units])];
      await model.fit(xs, ys, { batchSize: rows, epochs: STEPS / 2, shuffle: false, verbose: 0 });
      for (let step = 0; step < STEPS / 2; step += 1) await model.trainOnBatch(xs, ys);

      const expected = [[...kernel], Array(units).fill(0) as number[]];
      const steps = formulas[one.name](...one.args);
      for (let step = 0; step < STEPS; step += 1) {
        const [w, b] = expected as [number[], number[]];
        const [ofKernel, ofBias] = [w.map(() => 0), b.map(() => 0)];
        for (let row = 0; row < rows; row += 1) {
          for (let unit = 0; unit < units; unit += 1) {
            let error = b[unit]! - y[row * units + unit]!;
            for (let k = 0; k < inputs; k += 1) error += x[row * inputs + k]! * w[k * units + unit]!;
            const slope = (2 * error) / (rows * units);
            ofBias[unit]! += slope;
            for (let k = 0; k < inputs; k += 1) ofKernel[k * units + unit]! += slope * x[row * inputs + k]!;
          }
        }
        steps(expected, [ofKernel, ofBias]);
      }
      for (const [i, weight] of model.getWeights().entries()) {
        const error = errorOf(weight.dataSync(), expected[i]!);
        t.ok(error < ERROR, `${isWrapped ? 'wrapped' : 'plain'}, weight ${i}: off by ${error}`);
      }
      optimizer.dispose();
      model.dispose();
    }
  });
}

t.test('defaults, and names that saved models have', async (t) => {
  t.same(hvd.train.nadam().getConfig(), { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 });
  t.same(hvd.train.adamw().getConfig(), { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weightDecay: 0.004 });
  t.same(hvd.train.lars(2).getConfig(), { learningRate: 2, momentum: 0.9, weightDecay: 0.0001, trustCoefficient: 0.001 });
  t.same(hvd.train.lamb().getConfig(), { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-6, weightDecay: 0.01 });
  t.same(hvd.train.lamb(undefined, 0.5).getConfig(), { ...hvd.train.lamb().getConfig(), beta1: 0.5 });
  t.same(
    Object.values(quick).map((one) => one().getClassName()),
    ['Nadam', 'AdamW', 'LARS', 'Lamb'],
  );
  for (const name of ['nadam', 'adamw', 'lamb'] as const) t.same(hvd.DistributedOptimizer(name).getConfig(), hvd.train[name]().getConfig());
});

t.test('what is wrong is said at the call', async (t) => {
  const wrong = (call: () => unknown, message: RegExp): void => void t.throws(call, { code: 'ERR_HVD_USAGE', message });
  wrong(() => (hvd.train.lars as unknown as () => void)(), /LARS: learningRate is a number >= 0, but was undefined/);
  for (const rate of [-1, Number.NaN, Number.POSITIVE_INFINITY, '0.1' as never, null as never])
    wrong(() => hvd.train.nadam(rate), /Nadam: learningRate/);
  wrong(() => hvd.train.nadam(1, 1), /beta1 is a number >= 0 and < 1, but was 1/);
  wrong(() => hvd.train.adamw(1, 0.9, -0.1), /AdamW: beta2/);
  wrong(() => hvd.train.lamb(1, 0.9, 0.9, -1), /Lamb: epsilon/);
  wrong(() => hvd.train.lamb(1, 0.9, 0.9, 1, -1), /Lamb: weightDecay/);
  wrong(() => hvd.train.lars(1, 1), /LARS: momentum/);
  wrong(() => hvd.train.lars(1, 0, 0, 0), /LARS: trustCoefficient is a number > 0/);
  wrong(() => hvd.train.nadam().applyGradients({ nobody: tf.scalar(1) }), /no variable 'nobody'/);
  await t.rejects(
    hvd.train.nadam().setWeights([
      { name: 'iter', tensor: tf.scalar(1) },
      { name: 'other', tensor: tf.scalar(1) },
    ]),
    {
      code: 'ERR_HVD_USAGE',
    },
  );
});

async function saved(model: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let found: tf.io.ModelArtifacts | undefined;
  const keep = tf.io.withSaveHandler(async (artifacts) => {
    found = artifacts;
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  });
  await model.save(keep, { includeOptimizer: true });
  return found!;
}

const resumed = { ...quick, adamax: () => tf.train.adamax(0.01, 0.9, 0.999, 1e-7, 0.01), adam: () => tf.train.adam(0.01) };
// By itself TensorFlow.js's Adam goes on with other bits.
for (const [name, one] of Object.entries(resumed))
  for (const passes of name === 'adam' ? [1, 3] : [0, 1, 3])
    t.test(`${name}: saved and loaded a model goes on to the bit, ${passes ? `wrapped, ${passes} passes a step` : 'plain'}`, async (t) => {
      const wrap = (optimizer: tf.Optimizer): tf.Optimizer =>
        passes ? hvd.DistributedOptimizer(optimizer, { backwardPassesPerStep: passes }) : optimizer;
      const model = smallNetwork(1);
      model.compile({ optimizer: wrap(one()), loss: 'categoricalCrossentropy' });
      const steps = async (model: tf.LayersModel, from: number): Promise<void> => {
        for (let step = from; step < from + 12; step += 1) await trainStep(model, step * 4, 4);
      };
      await steps(model, 0);
      const artifacts = await saved(model);
      const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
      t.equal(loaded.optimizer.getClassName(), one().getClassName());
      t.equal(loaded.optimizer.iterations, 12);
      (loaded as unknown as { optimizer: tf.Optimizer }).optimizer = wrap(loaded.optimizer);
      await steps(model, 12);
      await steps(loaded, 12);
      t.not(bytesOf(weightsOf(loaded)).join(), bytesOf(weightsOf(smallNetwork(1))).join());
      t.same(bytesOf(weightsOf(loaded)), bytesOf(weightsOf(model)));
    });

for (const [name, one] of Object.entries(quick)) {
  t.test(`${name}: a bare loop goes on to the bit with getWeights and setWeights`, async (t) => {
    const run = async (stopAt: number): Promise<Uint8Array> => {
      const variables = [tf.variable(tf.tensor1d([1, -2, 3])), tf.variable(tf.tensor2d([[0.5, 4]]))];
      let optimizer = one();
      for (let step = 0; step < 40; step += 1) {
        if (step === stopAt) {
          const [previous, weights] = [optimizer, await optimizer.getWeights()];
          optimizer = one();
          await optimizer.setWeights(weights);
          previous.dispose();
        }
        optimizer.minimize(() => tf.addN(variables.map((x) => x.square().sum())) as tf.Scalar, false, variables);
      }
      // Its own weights, given back, change nothing.
      await optimizer.setWeights(await optimizer.getWeights());
      optimizer.minimize(() => tf.addN(variables.map((x) => x.square().sum())) as tf.Scalar, false, variables);
      return Buffer.concat(variables.map((x) => bytesOf(x.dataSync() as Float32Array)));
    };
    const whole = await run(-1);
    for (const stopAt of [0, 1, 17]) t.same(await run(stopAt), whole, `stopped after ${stopAt} steps`);
  });

  t.test(`${name}: no tensor is left by steps, by setWeights, by dispose()`, async (t) => {
    const x = tf.variable(tf.tensor1d([1, 2]));
    const before = tf.memory().numTensors;
    const optimizer = one();
    const minimize = () => optimizer.minimize(() => x.square().sum() as tf.Scalar);
    minimize();
    const after = tf.memory().numTensors;
    for (let step = 0; step < 5; step += 1) minimize();
    t.equal(tf.memory().numTensors, after);
    const weights = await optimizer.getWeights();
    await optimizer.setWeights(weights);
    weights[0]!.tensor.dispose();
    minimize();
    t.equal(tf.memory().numTensors, after);
    optimizer.dispose();
    t.equal(tf.memory().numTensors, before);
  });

  t.test(`${name}: a variable without gradient is left alone; slots stay with their variables, whichever a call has`, async (t) => {
    const start = (): tf.Variable[] => [tf.variable(tf.tensor1d([1, 2])), tf.variable(tf.tensor1d([3, 4]))];
    const loss = (x: tf.Variable) => x.square().sum() as tf.Scalar;
    const [listed, named] = [start(), start()];
    const [byList, byName] = [one(), one()];
    for (let step = 0; step < 6; step += 1) {
      const turn = step % 2;
      byList.minimize(() => loss(listed[turn]!), false, [listed[turn]!]);
      byList.applyGradients(listed.map(({ name }) => ({ name, tensor: null as unknown as tf.Tensor })));
      byName.minimize(() => loss(named[turn]!));
      byName.applyGradients({});
    }
    for (const i of [0, 1]) t.same(listed[i]!.dataSync(), named[i]!.dataSync());
    const idle = tf.variable(tf.tensor1d([5, 6]));
    byList.applyGradients([{ name: idle.name, tensor: null as unknown as tf.Tensor }]);
    t.same([...idle.dataSync()], [5, 6]);
    // Alone, with as many calls and its gradients in the same ones: the second's slot is none of the first's.
    const alone = tf.variable(tf.tensor1d([3, 4]));
    const single = one();
    for (let call = 0; call < 12; call += 1) {
      if (call % 4 === 2) single.minimize(() => loss(alone), false, [alone]);
      else single.applyGradients({});
    }
    t.same(listed[1]!.dataSync(), alone.dataSync());
  });

  t.test(`${name}: the learning rate is read in every step`, async (t) => {
    const x = tf.variable(tf.tensor1d([1, 2]));
    const optimizer = one() as tf.Optimizer & { learningRate: number };
    optimizer.learningRate = 0;
    optimizer.minimize(() => x.square().sum() as tf.Scalar);
    t.same([...x.dataSync()], [1, 2]);
    optimizer.learningRate = 0.1;
    optimizer.minimize(() => x.square().sum() as tf.Scalar);
    t.not(x.dataSync()[0], 1);
  });
}

t.test('a model that is disposed of and built anew leaves no slots behind', async (t) => {
  const optimizer = hvd.train.adamw();
  for (let round = 0; round < 3; round += 1) {
    const x = tf.variable(tf.zeros([round + 1]), true, 'again');
    optimizer.minimize(() => x.square().sum() as tf.Scalar, false, [x]);
    const weights = await optimizer.getWeights();
    t.same(
      weights.map(({ name }) => name),
      ['iter', 'step', 'again/m', 'again/v'],
    );
    x.dispose();
  }
});

t.test('lars and lamb: norms of large layers are right where one float32 sum is not; a layer of zeros moves', async (t) => {
  const elems = 2048;
  for (const [one, moved] of [
    [() => hvd.train.lars(0.5, 0, 0, 0.01), 0.5 * 0.01],
    [() => hvd.train.lamb(0.005, 0.9, 0.999, 0, 0), 0.005],
  ] as const) {
    // All elements of the layer, and of its gradient, are equal: a step takes `moved` of each.
    const x = tf.variable(tf.fill([elems, elems], 0.1));
    one().applyGradients({ [x.name]: tf.fill([elems, elems], 0.3) });
    const taken = (Math.fround(0.1) - x.dataSync()[77]!) / 0.1;
    t.ok(Math.abs(taken / moved - 1) < 1e-4, `${taken} for ${moved}`);
    const zeros = tf.variable(tf.zeros([3]));
    one().applyGradients({ [zeros.name]: tf.tensor1d([1, 1, 1]) });
    t.ok(zeros.dataSync()[0]! < 0);
  }
});
