/** What every way of training needs of the backend, however that was chosen. Main thread. */
import { BackendError } from '../../errors';
import { isInitialized, rank, size } from '../../job';
import { log } from '../../log';
import type { Tf } from '../load';
import { readsInBulk } from '../tensors';
import { whyMissing } from './backend';
import { backends } from './select';
import { removeRethrowingListeners } from './wasm/emscripten';
import { registerTrainingKernels } from './wasm/register';

let hasWarned = false;
/** @throws BackendError the webgpu backend is one that selectBackend has not made: it cannot be read in the middle of a step. Else: the training kernels; errors that end the process as they would without a backend; a warning, once, where a slow backend trains. */
export function prepareBackend(tfjs: Tf): void {
  const backend = tfjs.getBackend();
  if (backend === 'wasm') {
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
