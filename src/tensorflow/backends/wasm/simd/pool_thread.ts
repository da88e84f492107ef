/**
 * A helper of the thread pool: takes its range of each kernel that the main thread divides. Runs on a thread of its own, over the heap that it is given; loads no TensorFlow. Only the process or
 * `terminate` ends it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { WorkBoard } from '../../../../engine/boundary';
import { type DividedKernel, rangeOf } from './divided';
import { type HeapFunctions, instantiate } from './heap';
import { dividedKernels, dividedNames } from './kernels';

export interface HelperData {
  readonly memory: WebAssembly.Memory;
  readonly board: SharedArrayBuffer;
  /** Of how many threads, the main one (0) among them, it is which. */
  readonly part: number;
  readonly threads: number;
}
/** Where the board has them, as ThreadPool.run posts them. */
const KERNEL = 0;
const UNITS = 1;
const FIRST_ARGUMENT = 2;

function serve({ memory, board: shared, part, threads }: HelperData): void {
  const board = new WorkBoard(shared);
  const instances = new Map<DividedKernel, HeapFunctions<string>>();
  const functionsOf = (kernel: DividedKernel): HeapFunctions<string> => {
    const functions = instances.get(kernel) ?? instantiate(memory, kernel.sources());
    instances.set(kernel, functions);
    return functions;
  };
  for (let round = 0; ; ) {
    round = board.awaitRound(round);
    let isFailed = false;
    try {
      const range = rangeOf(board.word(UNITS), part, threads);
      if (range.past > range.first) {
        const kernel = dividedKernels[dividedNames[board.word(KERNEL)]!] as DividedKernel;
        const words = Object.fromEntries(kernel.words.map((name, i) => [name, board.word(FIRST_ARGUMENT + i)]));
        kernel.run(functionsOf(kernel), words, range);
      }
    } catch {
      isFailed = true;
    }
    board.finish(isFailed);
  }
}

if (parentPort) {
  parentPort.postMessage('ready');
  serve(workerData as HelperData);
}
