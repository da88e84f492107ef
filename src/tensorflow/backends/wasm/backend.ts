/** The WebAssembly backend with what training needs, on this rank's share of threads. Main thread. The kernels are loaded when the backend is: programs that have none of it need not wait for them. */
import { BackendError } from '../../../errors';
import { checkCopies, requireForUser, type Tf } from '../../load';
import { type Backend, countOfThreads, use } from '../backend';
import { removeRethrowingListeners } from './emscripten';
import type { WasmPackage } from './threads';

export const wasm: Backend = {
  name: 'wasm',
  packages: ['@tensorflow/tfjs-backend-wasm'],
  install: 'npm install @tensorflow/tfjs-backend-wasm',
  start: async (tfjs, { threads }) => {
    const loaded = requireForUser('@tensorflow/tfjs-backend-wasm') as WasmPackage;
    // It may have brought a second copy of tfjs-core.
    checkCopies();
    const { registerTrainingKernels } = require('./register') as typeof import('./register');
    registerTrainingKernels(tfjs);
    const refusal = threads > 1 ? await refusalOfThreads(tfjs, loaded, threads) : undefined;
    const isUsed = await use(tfjs, 'wasm');
    removeRethrowingListeners();
    if (!isUsed) throw new BackendError('TensorFlow.js could not start it');
    return deviceOf(loaded.getThreadsCount(), refusal);
  },
};

/** Why it has to do with the threads it has. */
async function refusalOfThreads(tfjs: Tf, loaded: WasmPackage, threads: number): Promise<string | undefined> {
  try {
    const { registerThreads } = require('./threads') as typeof import('./threads');
    await registerThreads(tfjs, loaded, threads);
    return undefined;
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    return error.message;
  }
}

/** Pure. @param refusal why it has no more threads */
export function deviceOf(threads: number, refusal?: string): string {
  return `CPU (WebAssembly SIMD, ${countOfThreads(threads)}${refusal ? `: ${refusal}` : ''})`;
}
