/** Joins the job of whatever started it, reduces, and prints one line of JSON: who it is and the sum. Arguments: how often (default 1; each time a generation of its own). */
import * as hvd from '../../src/index';

const [times = '1'] = process.argv.slice(2);
for (let generation = 1; generation <= Number(times); generation += 1) {
  hvd.init();
  const sum = hvd.allreduce(Float32Array.of(hvd.rank() + 1), { op: hvd.Sum })[0];
  const [rank, size, local, cross] = [hvd.rank(), hvd.size(), [hvd.localRank(), hvd.localSize()], [hvd.crossRank(), hvd.crossSize()]];
  const line = { generation, rank, size, local, cross, homogeneous: hvd.isHomogeneous(), host: hvd.hostname(), sum };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  hvd.shutdown();
}
