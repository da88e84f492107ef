// Draws what scripts/study/optimizers.mjs has recorded: `node scripts/study/optimizer_figures.mjs RESULTS FOLDER [--png]` (after `npm run build`).
//
//   optimizers-together.svg   accuracy on test images against epochs, all optimizers in one chart
//   optimizers-accuracy.svg   accuracy on training and test images, a chart each
//   optimizers-loss.svg       mean cross-entropy on training and test images, a chart each
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const { lineChart, toPng } = createRequire(import.meta.url)(path.join(root, 'dist/src/bench/plots.js'));
const [results, folder, ...rest] = process.argv.slice(2);
if (!results || !folder) {
  process.stderr.write('Give the folder of the results and that of the figures.\n');
  process.exit(2);
}
const ORDER = ['sgd', 'momentum', 'nesterov', 'rmsprop', 'adam', 'adagrad', 'nadam'];
const found = readdirSync(results)
  .filter((name) => name.endsWith('.json') && ORDER.includes(path.basename(name, '.json')))
  .map((name) => JSON.parse(readFileSync(path.join(results, name), 'utf8')))
  .sort((a, b) => ORDER.indexOf(a.optimizer) - ORDER.indexOf(b.optimizer));
if (found.length === 0) {
  process.stderr.write(`${results} holds no results of an optimizer.\n`);
  process.exit(1);
}
const { trainImages, testImages, ranks, batchSize, learningRate, epochs } = found[0].settings;
const shortest = Math.min(...found.map((one) => one.epochs.length));
const subtitle = `CIFAR-10, ${trainImages} images to train on, ${testImages} to test; ${ranks} ranks, batch ${batchSize} a rank, learning rate ${learningRate} for all${shortest < epochs ? `; so far ${shortest} of ${epochs} epochs of all` : ''}`;
const pointsOf = ({ epochs }, field, scale) =>
  epochs.filter((epoch) => epoch[field] !== null).map((epoch) => ({ x: epoch.epoch, y: scale * epoch[field] }));

async function draw(name, chart) {
  const svg = await lineChart({ subtitle, x: { title: 'epoch' }, ...chart });
  writeFileSync(path.join(folder, `${name}.svg`), svg);
  if (rest.includes('--png')) writeFileSync(path.join(folder, `${name}.png`), await toPng(svg));
}
const trainAndTest = (train, test, scale) =>
  found.flatMap((one) => [
    { name: 'training', facet: one.optimizer, points: pointsOf(one, train, scale) },
    { name: 'test', facet: one.optimizer, points: pointsOf(one, test, scale) },
  ]);

mkdirSync(folder, { recursive: true });
await draw('optimizers-together', {
  title: 'Accuracy on test images, seven optimizers',
  width: 1100,
  height: 420,
  y: { title: 'accuracy, %' },
  series: found.map((one) => ({ name: one.optimizer, points: pointsOf(one, 'testAccuracy', 100) })),
});
await draw('optimizers-accuracy', {
  title: 'Accuracy on training and test images',
  y: { title: 'accuracy, %', min: 0, max: 100 },
  series: trainAndTest('trainAccuracy', 'testAccuracy', 100),
  columns: 4,
});
await draw('optimizers-loss', {
  title: 'Loss on training and test images',
  y: { title: 'cross-entropy', scale: 'log' },
  series: trainAndTest('trainLoss', 'testLoss', 1),
  columns: 4,
});
