/**
 * Tasks of a Slurm step (`srun node train.js`). Pure; main thread.
 *
 * Only tasks of a step count. The shell of a batch script has SLURM_PROCID=0 and the SLURM_NTASKS of the whole allocation, that of `salloc` the latter: plain `node train.js`
 * there runs alone, as it would without Slurm, and `srun node train.js` is the job. A step's own count is SLURM_STEP_NUM_TASKS; SLURM_NTASKS may still be the allocation's.
 */
import { UsageError } from '../errors';
import { expandRanges, type SlurmNodes, slurmNodes, splitHostList } from '../host_list';
import { checkBelow, type Environment, type Found, masterFrom, numberFrom, optionalNumberFrom, portOf } from './identity';

const SCHEDULER = 'Slurm';
/** Slurm's numbers of steps that no srun of the user made: batch script, interactive shell, and their like. */
const FIRST_SPECIAL_STEP = 4_294_967_000;
/** `srun --pty bash`: a shell in a step; what is typed there is a program of its own. */
const SHELLS = new Set(['bash', 'sh', 'zsh', 'fish', 'csh', 'tcsh', 'ksh', 'dash', 'interactive']);

/** Undefined: this process is no task of a step. @throws UsageError it is one, and names the variable that is wrong */
export function fromSlurm(env: Environment, portRange?: { first: number; last: number }): Found | undefined {
  const job = env.SLURM_JOB_ID ?? env.SLURM_JOBID;
  const step = env.SLURM_STEP_ID ?? env.SLURM_STEPID;
  if (!job || !step || env.SLURM_PROCID === undefined) return undefined;
  if (!/^\d+$/.test(step) || Number(step) >= FIRST_SPECIAL_STEP) return undefined;
  if (env.SLURM_PTY_PORT && SHELLS.has(env.SLURM_JOB_NAME ?? '')) return undefined;

  const rank = numberFrom(env, 'SLURM_PROCID', SCHEDULER);
  const sizeName = ['SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS', 'SLURM_NPROCS'].find((name) => env[name]) ?? 'SLURM_NTASKS';
  const size = numberFrom(env, sizeName, SCHEDULER, 1);
  checkBelow(SCHEDULER, ['SLURM_PROCID', rank], [sizeName, size]);
  const localRank = numberFrom(env, 'SLURM_LOCALID', SCHEDULER);
  const node = numberFrom(env, 'SLURM_NODEID', SCHEDULER);
  const { nodes, tasks } = nodesOfStep(env, size);
  checkBelow(SCHEDULER, ['SLURM_NODEID', node], ['the number of nodes', nodes.length]);
  checkBelow(SCHEDULER, ['SLURM_LOCALID', localRank], [`tasks of node ${nodes[node]}`, tasks[node]!]);

  const restarts = optionalNumberFrom(env, 'SLURM_RESTART_COUNT', SCHEDULER) ?? 0;
  const jobId = `slurm-${env.SLURM_CLUSTER_NAME ?? ''}-${job}.${step}-${restarts}`;
  const master = masterFrom(env, SCHEDULER);
  const isOneHost = nodes.length === 1;
  return {
    scheduler: SCHEDULER,
    rank,
    size,
    localRank,
    localSize: tasks[node]!,
    crossRank: tasks.slice(0, node).filter((count) => count > localRank).length,
    crossSize: tasks.filter((count) => count > localRank).length,
    hostname: nodes[node],
    hosts: isBlock(env) ? nodes.flatMap((name, i) => Array<string>(tasks[i]!).fill(name)) : undefined,
    isOneHost,
    jobId,
    rendezvous: { hosts: [master.host ?? (isOneHost ? '127.0.0.1' : nodes[0]!)], port: master.port ?? portOf(jobId, portRange) },
    remedy:
      'Rank 0 is expected on the first node of the step, under its Slurm name; where that name is not the one it is reached by, set MASTER_ADDR in the batch script.',
  };
}

/** Ranks fill the nodes in order: Slurm's default, then it may say nothing of it. */
const isBlock = ({ SLURM_DISTRIBUTION }: Environment): boolean =>
  SLURM_DISTRIBUTION === undefined || /^block(:|,|$)/i.test(SLURM_DISTRIBUTION);

/** @throws UsageError the lists are missing, malformed, or do not fit each other */
function nodesOfStep(env: Environment, size: number): SlurmNodes {
  const listName = env.SLURM_STEP_NODELIST ? 'SLURM_STEP_NODELIST' : 'SLURM_JOB_NODELIST';
  const countsName = env.SLURM_STEP_TASKS_PER_NODE ? 'SLURM_STEP_TASKS_PER_NODE' : 'SLURM_TASKS_PER_NODE';
  const found = slurmNodes(env, listName, countsName);
  const sum = found.tasks.reduce((all, count) => all + count, 0);
  if (sum !== size)
    throw new UsageError(
      `This process was started by Slurm, but ${countsName} is '${env[countsName]}', ${sum} tasks in all, and the step has ${size}.`,
    );
  return found;
}

/** The first node of the allocation that an MPI launcher was called in: the one its first ranks are on. Undefined: no allocation. */
export function firstNodeOf(env: Environment): string | undefined {
  const list = env.SLURM_JOB_ID && env.SLURM_JOB_NODELIST;
  if (!list) return undefined;
  try {
    return expandRanges(splitHostList(list)[0]!)[0];
  } catch {
    // Only a guess is lost; the MPI reader says what to set instead.
    return undefined;
  }
}
