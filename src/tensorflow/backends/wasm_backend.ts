/** The WebAssembly backend with what training needs. Main thread. */
import { BackendError } from '../../errors';
import { checkCopies, requireForUser } from '../load';
import { type Backend, use } from './backend';
import { removeRethrowingListeners } from './emscripten';
import { registerTrainingKernels } from './wasm';

export const wasm: Backend = {
  name: 'wasm',
  packages: ['@tensorflow/tfjs-backend-wasm'],
  install: 'npm install @tensorflow/tfjs-backend-wasm',
  start: async (tfjs) => {
    requireForUser('@tensorflow/tfjs-backend-wasm');
    // It may have brought a second copy of tfjs-core.
    checkCopies();
    registerTrainingKernels(tfjs);
    if (!(await use(tfjs, 'wasm'))) throw new BackendError('TensorFlow.js could not start it');
    removeRethrowingListeners();
    return 'CPU (WebAssembly SIMD, 1 thread)';
  },
};
