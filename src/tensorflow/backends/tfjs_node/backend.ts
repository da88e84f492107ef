/**
 * TensorFlow's own library by way of @tensorflow/tfjs-node, on the CPU or on an NVIDIA GPU. Main thread.
 *
 * What this rank may use is told by variables before the library is loaded: afterwards nothing changes it. tfjs-node takes the last of the GPUs it sees, and without growth the first rank takes
 * all of its memory.
 */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { environment, setDefaultEnvironment, setEnvironment } from '../../../config';
import { BackendError } from '../../../errors';
import { checkCopies, requireForUser, resolveForUser, type Tf } from '../../load';
import { type Backend, countOfThreads, type Share, use } from '../backend';
import { whyCutOff } from './elf';
import { countGpus, driverProblem, visibleGpu } from './gpu';
import { shimNodeUtil } from './node_shim';
import { bulkReader } from './read';

const REGISTERED_AS = 'tensorflow';

/** What of tfjs-node's backend is asked. */
interface NodeBackend {
  readonly isGPUPackage: boolean;
  readonly isUsingGpuDevice: boolean;
  readonly binding: { readonly TF_Version: string };
}

export const tfjsNode: Backend = {
  name: 'tfjs-node',
  packages: ['@tensorflow/tfjs-node'],
  install: 'npx tsrun install-tfjs-node',
  start: async (tfjs, share) => {
    const { binding } = await load(tfjs, tfjsNode, share);
    return `CPU (TensorFlow ${binding.TF_Version}, ${countOfThreads(share.threads)})`;
  },
};

export const tfjsNodeGpu: Backend = {
  name: 'tfjs-node-gpu',
  packages: ['@tensorflow/tfjs-node-gpu'],
  install: 'npx tsrun install-tfjs-node --gpu',
  start: async (tfjs, share) => {
    const problem = driverProblem();
    if (problem) throw new BackendError(problem);
    const { CUDA_VISIBLE_DEVICES: visible } = environment();
    const gpu = visibleGpu({ visible, count: countGpus() }, share);
    if (gpu !== undefined) setEnvironment({ CUDA_VISIBLE_DEVICES: gpu });
    const backend = await load(tfjs, tfjsNodeGpu, share);
    const { isUsingGpuDevice, binding } = backend;
    if (!isUsingGpuDevice)
      throw new BackendError(
        'TensorFlow found no GPU that it can use: its lines above name the library that is missing, or the driver that is too old',
      );
    Object.assign(backend, bulkReader(tfjs));
    return `GPU ${gpu ?? visible ?? '0'} (TensorFlow ${binding.TF_Version}, CUDA)`;
  },
};

async function load(tfjs: Tf, { packages, install }: Backend, { threads }: Share): Promise<NodeBackend> {
  const name = packages[0]!;
  const loaded = tfjs.findBackend(REGISTERED_AS) as unknown as NodeBackend | null;
  if (loaded && loaded.isGPUPackage !== name.endsWith('-gpu'))
    throw new BackendError(
      `the other of @tensorflow/tfjs-node and @tensorflow/tfjs-node-gpu is loaded already, and one process can load one of them. Ask for that one, or start another process`,
    );
  setDefaultEnvironment({
    TF_NUM_INTRAOP_THREADS: String(threads),
    TF_NUM_INTEROP_THREADS: '1',
    OMP_NUM_THREADS: String(threads),
    TF_FORCE_GPU_ALLOW_GROWTH: 'true',
    TF_CPP_MIN_LOG_LEVEL: '1',
  });
  shimNodeUtil();
  if (!loaded) requireWhole(name, install);
  checkCopies();
  if (!(await use(tfjs, REGISTERED_AS))) throw new BackendError('TensorFlow.js could not start it');
  return tfjs.findBackend(REGISTERED_AS) as unknown as NodeBackend;
}

/** @throws BackendError it cannot be loaded: with the command that mends it */
function requireWhole(name: string, install: string): void {
  const folder = path.dirname(resolveForUser(`${name}/package.json`)!);
  const cutOff = whyCutOff([...addonFolders(path.join(folder, 'lib')), path.join(folder, 'deps', 'lib')]);
  try {
    if (cutOff) throw new BackendError(`${name} could not be loaded: ${cutOff}`);
    requireForUser(name);
  } catch (error) {
    throw new BackendError(`${(error as Error).message.replace(/[.\s]+$/, '')} (${install} --force installs it anew)`, { cause: error });
  }
}

/** One for each version of Node-API. */
function addonFolders(lib: string): string[] {
  try {
    return readdirSync(lib).map((name) => path.join(lib, name));
  } catch {
    return []; // loading says that there is no addon
  }
}
