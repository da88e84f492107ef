/** Stops a timeline (argument: its file) when the communication thread has ended, then ends at once: leaving would wait for that thread. */
import type { Worker } from 'node:worker_threads';
import * as hvd from '../../src/index';
import { currentEngine } from '../../src/job';

async function main(): Promise<void> {
  hvd.init();
  hvd.startTimeline(process.argv[2]!);
  await (currentEngine('test') as unknown as { worker: Worker }).worker.terminate();
  hvd.stopTimeline();
  process.kill(process.pid, 'SIGKILL');
}
void main();
