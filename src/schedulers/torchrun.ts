/**
 * Processes that torchrun started, and whoever sets torch's variables for one process: by hand, in a manifest, Kubeflow's operators. Pure; main thread.
 *
 * torchrun's workers have everything, but MASTER_PORT belongs to torchrun's own store: a port of our own is derived. Kubeflow counts pods: its RANK (PyTorchJob) and
 * PET_NODE_RANK (TrainJob) are those of a node on which torchrun is to start PET_NPROC_PER_NODE processes. A pod that runs one process is a rank; more need a launcher.
 */
import { RendezvousError, UsageError } from '../errors';
import { checkBelow, type Environment, type Found, masterFrom, numberFrom, optionalNumberFrom, portOf } from './identity';

/** torch's own default. */
const DEFAULT_PORT = 29_500;

/** Undefined: not started by torchrun. @throws UsageError a variable is wrong */
export function fromTorchrun(env: Environment, portRange?: { first: number; last: number }): Found | undefined {
  if (env.TORCHELASTIC_RUN_ID === undefined || env.RANK === undefined || env.LOCAL_RANK === undefined) return undefined;
  const scheduler = 'torchrun';
  const who = ranksFrom(env, scheduler);
  const jobId = `torchrun-${env.TORCHELASTIC_RUN_ID}-${env.MASTER_ADDR ?? ''}:${env.MASTER_PORT ?? ''}-${env.TORCHELASTIC_RESTART_COUNT ?? 0}`;
  const host = hostFrom(env, scheduler, who);
  return { scheduler, ...who, jobId, rendezvous: { hosts: [host], port: portOf(jobId, portRange) }, remedy: REMEDY };
}

/** Undefined: RANK and WORLD_SIZE, or Kubeflow's variables, are not there. @throws UsageError a variable is wrong; RendezvousError MASTER_ADDR is missing */
export function fromTorchVariables(env: Environment): Found | undefined {
  const isKubeflow = env.PET_NODE_RANK !== undefined && env.PET_NNODES !== undefined;
  if (env.LOCAL_RANK === undefined && isKubeflow) return fromKubeflow(env);
  if (env.RANK === undefined || env.WORLD_SIZE === undefined) return undefined;
  const scheduler = "torch's variables";
  const who = ranksFrom(env, scheduler);
  return meetingAt(env, scheduler, who, hostFrom(env, scheduler, who), masterFrom(env, scheduler).port);
}

function fromKubeflow(env: Environment): Found {
  const scheduler = 'Kubeflow';
  const rank = numberFrom(env, 'PET_NODE_RANK', scheduler);
  // '1:4' in elastic jobs: then WORLD_SIZE says how many there are.
  const sizeName = /^\d+$/.test(env.PET_NNODES!.trim()) ? 'PET_NNODES' : 'WORLD_SIZE';
  const size = numberFrom(env, sizeName, scheduler, 1);
  checkBelow(scheduler, ['PET_NODE_RANK', rank], [sizeName, size]);
  // 'auto', 'cpu', 'gpu' are torchrun's to count.
  const perPod = /^\d+$/.test(env.PET_NPROC_PER_NODE ?? '') ? Number(env.PET_NPROC_PER_NODE) : 1;
  if (perPod > 1)
    throw new UsageError(
      `PET_NPROC_PER_NODE is ${perPod}, but this pod runs one process without a launcher. Set numProcPerNode: 1 in the TrainJob (nprocPerNode: "1" in a PyTorchJob), ` +
        'or start the processes of each pod with tsrun (--nnodes, --node-rank, --rdzv-endpoint).',
    );
  const master = masterFrom(
    { MASTER_ADDR: env.PET_MASTER_ADDR ?? env.MASTER_ADDR, MASTER_PORT: env.PET_MASTER_PORT ?? env.MASTER_PORT },
    scheduler,
  );
  if (size > 1 && !master.host)
    throw new RendezvousError(`This is pod ${rank} of ${size}, but neither PET_MASTER_ADDR nor MASTER_ADDR is set. ${REMEDY}`);
  const who = { rank, size, localRank: 0, localSize: 1, crossRank: rank, crossSize: size, isOneHost: size === 1 };
  return meetingAt(env, scheduler, who, master.host ?? '127.0.0.1', master.port);
}

const REMEDY =
  "Set MASTER_ADDR to rank 0's host, by a name or an address that all hosts can reach, and MASTER_PORT to a port that is free there.";

type Who = Omit<Found, 'scheduler' | 'jobId' | 'rendezvous' | 'remedy'>;

function meetingAt(env: Environment, scheduler: string, who: Who, host: string, port = DEFAULT_PORT): Found {
  const jobId = `torch-${host}:${port}-${env.TORCHELASTIC_RUN_ID ?? ''}`;
  return { scheduler, ...who, jobId, rendezvous: { hosts: [host], port }, remedy: REMEDY };
}

/** RANK, WORLD_SIZE and what else of them there is. @throws UsageError */
function ranksFrom(env: Environment, scheduler: string): Who {
  const rank = numberFrom(env, 'RANK', scheduler);
  const size = numberFrom(env, 'WORLD_SIZE', scheduler, 1);
  checkBelow(scheduler, ['RANK', rank], ['WORLD_SIZE', size]);
  const localRank = optionalNumberFrom(env, 'LOCAL_RANK', scheduler);
  const localSize = optionalNumberFrom(env, 'LOCAL_WORLD_SIZE', scheduler, 1);
  if (localRank !== undefined && localSize !== undefined) checkBelow(scheduler, ['LOCAL_RANK', localRank], ['LOCAL_WORLD_SIZE', localSize]);
  const isLoopback = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(env.MASTER_ADDR?.trim() ?? '');
  return { rank, size, localRank, localSize, isOneHost: localSize === size || isLoopback || size === 1 };
}

function hostFrom(env: Environment, scheduler: string, { rank, size, isOneHost }: Who): string {
  const { host } = masterFrom(env, scheduler);
  if (host) return host.replace(/^\[|\]$/g, '');
  if (isOneHost) return '127.0.0.1';
  throw new RendezvousError(`RANK is ${rank} and WORLD_SIZE ${size}, but MASTER_ADDR is not set. ${REMEDY}`);
}
