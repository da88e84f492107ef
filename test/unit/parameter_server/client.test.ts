/** A worker, and servers that say what the test wants them to. */
import t from 'tap';
import { layOut } from '../../../src/parameter_server/layout';
import { type Head, writeHead } from '../../../src/parameter_server/protocol';
import { WINDOW_BYTES_PER_SERVER } from '../../../src/parameter_server/push_window';
import { inProcessTransports } from '../../../src/transport/in_process';
import { TestWorker } from './serving';

t.test(
  'when one server has failed an optimizer, an answer of another is no error of the job, though pieces still waited to leave',
  async (t) => {
    // Sends are copied at once: the servers need not take them.
    const transports = { pushes: inProcessTransports(3), pulls: inProcessTransports(3) };
    const elems = WINDOW_BYTES_PER_SERVER / 4;
    const worker = new TestWorker(
      0,
      { workers: 1, servers: 2, rule: { kind: 'sgd' }, mode: { kind: 'sync' }, buckets: [[elems], [elems], [elems], [elems]] },
      transports,
    );
    const say = (server: number, head: Pick<Head, 'kind'> & Partial<Head>, ...rest: Uint8Array[]): void => {
      for (const bytes of [writeHead({ optimizer: 1, ...head }), ...rest]) void transports.pulls[1 + server]!.send(0, 0, bytes);
    };
    const opening = worker.open(() => 0);
    for (const server of [0, 1]) say(server, { kind: 'opened' });
    await opening;

    const pushing = worker.push(1, () => 1);
    const text = Buffer.from(JSON.stringify({ code: 'ERR_HVD_PEER', message: 'a worker is gone' }));
    say(0, { kind: 'failed', textBytes: text.length }, text);
    await t.rejects(pushing, { code: 'ERR_HVD_PEER', message: 'a worker is gone' });
    const [piece] = layOut(worker.buckets, 2).byServer[1]!;
    say(1, { kind: 'values' }, new Uint8Array(piece!.variables.length), new Uint8Array(4 * piece!.elems));
    const closing = worker.close();
    for (const server of [0, 1]) say(server, { kind: 'closed' });
    await closing;
    t.equal(worker.failure, undefined);
  },
);
