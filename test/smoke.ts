/** Two ranks and a ring: the first thing to run on a machine. `npm run smoke`. */
import * as hvd from '../src/index';

hvd.init();
const elems = 1_000_003;
const sum = hvd.allreduce(new Float32Array(elems).fill(hvd.rank() + 1), { op: hvd.Sum, name: 'smoke' });
const expected = (hvd.size() * (hvd.size() + 1)) / 2;
const wrong = sum.findIndex((value) => value !== expected);
if (wrong >= 0) throw new Error(`element ${wrong} is ${sum[wrong]}, expected ${expected}`);
process.stdout.write(
  `rank ${hvd.rank()} of ${hvd.size()}: an allreduce of ${elems} elements is right (khorovod ${hvd.buildInfo().version}, Node ${process.version})\n`,
);
