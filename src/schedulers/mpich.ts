/**
 * Processes of hydra: MPICH, Intel MPI and MVAPICH2. Pure; main thread.
 *
 * Hydra says rank, size and who shares the host, and nothing by which the job could be named or rank 0 found. On one host the processes know each other by hydra's own
 * process, which started them all; on several, MASTER_ADDR must be given (hydra hands the caller's environment to every host).
 */
import { RendezvousError } from '../errors';
import { checkBelow, type Environment, type Facts, type Found, masterFrom, numberFrom, optionalNumberFrom, portOf } from './identity';
import { firstNodeOf } from './slurm';

const SCHEDULER = 'MPICH';

/** Undefined: not started by it, or by srun with its PMI plugin, which Slurm's reader knows more about. @throws UsageError a variable is wrong; RendezvousError nothing says where rank 0 is */
export function fromMpich(env: Environment, facts: Facts, portRange?: { first: number; last: number }): Found | undefined {
  const names = namesIn(env);
  if (!names) return undefined;
  const rank = numberFrom(env, names.rank, SCHEDULER);
  const size = numberFrom(env, names.size, SCHEDULER, 1);
  checkBelow(SCHEDULER, [names.rank, rank], [names.size, size]);
  const localRank = optionalNumberFrom(env, names.localRank, SCHEDULER);
  const localSize = optionalNumberFrom(env, names.localSize, SCHEDULER, 1);
  const isOneHost = localSize === size;
  const master = masterFrom(env, SCHEDULER);
  const rankZero = master.host ?? (isOneHost ? '127.0.0.1' : firstNodeOf(env));
  if (rankZero === undefined)
    throw new RendezvousError(`The ranks of this job are on several hosts, and ${SCHEDULER} does not say where rank 0 is. ${REMEDY}`);
  const jobId = isOneHost ? `mpich-${facts.launcherPid()}` : `mpich-${rankZero}:${master.port ?? ''}-${env.SLURM_JOB_ID ?? ''}`;
  return {
    scheduler: SCHEDULER,
    rank,
    size,
    localRank,
    localSize,
    isOneHost,
    jobId,
    rendezvous: { hosts: [rankZero], port: master.port ?? portOf(jobId, portRange) },
    remedy: REMEDY,
  };
}

const REMEDY =
  "Name rank 0's host, and a port that is free there: MASTER_ADDR=HOST MASTER_PORT=29500 mpirun …, with a name or an address by which all hosts reach it.";

function namesIn(env: Environment): { rank: string; size: string; localRank: string; localSize: string } | undefined {
  if (env.MV2_COMM_WORLD_RANK !== undefined && env.MV2_COMM_WORLD_SIZE !== undefined) {
    return {
      rank: 'MV2_COMM_WORLD_RANK',
      size: 'MV2_COMM_WORLD_SIZE',
      localRank: 'MV2_COMM_WORLD_LOCAL_RANK',
      localSize: 'MV2_COMM_WORLD_LOCAL_SIZE',
    };
  }
  if (env.PMI_RANK === undefined || env.PMI_SIZE === undefined) return undefined;
  // Hydra's own processes are tasks of a step too, one a node, and their numbers are others; only hydra says MPI_LOCALRANKID.
  const isOfSlurm = env.PMI_RANK === env.SLURM_PROCID && env.PMI_SIZE === env.SLURM_STEP_NUM_TASKS && env.MPI_LOCALRANKID === undefined;
  return isOfSlurm ? undefined : { rank: 'PMI_RANK', size: 'PMI_SIZE', localRank: 'MPI_LOCALRANKID', localSize: 'MPI_LOCALNRANKS' };
}
