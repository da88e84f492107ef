/** The optimizers' study: what is gone on from a checkpoint, which rank 0 alone can read, ends with the bits of what was not interrupted; for each of the seven optimizers. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import * as hvd from 'khorovod';
import t from 'tap';
import { batchOf } from '../../examples/cifar10/batch';
import { makeGratings } from '../../examples/cifar10/data';
import { optimizers } from '../../examples/cifar10/network';
import { CheckpointError, type Result, restore, save } from '../../scripts/study/checkpoint';
import { begin, evaluate, trainEpoch } from '../../scripts/study/training';

hvd.init();
const images = makeGratings(14, 1);
const settings = { epochs: 2, ranks: hvd.size(), batchSize: 4, learningRate: 0.001, seed: 1, trainImages: 14, testImages: 14, sha256: '' };
let backend = '';

t.before(async () => {
  // Of all backends that every checkout has the only one that trains this network in seconds.
  backend = (await hvd.selectBackend('wasm')).name;
});
t.afterEach(() => tf.disposeVariables());

const bitsOf = async (model: tf.LayersModel, optimizer: tf.Optimizer): Promise<string> => {
  const hash = createHash('sha256');
  const slots = await optimizer.getWeights();
  for (const tensor of [...model.getWeights(), ...slots.map((slot) => slot.tensor)])
    hash.update(new Uint8Array(tensor.dataSync().slice().buffer));
  return hash.digest('hex');
};
/** Each rank its own: that of ranks other than the first stays empty. */
function ownFolder(t: { teardown(act: () => void): void }): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'khorovod-study-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Epochs until the last of `upTo`, saved at its end. */
async function run(folder: string, name: string, upTo: number) {
  const { model, optimizer, epochs, done } = await begin(folder, name, settings, backend);
  for (let epoch = done + 1; epoch <= upTo; epoch += 1) {
    await trainEpoch(model, images, settings, epoch);
    const { loss, accuracy } = evaluate(model, images);
    const measured = { trainLoss: loss, trainAccuracy: accuracy, testLoss: loss, testAccuracy: accuracy };
    epochs.push({ epoch, ...measured, seconds: 1, trainSeconds: 1 });
  }
  const result: Result = { optimizer: name, settings, machine: { backend }, epochs };
  if (hvd.rank() === 0) await save(folder, result, model, optimizer);
  const bits = await bitsOf(model, optimizer);
  optimizer.dispose();
  model.dispose();
  return { done, bits, losses: epochs.map(({ trainLoss }) => trainLoss).slice(-1) };
}

for (const name of Object.keys(optimizers))
  t.test(`${name}: interrupted and not`, async (t) => {
    const whole = await run(ownFolder(t), name, 2);
    const folder = ownFolder(t);
    const first = await run(folder, name, 1);
    t.equal(first.done, 0);
    t.not(first.bits, whole.bits);
    const second = await run(folder, name, 2);
    t.equal(second.done, 1);
    t.equal(second.bits, whole.bits);
    t.same(second.losses, whole.losses);
    t.same(hvd.allgatherObject(second.bits), Array(hvd.size()).fill(second.bits), 'the same on all ranks');
    const left = hvd.rank() === 0 ? [`${name}.checkpoint`, `${name}.json`] : [];
    t.same(readdirSync(folder).sort(), left);
    if (hvd.rank() > 0) return;
    const { epochs, ...about } = JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8')) as Result;
    t.same(about, { optimizer: name, settings, machine: { backend } });
    t.same(
      epochs.map(({ epoch }) => epoch),
      [1, 2],
    );
  });

t.test('the loss is the mean over all images, whatever number of ranks looks at them', async (t) => {
  const { model } = await begin(ownFolder(t), 'sgd', settings, backend);
  const { loss, accuracy } = evaluate(model, images);
  const order = Int32Array.from({ length: images.count }, (_, i) => i);
  const { xs, ys } = batchOf(images, order, 0, images.count);
  const told = model.predictOnBatch(xs) as tf.Tensor;
  const expected = tf.metrics.categoricalCrossentropy(ys, told).mean().dataSync()[0]!;
  t.ok(Math.abs(loss - expected) < 1e-4, `${loss} for ${expected}`);
  t.equal(accuracy, told.argMax(1).equal(ys.argMax(1)).sum().dataSync()[0]! / images.count);
});

t.test('a checkpoint that is damaged, or that another backend has written, is refused', async (t) => {
  const folder = ownFolder(t);
  const { model, optimizer } = await begin(folder, 'sgd', settings, backend);
  t.same(await restore(folder, 'sgd', backend, model, optimizer), [], 'there is none');
  await save(folder, { optimizer: 'sgd', settings, machine: { backend }, epochs: [] }, model, optimizer);
  await t.rejects(restore(folder, 'sgd', 'other', model, optimizer), {
    message: new RegExp(`was written on the backend ${backend}, but this is other: go on with TSRUN_BACKEND=${backend}`),
  });
  const file = path.join(folder, 'sgd.checkpoint');
  writeFileSync(file, readFileSync(file).subarray(0, 1000));
  const error = await restore(folder, 'sgd', backend, model, optimizer).catch((thrown: unknown) => thrown);
  t.ok(error instanceof CheckpointError, String(error));
  t.match(String(error), /sgd\.checkpoint is damaged .*: remove it to start sgd anew/);
});

t.teardown(() => hvd.shutdown());
