/** What TensorFlow.js's own optimizers do wrong does not reach who uses them through DistributedOptimizer. Each test shows the plain optimizer's fault first: when tfjs mends it, ours can go. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../../src/index';
import { smallNetwork, trainStep } from '../../helpers/small_network';

t.before(async () => {
  await tf.setBackend('cpu');
  hvd.init();
});
t.afterEach(() => tf.disposeVariables());

const square = (x: tf.Tensor) => (): tf.Scalar => x.square().sum() as tf.Scalar;

t.test('centered RMSProp: small and large equal gradients give numbers, those of the formula', async (t) => {
  const make = (): tf.Optimizer => tf.train.rmsprop(0.01, 0.9, 0.5, 1e-7, true);
  const x = tf.variable(tf.scalar(1e-4));
  make().minimize(square(x), false, [x]);
  t.ok(Number.isNaN(x.dataSync()[0]!), 'the plain one gives NaN');

  const [small, large, idle] = [tf.variable(tf.scalar(1e-4)), tf.variable(tf.tensor1d([1, 2])), tf.variable(tf.scalar(1))];
  const optimizer = hvd.DistributedOptimizer(make());
  const loss = (): tf.Scalar => small.square().add(large.mul(tf.tensor1d([3, 1000])).sum()) as tf.Scalar;
  const expected = [1e-4, 1, 2];
  const state = expected.map(() => ({ ms: 0, mg: 0, moment: 0 }));
  for (let step = 0; step < 100; step += 1) {
    optimizer.minimize(loss, false, [small, large, idle]);
    for (const [i, g] of [2 * expected[0]!, 3, 1000].entries()) {
      const one = state[i]!;
      one.ms = 0.9 * one.ms + 0.1 * g * g;
      one.mg = 0.9 * one.mg + 0.1 * g;
      one.moment = 0.5 * one.moment + (0.01 * g) / Math.sqrt(Math.max(0, one.ms - one.mg ** 2) + 1e-7);
      expected[i]! -= one.moment;
    }
    const found = [...small.dataSync(), ...large.dataSync()];
    if (!found.every(Number.isFinite)) t.fail(`step ${step}: ${found}`);
    // Later the variance of equal gradients is a difference of nothing but rounding.
    if (step === 20) for (const i of [0, 1, 2]) t.ok(Math.abs(found[i]! / expected[i]! - 1) < 1e-2, `${found[i]} for ${expected[i]}`);
  }
  t.same([...idle.dataSync()], [1]);
  t.equal(optimizer.iterations, 100);

  const weights = await optimizer.getWeights();
  t.equal(weights.length, 1 + 3 * 3);
  const other = hvd.DistributedOptimizer(make());
  await other.setWeights(weights);
  const [y, z] = [small.clone().variable(), large.clone().variable()];
  optimizer.minimize(loss, false, [small, large, idle]);
  other.minimize(() => y.square().add(z.mul(tf.tensor1d([3, 1000])).sum()) as tf.Scalar, false, [y, z, idle]);
  t.same([...y.dataSync(), ...z.dataSync()], [...small.dataSync(), ...large.dataSync()], 'resumed to the bit');
});

t.test('RMSProp that is not centered is left to TensorFlow.js', async (t) => {
  const [x, y] = [tf.variable(tf.scalar(2)), tf.variable(tf.scalar(2))];
  const [plain, wrapped] = [tf.train.rmsprop(0.1), hvd.DistributedOptimizer(tf.train.rmsprop(0.1))];
  for (let step = 0; step < 3; step += 1) {
    plain.minimize(square(x), false, [x]);
    wrapped.minimize(square(y), false, [y]);
  }
  t.same(y.dataSync(), x.dataSync());
});

t.test('setMomentum changes the momentum, on the wrapper and on the wrapped one', async (t) => {
  type WithMomentum = tf.Optimizer & { momentum: number; setMomentum(momentum: number): void };
  const steps = (optimizer: tf.Optimizer, set: () => void): number => {
    const x = tf.variable(tf.scalar(0));
    const step = (): unknown => optimizer.minimize(() => x.mul(1) as tf.Scalar, false, [x]);
    step();
    set();
    step();
    return x.dataSync()[0]!;
  };
  const plain = tf.train.momentum(1, 0.5);
  t.equal(
    steps(plain, () => plain.setMomentum(0)),
    -2.5,
    'the plain one goes on with 0.5',
  );
  const make = (): WithMomentum => hvd.DistributedOptimizer(tf.train.momentum(1, 0.5)) as unknown as WithMomentum;
  const [one, two] = [make(), make()];
  t.equal(
    steps(one, () => one.setMomentum(0)),
    -2,
  );
  t.equal(one.momentum, 0);
  t.equal(
    steps(two, () => (two.momentum = 1)),
    -3,
  );
  const inner = tf.train.momentum(1, 0.5);
  t.equal(
    steps(hvd.DistributedOptimizer(inner), () => inner.setMomentum(0)),
    -2,
  );
  const early = tf.train.momentum(1, 0.5);
  early.setMomentum(0);
  t.equal(
    steps(hvd.DistributedOptimizer(early), () => undefined),
    -2,
    'set before it was wrapped',
  );
  const lars = hvd.DistributedOptimizer(hvd.train.lars(1)) as WithMomentum;
  lars.setMomentum(0.25);
  t.equal(lars.getConfig().momentum, 0.25);
  const sgd = hvd.DistributedOptimizer(tf.train.sgd(1)) as unknown as WithMomentum;
  t.equal(sgd.momentum, undefined);
  t.throws(() => sgd.setMomentum(0.5), { code: 'ERR_HVD_USAGE', message: /SGD has no momentum/ });
});

t.test('dispose() of a wrapped Momentum leaves no tensor', async (t) => {
  const x = tf.variable(tf.scalar(1));
  const left = (wrap: (one: tf.Optimizer) => tf.Optimizer): number => {
    const before = tf.memory().numTensors;
    const optimizer = wrap(tf.train.momentum(0.1, 0.9));
    optimizer.minimize(square(x), false, [x]);
    optimizer.dispose();
    return tf.memory().numTensors - before;
  };
  t.equal(
    left((one) => one),
    1,
    'the plain one leaves its learning rate',
  );
  t.equal(
    left((one) => hvd.DistributedOptimizer(one)),
    0,
  );
});

t.test('a Momentum that was made inside tidy() works', async (t) => {
  const x = tf.variable(tf.scalar(1));
  let optimizer!: tf.Optimizer;
  tf.tidy(() => {
    optimizer = hvd.DistributedOptimizer(tf.train.momentum(0.1, 0.9));
  });
  optimizer.minimize(square(x), false, [x]);
  t.ok(x.dataSync()[0]! < 1);
});

t.test('Adamax: its state can be given to another, and to itself; no tensor is left', async (t) => {
  const run = async (stopAt: number): Promise<Uint8Array> => {
    const x = tf.variable(tf.tensor1d([1, -2]));
    let optimizer = hvd.DistributedOptimizer(tf.train.adamax(0.01, 0.9, 0.999, 1e-7, 0.1));
    for (let step = 0; step < 30; step += 1) {
      if (step === stopAt) {
        const [previous, before] = [optimizer, tf.memory().numTensors];
        optimizer = hvd.DistributedOptimizer(tf.train.adamax(0.01, 0.9, 0.999, 1e-7, 0.1));
        const weights = await previous.getWeights();
        await optimizer.setWeights(weights);
        const again = await optimizer.getWeights();
        await optimizer.setWeights(again);
        for (const list of [weights, again]) list[0]!.tensor.dispose();
        previous.dispose();
        t.equal(tf.memory().numTensors, before);
      }
      optimizer.minimize(square(x), false, [x]);
    }
    return new Uint8Array(Float32Array.from(x.dataSync()).buffer);
  };
  t.same(await run(13), await run(-1));
});

/** What a program of its own prints. */
function run(text: string): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'khorovod-mends-'));
  const file = path.join(folder, 'script.cjs');
  writeFileSync(file, text);
  const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 120_000 });
  rmSync(folder, { recursive: true });
  return `${stdout}${stderr}`;
}

t.test('a model saved with Adamax, or with an optimizer of hvd.train, loads in another process after selectBackend()', async (t) => {
  const entry = path.join(__dirname, '..', '..', '..', 'src', 'index.js');
  for (const make of [() => tf.train.adamax(0.01), () => hvd.train.nadam(), () => hvd.train.lars(1)]) {
    const model = smallNetwork(1);
    model.compile({ optimizer: hvd.DistributedOptimizer(make()), loss: 'categoricalCrossentropy' });
    for (let step = 0; step < 3; step += 1) await trainStep(model, step, 4);
    let artifacts: tf.io.ModelArtifacts | undefined;
    const keep = tf.io.withSaveHandler(async (all) => {
      artifacts = all;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    });
    await model.save(keep, { includeOptimizer: true });
    const data = Buffer.from(artifacts!.weightData as ArrayBuffer).toString('base64');
    const out = run(`
      const hvd = require(${JSON.stringify(entry)});
      const tf = require(${JSON.stringify(require.resolve('@tensorflow/tfjs'))});
      const artifacts = ${JSON.stringify({ ...artifacts, weightData: undefined })};
      artifacts.weightData = Uint8Array.from(Buffer.from('${data}', 'base64')).buffer;
      (async () => {
        await hvd.selectBackend('cpu');
        const model = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
        console.log(model.optimizer.getClassName(), model.optimizer.iterations);
      })();`);
    t.match(out, new RegExp(`${make().getClassName()} 3`));
  }
});
