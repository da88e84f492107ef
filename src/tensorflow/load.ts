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

/** The user's TensorFlow.js. @throws BackendError it is not installed, or two copies are in this process */
export function loadTf(): Tf {
  if (loaded) return loaded;
  const found = requireForUser('@tensorflow/tfjs') as Tf | undefined;
  if (!found) throw new BackendError('TensorFlow.js is not installed. Run: npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm');
  checkCopies();
  loaded = found;
  return loaded;
}

/** How the user's script finds packages, then how this package does: what the script imports is what must be trained with. */
const finders = (): NodeJS.Require[] => [path.resolve(process.argv[1] ?? 'index.js'), __filename].map((file) => createRequire(file));

export const isInstalled = (name: string): boolean => finders().some((finder) => canResolve(finder, name));

function canResolve(finder: NodeJS.Require, name: string): boolean {
  try {
    finder.resolve(name);
    return true;
  } catch {
    return false;
  }
}

const finderOf = (name: string): NodeJS.Require | undefined => finders().find((one) => canResolve(one, name));

/** The file that `requireForUser` loads. Undefined: it is not installed. */
export const resolveForUser = (name: string): string | undefined => finderOf(name)?.resolve(name);

/** Undefined: it is not installed. @throws BackendError it is there, but fails when loaded */
export function requireForUser(name: string): unknown {
  const finder = finderOf(name);
  try {
    return finder?.(name);
  } catch (error) {
    throw new BackendError(`${name} could not be loaded: ${(error as Error).message.split('\n')[0]}`, { cause: error });
  }
}

/** The copies of tfjs-core among loaded files. */
export function copiesOfCore(files: readonly string[]): string[] {
  return files.filter((file) => /tf-core(\.node)?(\.min)?\.js$/.test(file)).map((file) => path.dirname(path.dirname(file)));
}

let checkedFiles = 0;
/**
 * Where models and optimizers come in (DistributedOptimizer, selectBackend, broadcastVariables), and when TensorFlow.js is loaded: a second copy may have come at any time before.
 * @throws BackendError two copies are in this process
 */
export function checkCopies(): void {
  const files = Object.keys(require.cache);
  if (files.length === checkedFiles) return;
  const copies = copiesOfCore(files);
  if (copies.length > 1) {
    throw new BackendError(
      `Two copies of tfjs-core are in this process: ${copies.join(' and ')}. Layers and models of one do not work with the other, and fit() can hang. ` +
        'Install @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm of the same version (npm ls @tensorflow/tfjs-core shows who asks for which).',
    );
  }
  checkedFiles = files.length;
}
