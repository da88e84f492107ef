/** PartialDistributedOptimizer and loadModel on every rank. Each rank checks against numbers that it computes by itself. */
import * as tf from '@tensorflow/tfjs';
import t from 'tap';
import * as hvd from '../../src/index';
import { bytesOf, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
const mean = (size - 1) / 2;
const several = size > 1 ? {} : { skip: 'one rank has the plain optimizer, which mixes them up' };

t.before(async () => {
  await hvd.selectBackend();
});
t.beforeEach(() => tf.engine().startScope());
t.afterEach(() => {
  tf.engine().endScope();
  tf.disposeVariables();
});

const ones = (units: number): tf.layers.Layer => tf.layers.dense({ units, useBias: false, kernelInitializer: 'ones' });
/** Three kernels of ones, the middle one local. */
function threeLayers() {
  const layers = [ones(1), ones(1), ones(1)] as [tf.layers.Layer, tf.layers.Layer, tf.layers.Layer];
  return { layers, build: () => layers.map((layer) => layer.build([null, 1])) };
}
const kernelsOf = (layers: tf.layers.Layer[]): tf.Variable[] => layers.map((layer) => layer.trainableWeights[0]!.read() as tf.Variable);
const valuesOf = (variables: tf.Variable[]): number[] => variables.map((one) => one.dataSync()[0]!);
const isClose = (found: number[], expected: number[]): boolean => found.every((x, i) => Math.abs(x - expected[i]!) < 1e-5);
const lossOf = (variables: tf.Variable[]) => (): tf.Scalar => tf.addN(variables.map((one) => one.mul(rank).sum())) as tf.Scalar;

t.test('local gradients are the own ones, divided by the number of ranks or whole, in their positions', async (t) => {
  for (const scaleLocalGradients of [undefined, true, false]) {
    for (const isList of [true, false]) {
      const { layers, build } = threeLayers();
      // The layer is not built yet.
      const optimizer = hvd.PartialDistributedOptimizer(tf.train.momentum(1, 0.5), { localLayers: [layers[1]], scaleLocalGradients });
      build();
      const variables = kernelsOf(layers);
      const before = tf.memory().numTensors;
      for (let step = 0; step < 2; step += 1) optimizer.minimize(lossOf(variables), false, isList ? variables : undefined);
      const own = scaleLocalGradients === false ? rank : rank / size;
      // Momentum 0.5: steps of 1 and 1.5 times the gradient.
      t.ok(
        isClose(valuesOf(variables), [1 - 2.5 * mean, 1 - 2.5 * own, 1 - 2.5 * mean]),
        `scaled: ${scaleLocalGradients}, list: ${isList}: ${valuesOf(variables)}`,
      );
      t.equal(tf.memory().numTensors, before + 3, 'the slots');
      tf.dispose(variables);
    }
  }
});

t.test('by name, slots stay with their variables when more come', several, async (t) => {
  const { layers, build } = threeLayers();
  build();
  const [a, local, late] = kernelsOf(layers) as [tf.Variable, tf.Variable, tf.Variable];
  const optimizer = hvd.PartialDistributedOptimizer(tf.train.momentum(1, 0.5), { localLayers: [layers[1]], scaleLocalGradients: false });
  const loss =
    (...variables: tf.Variable[]) =>
    (): tf.Scalar =>
      tf.addN(variables.map((one) => one.sum())) as tf.Scalar;
  optimizer.minimize(loss(a, local));
  optimizer.minimize(loss(a, late));
  optimizer.minimize(loss(a, local, late));
  t.ok(isClose(valuesOf([a, local, late]), [1 - 1 - 1.5 - 1.75, 1 - 1 - 1.5, 1 - 1 - 1.5]), `${valuesOf([a, local, late])}`);
});

t.test('layers that are local on some ranks only, of other sizes, under fit and with passes', async (t) => {
  const [shared, own] = [ones(1), ones(rank + 1)];
  const model = tf.sequential({ layers: [tf.layers.inputLayer({ inputShape: [1] }), shared, own] });
  const optimizer = hvd.PartialDistributedOptimizer(tf.train.sgd(0.1), { localLayers: [own], backwardPassesPerStep: 2 });
  model.compile({ optimizer, loss: 'meanAbsoluteError' });
  const [xs, ys] = [tf.tensor2d([[1]]), tf.zeros([1, rank + 1])];
  await model.trainOnBatch(xs, ys);
  await model.trainOnBatch(xs, ys);
  // y = shared · own_i, all 1; of |y| averaged over rank + 1 outputs the gradients are 1 and 1 / (rank + 1). Two passes are summed.
  const [kernel] = valuesOf(kernelsOf([shared]));
  t.ok(isClose([kernel!], [1 - 0.2]), `${kernel}`);
  const found = [...(own.trainableWeights[0]!.read().dataSync() as Float32Array)];
  t.ok(isClose(found, new Array(rank + 1).fill(1 - 0.2 / (rank + 1) / size)), `${found}`);
});

t.test('what is wrong is said at the call', async (t) => {
  const wrong = (options: object, message: RegExp): void =>
    void t.throws(() => hvd.PartialDistributedOptimizer(tf.train.sgd(1), options as never), { code: 'ERR_HVD_USAGE', message });
  wrong({}, /PartialDistributedOptimizer: localLayers is a list of layers, but was undefined/);
  wrong({ localLayers: [tf.variable(tf.scalar(1))] }, /entry 0/);
  wrong({ localLayers: [null] }, /entry 0 is null/);
  wrong({ localLayers: [], scaleLocalGradients: 2 }, /scaleLocalGradients is true or false/);
  wrong({ localLayers: [], local: 1 }, /no option 'local'/);
  t.throws(() => hvd.DistributedOptimizer(hvd.PartialDistributedOptimizer(tf.train.sgd(1), { localLayers: [] })), /wrapped already/);
});

async function saved(model: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  const handler = tf.io.withSaveHandler(async (given) => {
    artifacts = given;
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  });
  await model.save(handler, { includeOptimizer: true });
  return artifacts!;
}

for (const [name, make] of Object.entries({
  Adam: () => tf.train.adam(0.002),
  Adamax: () => tf.train.adamax(0.002),
  Nadam: () => hvd.train.nadam(0.002),
}))
  t.test(`loadModel: with ${name} training resumes to the bit, reduced again`, async (t) => {
    const model = smallNetwork(3);
    model.compile({ optimizer: hvd.DistributedOptimizer(make()), loss: 'categoricalCrossentropy' });
    const steps = async (one: tf.LayersModel, from: number): Promise<void> => {
      for (let step = from; step < from + 3; step += 1) await trainStep(one, (step * size + rank) * 4, 4);
    };
    await steps(model, 0);
    const loaded = await hvd.loadModel(tf.io.fromMemory(await saved(model)), { name: `loaded.${name}` });
    t.equal(loaded.optimizer.iterations, 3);
    await steps(model, 3);
    await steps(loaded, 3);
    t.same(bytesOf(weightsOf(loaded)), bytesOf(weightsOf(model)));
    const own = bytesOf(weightsOf(loaded));
    t.ok(
      hvd.allgather(own).every((byte, i) => byte === own[i % own.length]),
      'replicas are equal',
    );
    // Disposed of, it leaves as much as TensorFlow.js's own.
    const artifacts = await saved(loaded);
    const left = async (load: () => Promise<tf.LayersModel>): Promise<number> => {
      const before = tf.memory().numTensors;
      (await load()).dispose();
      return tf.memory().numTensors - before;
    };
    t.equal(
      await left(() => hvd.loadModel(tf.io.fromMemory(artifacts))),
      await left(() => tf.loadLayersModel(tf.io.fromMemory(artifacts))),
    );
  });

t.test('loadModel: without an optimizer, and what it cannot load', async (t) => {
  const artifacts = await saved(tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [1] })] }));
  const plain = await hvd.loadModel({ load: async () => artifacts });
  t.equal(plain.optimizer, undefined);
  // Only tfjs-node reads files.
  const refusal =
    tf.getBackend() === 'tensorflow' ? /does not exist/ : { code: 'ERR_HVD_USAGE', message: /file:\/\/ needs @tensorflow\/tfjs-node/ };
  await t.rejects(hvd.loadModel('file:///no/model.json'), refusal);
  await t.rejects(hvd.loadModel(null as never), { code: 'ERR_HVD_USAGE', message: /takes a URL/ });
  await t.rejects(hvd.loadModel({}), { code: 'ERR_HVD_USAGE' });
  await t.rejects(hvd.loadModel('http://127.0.0.1:1/model.json', { op: 'min' as never }), {
    code: 'ERR_HVD_USAGE',
    message: /loadModel: op/,
  });
});
