/** Reports made numbers: `--batch-size B` times ranks to the power 0.9, a little more with every run of the job, counted in the folder `--count F`. `--fail-at N`: rank N − 1 of N throws. `--wait F`: until that file is there, with `--wait-at N` only N ranks. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import * as hvd from '../../src/index';

const given = (name: string, otherwise = ''): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1]!;
};
hvd.init();
const size = hvd.size();
const batch = Number(given('batch-size', '10'));
if (Number(given('fail-at')) === size) {
  if (hvd.rank() === size - 1) throw new Error(`made to fail at ${size}`);
  hvd.barrier();
}
if (hvd.rank() === 0) {
  const file = path.join(given('count', '.'), `runs_${size}_${batch}`);
  appendFileSync(file, 'x');
  const runs = readFileSync(file, 'utf8').length;
  hvd.report({ imagesPerSec: 1, epoch: 0, backend: 'none' });
  hvd.report({ loss: 1 / runs, imagesPerSec: batch * size ** 0.9 * (1 + runs / 100), epoch: 1 });
}
const wait = given('wait');
const waits = wait !== '' && [size, Number.NaN].includes(Number(given('wait-at', 'NaN')));
while (waits && !existsSync(wait)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
hvd.barrier();
hvd.shutdown();
