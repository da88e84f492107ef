/** The other thread of arena.test.ts: makes its kernels and views before the memory grows, uses them after. It asks for no message in between. */
import { parentPort, workerData } from 'node:worker_threads';
import { bytesOf } from '../../../src/memory/arena';
import { makeKernels } from '../../../src/memory/kernels';

const { memory } = workerData as { memory: WebAssembly.Memory };
const kernels = makeKernels(memory);
kernels.reduce('uint8', 'sum', 128, 192, 1);
const mailbox = new Int32Array(memory.buffer, 0, 3);
parentPort?.postMessage('ready');
const deadline = Date.now() + 20_000;
while (Atomics.load(mailbox, 0) === 0 && Date.now() < deadline);
const [target, source] = [Atomics.load(mailbox, 1), Atomics.load(mailbox, 2)];
kernels.reduce('uint8', 'sum', target, source, 1000);
kernels.copy(source, target, 1000);
parentPort?.postMessage([...bytesOf(memory, target, 1000), ...bytesOf(memory, source, 1000)]);
