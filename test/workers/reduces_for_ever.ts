/**
 * Joins the job, says that it is ready (`ready-RANK` with its pid), and reduces until something ends it, counting in `steps-RANK`. Arguments: a folder for the files.
 */
import * as hvd from '../../src/index';
import { put } from '../helpers/put';

const [folder = ''] = process.argv.slice(2);
hvd.init();
const rank = hvd.rank();
for (let step = 0; ; step += 1) {
  const [sum] = hvd.allreduce(new Float32Array(1000).fill(1), { op: hvd.Sum, name: 'beat' });
  if (sum !== hvd.size()) throw new Error(`the sum is ${sum}`);
  if (step === 3) put(folder, `ready-${rank}`, String(process.pid));
  if (step % 100 === 0) put(folder, `steps-${rank}`, String(step));
}
