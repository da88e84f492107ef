/**
 * Sums arrays of several sizes, so that every algorithm is used, and looks at each element of each sum. Ends when there is a file `stop` in its folder, or after so many steps, and prints that
 * all were right. Says that it is there by `ready-RANK` with its pid, counts in `steps-RANK`. Arguments: a folder, steps (none: until `stop`).
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import * as hvd from '../../src/index';
import { put } from '../helpers/put';

const [folder = '', most = 'Infinity'] = process.argv.slice(2);
const SIZES = [1, 1000, 50_000, 300_000];
const inputs = SIZES.map((length) => new Float32Array(length));
hvd.init();
const [rank, size] = [hvd.rank(), hvd.size()];
/** Small whole numbers: their sums are exact in any order. */
const termOf = (step: number, elem: number, of: number): number => ((step * 7 + elem) % 1000) + of;

let step = 0;
for (let isOver = false; !isOver; step += 1) {
  const length = SIZES[step % SIZES.length]!;
  const values = inputs[step % SIZES.length]!;
  for (let elem = 0; elem < length; elem += 1) values[elem] = termOf(step, elem, rank);
  const sum = hvd.allreduce(values, { op: hvd.Sum, name: `sum ${length}` });
  for (let elem = 0; elem < length; elem += 1) {
    const right = size * termOf(step, elem, 0) + (size * (size - 1)) / 2;
    if (sum[elem] !== right) throw new Error(`step ${step}, element ${elem}: the sum is ${sum[elem]}, not ${right}`);
  }
  if (step === 3) put(folder, `ready-${rank}`, String(process.pid));
  put(folder, `steps-${rank}`, String(step));
  // Rank 0 decides for all: a rank that stopped alone would leave the others waiting.
  const wantsEnd = rank === 0 && (step + 1 >= Number(most) || existsSync(path.join(folder, 'stop')));
  isOver = hvd.allreduce(Float32Array.of(wantsEnd ? 1 : 0), { op: hvd.Sum, name: 'end' })[0]! > 0;
}
console.log(`all sums right on ${process.env.HOROVOD_HOSTNAME}`);
