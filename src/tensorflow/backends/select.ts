/** Chooses this rank's TensorFlow.js backend. Main thread. */
import os from 'node:os';
import { backendNames } from '../../config';
import { BackendError } from '../../errors';
import { configNow } from '../../job';
import { log, notice } from '../../log';
import { checkCopies, loadTf, type Tf } from '../load';
import { prepareOptimizers } from '../train';
import { type Backend, type BackendName, shareOf, use, whyMissing } from './backend';
import { cpu } from './cpu';
import { tfjsNode, tfjsNodeGpu } from './tfjs_node/backend';
import { wasm } from './wasm/backend';
import { webgpu } from './webgpu/backend';

export type { BackendName };
/** What {@link selectBackend} has found. */
export interface SelectedBackend {
  /** The backend, as {@link BackendName} has it (`tf.getBackend()` says `tensorflow` for both of tfjs-node). */
  name: string;
  /** What it runs on, in words. */
  device: string;
  /** TensorFlow.js, the copy that it was selected for. */
  tf: Tf;
}

const byName: Readonly<Record<BackendName, Backend>> = { 'tfjs-node-gpu': tfjsNodeGpu, 'tfjs-node': tfjsNode, webgpu, wasm, cpu };
/** The fastest first. */
export const backends: readonly Backend[] = backendNames.map((name) => byName[name]);

/** A backend that was not taken. */
interface Refusal {
  readonly name: BackendName;
  readonly reason: string;
  readonly isInstalled: boolean;
}

/**
 * The best backend this machine has: of tfjs-node-gpu, tfjs-node, webgpu, wasm and cpu the first that is installed and works; `prefer` or TSRUN_BACKEND forces one. Pins this rank's GPU and
 * threads by its local rank, adds the training kernels that wasm lacks, and says on rank 0 what was chosen and why the better ones were not. Needs no job; call it before models are made or loaded.
 * @throws BackendError the forced backend cannot be used (why, and what mends it), or TensorFlow.js is not installed, or twice in this process; UsageError TSRUN_BACKEND names none
 */
export async function selectBackend(prefer?: BackendName): Promise<SelectedBackend> {
  const config = configNow();
  const forced = prefer ?? config.backend;
  const candidates = forced === undefined ? backends : backends.filter(({ name }) => name === forced);
  if (candidates.length === 0)
    throw new BackendError(`There is no backend '${forced}'. Ask for one of ${backends.map(({ name }) => name).join(', ')}, or for none.`);
  const tfjs = loadTf();
  checkCopies();
  // Before models are loaded that name them.
  prepareOptimizers(tfjs);
  const share = shareOf(config, os.availableParallelism());
  const { backendName: former } = tfjs.engine();
  const refusals: Refusal[] = [];
  for (const backend of candidates) {
    const missing = whyMissing(backend);
    const refuse = (reason: string): number => refusals.push({ name: backend.name, reason, isInstalled: !missing });
    if (missing) {
      refuse(missing);
      continue;
    }
    try {
      const device = await backend.start(tfjs, share, forced !== undefined);
      if (config.rank === 0) announce(backend.name, device, refusals);
      return { name: backend.name, device, tf: tfjs };
    } catch (error) {
      if (former) await use(tfjs, former);
      if (!(error instanceof BackendError)) throw error;
      refuse(error.message.replace(/\.$/, ''));
    }
  }
  const [{ reason } = { reason: '' }] = refusals;
  const how = prefer === undefined ? 'TSRUN_BACKEND' : 'selectBackend';
  throw new BackendError(`The backend '${forced}' was asked for (${how}), but cannot be used: ${reason}.${mend(candidates[0]!)}`);
}

/** What is installed and cannot be used has said what mends it. */
const mend = (backend: Backend): string => (whyMissing(backend) ? ` To install it: ${backend.install}` : '');

/** Where a better one is installed and does not work, somebody wants to know. */
function announce(name: BackendName, device: string, refusals: readonly Refusal[]): void {
  const why = refusals.map((refusal) => `${refusal.name}: ${refusal.reason}`).join('; ');
  const text = `backend ${name} on ${device}${why && ` (not ${why})`}`;
  if (refusals.some((refusal) => refusal.isInstalled)) log('WARNING', text);
  else notice(text);
}
