/**
 * The main thread of a parameter server's process: `init()` ends here. It waits while the communication thread serves, and ends the process when the last worker has left.
 *
 * Main thread. The process ends with 0, or with 1 when the server has failed; its error is recorded for the launcher.
 */
import path from 'node:path';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { type Config, ownThread } from '../config';
import { RendezvousError, recordOf } from '../errors';
import { log } from '../log';
import { Boundary } from './boundary';
import { awaitServing } from './engine';
import { writeErrorFile } from './error_file';
import type { FromThread } from './messages';

/** The thread itself loses patience first. */
const START_MS = 60_000;

export interface ServerThreadData {
  readonly config: Config;
  readonly words: Int32Array;
}

export function serve(config: Config): never {
  const boundary = new Boundary();
  const { port1, port2 } = new MessageChannel();
  const data: ServerThreadData = { config, words: boundary.words };
  new Worker(path.join(__dirname, 'server_thread.js'), {
    ...ownThread('khorovod-server'),
    workerData: { ...data, port: port2 },
    transferList: [port2],
  });
  const deadlineMs = performance.now() + config.startTimeoutSeconds * 1000 + START_MS;
  while (boundary.threadState === 'starting' && performance.now() < deadlineMs) boundary.awaitThread('starting', 1000);
  awaitServing(boundary);
  const said = receiveMessageOnPort(port1)?.message as FromThread | undefined;
  if (boundary.threadState === 'stopped' && !said) process.exit(0);
  const record = said?.kind === 'failed' ? said.error : recordOf(new RendezvousError('The server did not start, or stopped answering.'));
  log('ERROR', record.message);
  writeErrorFile(config, record);
  process.exit(1);
}
