/**
 * Does everything that a timeline shows, round after round, until a file `stop` appears in the folder. Arguments: folder, and the path of a timeline to start, if any.
 * After three rounds it says so, with its process id; at its end it gives the text of its timeline.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import * as hvd from '../../src/index';
import { put } from '../helpers/put';
import { smallNetwork, trainStep } from '../helpers/small_network';

async function main(): Promise<void> {
  const [folder, timeline] = process.argv.slice(2) as [string, string?];
  hvd.init();
  const [rank, size] = [hvd.rank(), hvd.size()];
  await hvd.selectBackend('wasm');
  const model = smallNetwork(1);
  model.compile({ optimizer: hvd.DistributedOptimizer('sgd', { name: 'training' }), loss: 'categoricalCrossentropy' });
  if (timeline) hvd.startTimeline(timeline, { markCycles: true });
  for (let round = 1, isOver = false; !isOver; round += 1) {
    hvd.allreduce(new Float32Array(8), { name: 'small' });
    // Scattered, so that fusing them needs copies; then something to do while they travel.
    const handles = [300_000, 400_000].map((elems, i) => hvd.allreduceAsync(new Float32Array(elems), { name: `large ${i} "quoted"` }));
    await trainStep(model, rank * 4, 4);
    for (const handle of handles) hvd.synchronize(handle);
    hvd.allgather(new Float32Array(rank + 1));
    await Promise.all([hvd.broadcastAsync(new Float32Array(5), 0), hvd.alltoallAsync(new Float32Array(size))]);
    try {
      hvd.allreduce(new Float32Array(1 + rank), { name: 'odd' });
    } catch (error) {
      if (!(error instanceof hvd.MismatchError)) throw error;
    }
    hvd.barrier();
    isOver = hvd.allreduce(new Float32Array([existsSync(path.join(folder, 'stop')) ? 1 : 0]), { op: 'max', name: 'is over' })[0] === 1;
    if (round === 3) put(folder, `going.${rank}`, `${process.pid}`);
  }
  if (!timeline) return;
  hvd.stopTimeline();
  const own = timeline.replace('%r', `${rank}`);
  if (existsSync(own)) put(folder, `stopped.${rank}`, readFileSync(own, 'utf8'));
}

void main();
