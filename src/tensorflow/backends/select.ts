/**
 * Chooses this rank's TensorFlow.js backend. Main thread. This version knows wasm and cpu.
 */
import { readConfig } from '../../config';
import { BackendError } from '../../errors';
import { log } from '../../log';
import { checkCopies, loadTf, requireForUser, type Tf } from '../load';
import { prepareOptimizers } from '../train';
import { removeRethrowingListeners } from './emscripten';
import { registerTrainingKernels } from './wasm';

/** The backends of TensorFlow.js in Node. This version selects wasm and cpu. */
export type BackendName = 'tfjs-node-gpu' | 'tfjs-node' | 'webgpu' | 'wasm' | 'cpu';
/** What {@link selectBackend} has found. */
export interface SelectedBackend {
  /** The backend, as `tf.getBackend()` names it. */
  name: string;
  /** What it runs on, in words. */
  device: string;
  /** TensorFlow.js, the copy that it was selected for. */
  tf: Tf;
}

/**
 * The best backend this machine has: wasm, else cpu; `prefer` or TSRUN_BACKEND forces one. Adds the training kernels that wasm lacks.
 * Needs no job; call it before models are made or loaded.
 * @throws BackendError the forced backend cannot be loaded (says why, and how to install it), or TensorFlow.js is not installed, or twice in this process; UsageError TSRUN_BACKEND names none
 */
export async function selectBackend(prefer?: BackendName): Promise<SelectedBackend> {
  const config = readConfig();
  const forced = prefer ?? config.backend;
  const tfjs = loadTf();
  checkCopies();
  // Before models are loaded that name them.
  prepareOptimizers(tfjs);
  if (forced && forced !== 'wasm' && forced !== 'cpu') {
    throw new BackendError(
      `The backend '${forced}' was asked for (${prefer ? 'selectBackend' : 'TSRUN_BACKEND'}), but this version of khorovod supports wasm and cpu. Ask for one of them, or for none.`,
    );
  }
  const refusal = forced === 'cpu' ? 'cpu was asked for' : await useWasm(tfjs);
  if (refusal && forced === 'wasm')
    throw new BackendError(
      `The backend 'wasm' cannot be used: ${refusal}. Install it: npm install @tensorflow/tfjs-backend-wasm@${tfjs.version.tfjs}`,
    );
  if (refusal) await use(tfjs, 'cpu');
  const name = refusal ? 'cpu' : 'wasm';
  if (config.rank === 0) log('INFO', refusal ? `backend cpu: ${refusal}` : 'backend wasm: the fastest that this version supports here');
  return { name, device: name === 'wasm' ? 'CPU (WebAssembly SIMD, 1 thread)' : 'CPU (JavaScript)', tf: tfjs };
}

/** Undefined, or why not. */
async function useWasm(tfjs: Tf): Promise<string | undefined> {
  try {
    if (requireForUser('@tensorflow/tfjs-backend-wasm') === undefined) return '@tensorflow/tfjs-backend-wasm is not installed';
  } catch (error) {
    return (error as Error).message;
  }
  // It may have brought a second copy of tfjs-core.
  checkCopies();
  registerTrainingKernels(tfjs);
  if (!(await use(tfjs, 'wasm'))) return 'TensorFlow.js could not start it';
  removeRethrowingListeners();
  return undefined;
}

async function use(tfjs: Tf, name: string): Promise<boolean> {
  const isUsed = await tfjs.setBackend(name);
  await tfjs.ready();
  return isUsed;
}
