/**
 * WebGPU by way of Dawn (the package webgpu), on any GPU with a Vulkan driver; Metal and Direct3D 12 elsewhere. Main thread.
 *
 * The backend is made here and not by its own module, which would take an adapter of its own choice and fail without a reason where there is none. Invariants: setImmediate is wrapped before Dawn
 * makes anything, so that reads can block (pump.ts, read.ts); nothing of this keeps the process alive but reads that are awaited.
 */
import { environment, setEnvironment } from '../../../config';
import { BackendError } from '../../../errors';
import { checkCopies, requireForUser, type Tf } from '../../load';
import { type Backend, type Share, use } from '../backend';
import { type Choice, chooseAdapter, isChosenByUser, isSoftware, NO_ADAPTER, namesIn, pciGpus, vulkanProblem } from './adapter';
import { EventPump } from './pump';
import { blockOnReads, type WebgpuBackend } from './read';

const NAME = 'webgpu';
/** The backend's own; a higher one wins where nobody chooses. */
const PRIORITY = 3;

// What of WebGPU and of the packages is used.
interface Gpu {
  requestAdapter(options: { powerPreference: 'high-performance' }): Promise<Adapter | null>;
}
interface Adapter {
  readonly info: { readonly description: string; readonly device: string; readonly isFallbackAdapter?: boolean };
  readonly features: ReadonlySet<string>;
  readonly limits: Readonly<Record<string, number>>;
  requestDevice(descriptor: { requiredFeatures: string[]; requiredLimits: Record<string, number> }): Promise<object>;
}
interface Dawn {
  create(flags: readonly string[]): Gpu;
  readonly globals: object;
}
interface BackendModule {
  readonly WebGPUBackend: new (device: object, info: Adapter['info']) => WebgpuBackend;
}

const features = ['timestamp-query', 'bgra8unorm-storage'];
/** Raised to what the GPU has: the defaults of WebGPU are those of telephones. */
const limits = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
];

let pump: EventPump | undefined;
/** What it runs on, once it runs: a process has one device. */
let started: string | undefined;

export const webgpu: Backend = {
  name: NAME,
  packages: ['webgpu', '@tensorflow/tfjs-backend-webgpu'],
  install: 'npm install webgpu @tensorflow/tfjs-backend-webgpu (of the same version as @tensorflow/tfjs)',
  start: async (tfjs, share, isForced) => {
    if (started === undefined || !tfjs.findBackendFactory(NAME)) started = await register(tfjs, share, isForced);
    if (!(await use(tfjs, NAME))) throw new BackendError('TensorFlow.js could not start it');
    return started;
  },
};

async function register(tfjs: Tf, share: Share, isForced: boolean): Promise<string> {
  checkVersion(tfjs);
  const dawn = requireForUser('webgpu') as Dawn;
  if (typeof dawn.create !== 'function' || !dawn.globals)
    throw new BackendError("the package webgpu that is installed is not Dawn's. Run: npm install webgpu@0.6.2");
  pump ??= new EventPump();
  const { gpu, adapter } = await findAdapter(dawn, share);
  const { info } = adapter;
  const isOnCpu = info.isFallbackAdapter === true || isSoftware(info.description);
  if (isOnCpu && !isForced)
    throw new BackendError(
      `Vulkan has only a software adapter here (${info.description}), which is slower than the wasm backend. Ask for it by name, in tests: selectBackend('webgpu')`,
    );
  const device = await adapter.requestDevice({
    requiredFeatures: features.filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(limits.map((limit) => [limit, adapter.limits[limit]!])),
  });
  offer(dawn, gpu);
  const { WebGPUBackend } = requireForUser('@tensorflow/tfjs-backend-webgpu') as BackendModule;
  // It may have brought a second copy of tfjs-core.
  checkCopies();
  const backend = new WebGPUBackend(device, info);
  blockOnReads(backend, pump);
  // The module registers one of its own when it is loaded after `offer`.
  if (tfjs.findBackendFactory(NAME)) tfjs.removeBackend(NAME);
  tfjs.registerBackend(NAME, () => backend as never, PRIORITY);
  return `${isOnCpu ? 'CPU' : 'GPU'} (WebGPU on ${info.description || info.device})`;
}

/** Kernels of one version do not fit the engine of another. */
function checkVersion(tfjs: Tf): void {
  const { version } = requireForUser('@tensorflow/tfjs-backend-webgpu/package.json') as { version: string };
  const core = tfjs.version['tfjs-core'];
  if (version !== core)
    throw new BackendError(
      `@tensorflow/tfjs-backend-webgpu is ${version}, but TensorFlow.js is ${core}. Run: npm install @tensorflow/tfjs-backend-webgpu@${core}`,
    );
}

async function findAdapter(dawn: Dawn, share: Share): Promise<{ gpu: Gpu; adapter: Adapter }> {
  const backend = process.platform === 'linux' ? ['backend=vulkan'] : [];
  const choice = await chosen(dawn, backend, share);
  const gpu = dawn.create([...backend, ...choice.flags]);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new BackendError(vulkanProblem());
  return { gpu, adapter };
}

/** A rank that is alone on its host leaves the choice to Dawn. @throws BackendError there is no GPU for this rank */
async function chosen(dawn: Dawn, backend: readonly string[], share: Share): Promise<Choice> {
  const variables = environment();
  if (share.localSize === 1 || isChosenByUser(variables)) return { flags: [] };
  const list = async (): Promise<string[]> => {
    try {
      await dawn.create([...backend, `adapter=${NO_ADAPTER}`]).requestAdapter({ powerPreference: 'high-performance' });
      return [];
    } catch (error) {
      return namesIn((error as Error).message);
    }
  };
  const names = await list();
  if (names.length === 0) throw new BackendError(vulkanProblem());
  // tsrun has given out the GPUs that CUDA knows, and would have said that ranks share them against the user's will.
  const mayShare = share.isByTsrun && variables.CUDA_VISIBLE_DEVICES !== undefined && share.gpuSharers <= 1;
  const choice = chooseAdapter(names, pciGpus(), share, mayShare);
  if (choice.only) {
    setEnvironment(choice.only.environment);
    const left = (await list()).filter((name) => !isSoftware(name));
    if (left.length !== 1 || left[0] !== choice.only.name)
      throw new BackendError(
        `this host has several GPUs named '${choice.only.name}', which Dawn cannot tell apart, and Vulkan's device selection layer (DRI_PRIME=${choice.only.environment.DRI_PRIME}) ` +
          `left ${left.length} of them. It comes with Mesa's drivers (Debian and Ubuntu: apt-get install mesa-vulkan-drivers; 25.0.7 knows such addresses). Or show each rank one GPU, or start one rank on this host.`,
      );
  }
  return choice;
}

/** Where the backend looks for WebGPU: as in a browser. */
function offer(dawn: Dawn, gpu: Gpu): void {
  Object.assign(globalThis, dawn.globals);
  const property = (value: unknown): PropertyDescriptor => ({ value, configurable: true, writable: true });
  const { navigator = {} } = globalThis as { navigator?: object };
  Object.defineProperty(navigator, 'gpu', property(gpu));
  // Node has one from version 21 on.
  if (!('navigator' in globalThis)) Object.defineProperty(globalThis, 'navigator', property(navigator));
}
