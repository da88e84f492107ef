/** Joins the job, says that it is ready (a file with its pid), and reduces until something ends it. Arguments: a folder for the file. */
import { renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as hvd from '../../src/index';

const [folder] = process.argv.slice(2);
hvd.init();
const file = path.join(folder!, `ready-${hvd.rank()}`);
for (let step = 0; ; step += 1) {
  hvd.allreduce(new Float32Array(1000).fill(1), { op: hvd.Sum, name: 'beat' });
  if (step !== 3) continue;
  writeFileSync(`${file}.part`, String(process.pid));
  renameSync(`${file}.part`, file);
}
