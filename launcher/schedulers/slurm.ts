/**
 * What tsrun takes from a Slurm allocation: hosts with slots, and the command that starts an agent on one of them without ssh. Pure.
 *
 * Slots are what mpirun takes: the tasks that the user asked for, by node (`-n`, `--ntasks-per-node`); Slurm counts one a node where nothing was asked for, and where it counts no
 * tasks, processors stand in, shared out by `--cpus-per-task`.
 */
import { UsageError } from '../../src/errors';
import { slurmNodes } from '../../src/host_list';
import { LaunchError } from '../errors';
import type { HostSpec } from '../hosts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Undefined: not inside an allocation. @throws LaunchError (exit 2) a variable is wrong, or every task of a step runs a tsrun of its own */
export function hostsOfAllocation(env: Environment): HostSpec[] | undefined {
  if (!env.SLURM_JOB_ID || !(env.SLURM_JOB_NODELIST ?? env.SLURM_STEP_NODELIST)) return undefined;
  const isTask = env.SLURM_STEP_ID !== undefined && Number(env.SLURM_STEP_NUM_TASKS ?? 1) > 1;
  if (isTask)
    throw new LaunchError(
      `srun has started ${env.SLURM_STEP_NUM_TASKS} copies of tsrun. Call tsrun once, in the batch script or the shell of salloc: it starts its ranks on all nodes itself; or leave tsrun out: srun node train.js`,
    );
  const list = env.SLURM_JOB_NODELIST ? 'SLURM_JOB_NODELIST' : 'SLURM_STEP_NODELIST';
  try {
    if (env.SLURM_TASKS_PER_NODE) return specs(slurmNodes(env, list, 'SLURM_TASKS_PER_NODE'), 1);
    const perTask = /^[1-9]\d*$/.test(env.SLURM_CPUS_PER_TASK ?? '') ? Number(env.SLURM_CPUS_PER_TASK) : 1;
    return specs(slurmNodes(env, list, 'SLURM_JOB_CPUS_PER_NODE'), perTask);
  } catch (error) {
    if (error instanceof UsageError) throw new LaunchError(error.message);
    throw error;
  }
}

const specs = ({ nodes, tasks }: ReturnType<typeof slurmNodes>, perSlot: number): HostSpec[] =>
  nodes.map((host, i) => ({ host, slots: Math.max(1, Math.floor(tasks[i]! / perSlot)) }));

/**
 * The command before the agent's own: its stdin and stdout carry the agent's channel, byte for byte. `--overlap`: beside other steps of the job; `--cpu-bind=none` and `--mem=0`:
 * the agent, and so its ranks, get all that the job has on that node.
 */
export function srunCommand(host: string): string[] {
  const options = ['--nodes=1', '--ntasks=1', `--nodelist=${host}`, '--overlap', '--mem=0', '--cpu-bind=none', '--unbuffered', '--quiet'];
  return ['srun', ...options, '--kill-on-bad-exit=1', '--mpi=none', '--'];
}
