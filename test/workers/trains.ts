/** Trains the small network for some steps and prints a checksum of its weights (rank 0). Arguments: optimizer, steps. */
import { createHash } from 'node:crypto';
import * as hvd from '../../src/index';
import { bytesOf, smallNetwork, trainStep, weightsOf } from '../helpers/small_network';

async function main(): Promise<void> {
  const [optimizer, steps] = process.argv.slice(2);
  hvd.init();
  await hvd.selectBackend('wasm');
  const model = smallNetwork(1);
  model.compile({ optimizer: hvd.DistributedOptimizer(optimizer!), loss: 'categoricalCrossentropy' });
  for (let step = 0; step < Number(steps); step += 1) await trainStep(model, (step * hvd.size() + hvd.rank()) * 4, 4);
  const sum = createHash('sha256')
    .update(bytesOf(weightsOf(model)))
    .digest('hex');
  const sums = hvd.allgatherObject(sum);
  if (hvd.rank() === 0) console.log(`weights ${new Set(sums).size === 1 ? sum : `differ: ${sums.join(' ')}`}`);
}

void main();
