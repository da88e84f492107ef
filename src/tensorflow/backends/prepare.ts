/** What every way of training needs of the backend, however that was chosen. Main thread. */
import { BackendError } from '../../errors';
import { isInitialized, rank, size } from '../../job';
import { log } from '../../log';
import type { Tf } from '../load';
import { readsInBulk } from '../tensors';
import { whyMissing } from './backend';
import { backends } from './select';
import { removeRethrowingListeners } from './wasm/emscripten';

let hasWarned = false;
/**
 * On wasm: the training kernels, and errors that end the process as they would without a backend. On cpu: a warning, once, where a faster one is installed.
 * @throws BackendError the webgpu backend is one that selectBackend has not made: it cannot be read in the middle of a step
 */
export function prepareBackend(tfjs: Tf): void {
  const backend = tfjs.getBackend();
  if (backend === 'wasm') {
    // Loaded when first needed, as in wasm/backend.ts.
    const { registerTrainingKernels } = require('./wasm/register') as typeof import('./wasm/register');
    registerTrainingKernels(tfjs);
    removeRethrowingListeners();
  }
  if (backend === 'webgpu' && !readsInBulk())
    throw new BackendError(
      "The webgpu backend was set up by somebody else, and cannot be read while a step runs. Call `await hvd.selectBackend('webgpu')` in its place, before the model is made.",
    );
  if (backend !== 'cpu' || hasWarned) return;
  hasWarned = true;
  if (isInitialized() && rank() !== 0 && size() > 1) return;
  const faster = backends.find((one) => one.name !== 'cpu' && !whyMissing(one));
  if (!faster) return;
  log(
    'WARNING',
    `training runs on TensorFlow.js's slow 'cpu' backend although ${faster.name} is installed: call \`await hvd.selectBackend()\` before the model is made.`,
  );
}
