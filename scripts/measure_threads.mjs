// Allreduce between communication threads alone: `node scripts/measure_threads.mjs [-np 2] [--sizes 1024,1048576] [--transport auto] [--calls 0]` (after `npm run build`).
//
// No main thread, no negotiation: each rank's process is its own communication thread and carries out the same operations in the same order, as the engine does after it has negotiated. What `tsrun bench`
// measures beyond this is the way of a call from the program to that thread and back, and the negotiation. Comparable with MPI_Allreduce in a loop. Mean time of a call over 5 batches of calls one after
// the other, the batch in the middle, after three
// more to warm up; every element verified before and after.
import { fileURLToPath } from 'node:url';
import { built, jobResult, median, ranksOf, readOptions, sizeText, tableText, tellResult, timeText, wordsOf } from './measuring.mjs';

const values = readOptions({
  np: '2',
  sizes: '1024,65536,1048576,16777216,67108864',
  transport: 'auto',
  calls: '0',
  worker: { type: 'boolean' },
});
const sizes = values.sizes.split(',').map(Number);
const BATCHES = 5;
const callsOf = (bytes) => Number(values.calls) || (bytes <= 65536 ? 4000 : bytes <= 1 << 20 ? 1000 : 12);

async function worker() {
  const { readConfig } = await built('src/config.js');
  const { createMemory } = await built('src/memory/arena.js');
  const { makeKernels } = await built('src/memory/kernels.js');
  const { layOutRegions } = await built('src/engine/messages.js');
  const { openLocalMemory, ranksThatShare } = await built('src/engine/neighbours.js');
  const { openSession } = await built('src/engine/session.js');
  const { Operations } = await built('src/engine/operations.js');
  const config = readConfig();
  const regions = layOutRegions(config.fusionThresholdBytes, ranksThatShare(config, undefined), config.localRank);
  const memory = createMemory();
  const until = Math.max(regions.leastBytes, regions.reservedBytes + Math.max(...sizes));
  memory.grow(Math.ceil((until - memory.buffer.byteLength) / 65536));
  const kernels = makeKernels(memory);
  const local = openLocalMemory(config, undefined, memory, kernels, regions.windows);
  const die = (error) => {
    throw error;
  };
  const session = await openSession(
    config,
    undefined,
    0,
    { onMessage() {}, onFailure: die, onDeparted() {} },
    (_peer, error) => die(error),
    local,
  );
  const beats = setInterval(() => session.control.tick(), session.control.beatMs);
  const operations = new Operations(memory, kernels, regions, session.transport, config.size, session.hostOf, session.policy);
  let tag = 0;
  const byteOffset = regions.reservedBytes;
  const reduce = (bytes) => {
    const call = {
      name: 'a',
      kind: 'allreduce',
      dtype: 'float32',
      parts: [[bytes / 4]],
      op: 'sum',
      prescale: 1,
      postscale: 1,
      root: 0,
      processSet: 0,
      compression: 'none',
    };
    tag += 1;
    return operations.run({ keys: ['0:a'], kind: 'allreduce', processSet: 0, tag, sizes: [] }, [
      { id: 1, slot: 0, call, byteOffset, bytes, isAwaited: true },
    ]);
  };
  const sum = (config.size * (config.size + 1)) / 2;
  const verify = async (bytes) => {
    const array = new Float32Array(memory.buffer, byteOffset, bytes / 4);
    for (let i = 0; i < array.length; i += 1) array[i] = (config.rank + 1) * ((i % 251) + 1);
    await reduce(bytes);
    const wrong = array.findIndex((value, i) => value !== sum * ((i % 251) + 1));
    if (wrong >= 0) throw new Error(`${bytes} bytes: element ${wrong} is ${array[wrong]}`);
    array.fill(0);
  };
  const result = [];
  // Until V8 has compiled what all sizes have in common; it takes the processor from calls meanwhile.
  for (let call = 0; call < 1000; call += 1) await reduce(Math.min(1 << 20, Math.max(...sizes)));
  for (const bytes of sizes) {
    await verify(bytes);
    await verify(bytes);
    const calls = callsOf(bytes);
    // Until V8 has optimised what is called, kernels too. All ranks do as many calls.
    for (let call = 0; call < 3 * calls; call += 1) await reduce(bytes);
    const batches = [];
    for (let batch = 0; batch < BATCHES; batch += 1) {
      await reduce(bytes);
      const from = performance.now();
      for (let call = 0; call < calls; call += 1) await reduce(bytes);
      batches.push(((performance.now() - from) * 1000) / calls);
    }
    await verify(bytes);
    result.push({ bytes, us: median(batches), least: Math.min(...batches), most: Math.max(...batches) });
  }
  await reduce(4);
  tellResult({ rank: () => config.rank }, result);
  clearInterval(beats);
  session.control.sendAll({ goodbye: { failed: false, reason: 'all is measured' } });
  await session.close(1000);
}

if (values.worker) await worker();
else {
  const { np, transport } = values;
  const result = jobResult(
    [...ranksOf({ np }), '--transport', transport],
    [fileURLToPath(import.meta.url), '--worker', ...wordsOf(values)],
  );
  const rows = result.map(({ bytes, us, least, most }) => [
    sizeText(bytes),
    timeText(us),
    `${timeText(least)} … ${timeText(most)}`,
    (bytes / us / 1000).toFixed(2),
  ]);
  console.log(tableText(['size', 'a call', 'lowest … highest batch', 'GB/s'], rows));
}
