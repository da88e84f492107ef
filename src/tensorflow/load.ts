/**
 * The one place where TensorFlow.js is loaded: when first needed, by `require`, so that importing this package costs nothing and the user's copy is taken. Main thread.
 *
 * Two copies of tfjs-core in one process share the engine but not the layers: layers of one fail in models of the other, and `fit` can hang. That is found here and explained.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { BackendError } from '../errors';

export type Tf = typeof import('@tensorflow/tfjs');

let loaded: Tf | undefined;

/** @throws BackendError it is not installed, or two copies are in this process */
export function loadTf(): Tf {
  if (!loaded) {
    // From the user's script first: what the script imports is what must be trained with.
    loaded = requireFrom(path.resolve(process.argv[1] ?? 'index.js')) ?? requireFrom(__filename);
    if (!loaded) {
      throw new BackendError('TensorFlow.js is not installed. Run: npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm');
    }
  }
  refuseTwoCopies();
  return loaded;
}

function requireFrom(file: string): Tf | undefined {
  try {
    return createRequire(file)('@tensorflow/tfjs') as Tf;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined;
    throw new BackendError(`TensorFlow.js could not be loaded: ${(error as Error).message}`, { cause: error });
  }
}

/** The copies of tfjs-core among loaded files. */
export function copiesOfCore(files: readonly string[]): string[] {
  return files.filter((file) => /tf-core(\.node)?(\.min)?\.js$/.test(file)).map((file) => path.dirname(path.dirname(file)));
}

let checkedFiles = 0;
function refuseTwoCopies(): void {
  const files = Object.keys(require.cache);
  if (files.length === checkedFiles) return;
  checkedFiles = files.length;
  const copies = copiesOfCore(files);
  if (copies.length > 1) {
    throw new BackendError(
      `Two copies of tfjs-core are in this process: ${copies.join(' and ')}. Layers and models of one do not work with the other. ` +
        'Install @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm of the same version (npm ls @tensorflow/tfjs-core shows who asks for which).',
    );
  }
}
