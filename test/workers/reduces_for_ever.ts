/**
 * Joins the job, says that it is ready (`ready-RANK` with its pid), and reduces until something ends it, counting in `steps-RANK`. Arguments: a folder for the files.
 */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as hvd from '../../src/index';

const [folder] = process.argv.slice(2);
hvd.init();
const put = (name: string, text: string): void => {
  const file = path.join(folder!, `${name}-${hvd.rank()}`);
  writeFileSync(`${file}.part`, text);
  renameSync(`${file}.part`, file);
};
for (let step = 0; ; step += 1) {
  const [sum] = hvd.allreduce(new Float32Array(1000).fill(1), { op: hvd.Sum, name: 'beat' });
  if (sum !== hvd.size()) throw new Error(`the sum is ${sum}`);
  if (step === 3) put('ready', String(process.pid));
  if (step % 100 === 0) put('steps', String(step));
}
