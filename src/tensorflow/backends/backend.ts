/** What every backend is to selectBackend: one row of its order. Main thread. */
import type { Config } from '../../config';
import { isInstalled, type Tf } from '../load';

/** The backends of TensorFlow.js in Node, the fastest first. */
export type BackendName = 'tfjs-node-gpu' | 'tfjs-node' | 'webgpu' | 'wasm' | 'cpu';

/** What of its host this rank may use. */
export interface Share {
  readonly localRank: number;
  readonly localSize: number;
  /** Threads of numeric libraries. */
  readonly threads: number;
  /** tsrun has given each rank its GPU, or was told not to. */
  readonly isByTsrun: boolean;
  /** Ranks of the host that tsrun gave the same GPU without being told to. */
  readonly gpuSharers: number;
}

export interface Backend {
  readonly name: BackendName;
  /** What must be installed. */
  readonly packages: readonly string[];
  /** The command that installs it. */
  readonly install: string;
  /**
   * Makes it the backend of TensorFlow.js.
   * @param isForced it was asked for by name: what would be worse than the next one in the order is taken too
   * @returns what it runs on, in words
   * @throws BackendError why it cannot be used, and what mends it; then its caller puts the former one back
   */
  start(tfjs: Tf, share: Share, isForced: boolean): Promise<string>;
}

/** Which of its packages are not installed, in words; undefined: none. */
export function whyMissing({ packages }: Backend): string | undefined {
  const missing = packages.filter((name) => !isInstalled(name));
  return missing.length === 0 ? undefined : `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} not installed`;
}

/** Processors are shared evenly by the ranks of a host, unless this rank is bound to its own. @param available processors this process may run on */
export function shareOf(
  config: Pick<Config, 'localRank' | 'localSize' | 'localCpus' | 'threadsPerProcess' | 'jobId' | 'gpuSharers'>,
  available: number,
): Share {
  const { localRank, localSize, localCpus, threadsPerProcess, jobId, gpuSharers } = config;
  const isBound = available < localCpus;
  const threads = threadsPerProcess ?? Math.max(1, isBound ? available : Math.floor(available / localSize));
  return { localRank, localSize, threads, isByTsrun: jobId !== '', gpuSharers };
}

/** 'N threads', for what `start` returns. */
export const countOfThreads = (threads: number): string => `${threads} thread${threads === 1 ? '' : 's'}`;

/** Makes the registered backend the one in use. @returns whether it is */
export async function use(tfjs: Tf, registeredAs: string): Promise<boolean> {
  const isUsed = await tfjs.setBackend(registeredAs);
  await tfjs.ready();
  return isUsed;
}
