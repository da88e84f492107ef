/**
 * What tsrun takes from Kubeflow's MPI Operator in the launcher pod: the hostfile and the way to reach the workers. Pure but for the reader it is given.
 *
 * The operator writes them for mpirun, each MPI under its own names. Version 1 brought a program in ssh's place (kubexec.sh); version 2 uses ssh and only adds arguments.
 */
import { LaunchError } from '../errors';
import { type HostSpec, parseHostfile } from '../hosts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface OperatorHosts {
  readonly hosts: readonly HostSpec[];
  readonly hostfile: string;
  /** A program that is called as `PROGRAM HOST COMMAND …` in ssh's place (--rsh); undefined: ssh. */
  readonly rsh?: string;
  /** How often a worker whose sshd is not up yet is tried again; undefined: not said. */
  readonly connectionAttempts?: number;
}

const HOSTFILES = ['OMPI_MCA_orte_default_hostfile', 'PRTE_MCA_prte_default_hostfile', 'I_MPI_HYDRA_HOST_FILE', 'HYDRA_HOST_FILE'];
const AGENTS = ['OMPI_MCA_plm_rsh_agent', 'PRTE_MCA_plm_ssh_agent', 'I_MPI_HYDRA_BOOTSTRAP_EXEC', 'HYDRA_LAUNCHER_EXEC'];
const ARGUMENTS = ['OMPI_MCA_plm_rsh_args', 'I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS', 'HYDRA_LAUNCH_EXTRA_ARGS'];

/** Undefined: this is no launcher pod. @throws LaunchError (exit 2) its hostfile cannot be read or is malformed */
export function hostsOfMpiOperator(env: Environment, readText: (file: string) => string): OperatorHosts | undefined {
  const isInPod = Boolean(env.KUBERNETES_SERVICE_HOST) || env.K_MPI_JOB_ROLE === 'launcher';
  const hostfile = firstOf(env, HOSTFILES);
  if (!isInPod || hostfile === undefined) return undefined;
  let text: string;
  try {
    text = readText(hostfile);
  } catch (error) {
    throw new LaunchError(`the hostfile of the MPI Operator cannot be read: ${(error as Error).message}`);
  }
  const attempts = /ConnectionAttempts[ =](\d{1,4})/.exec(firstOf(env, ARGUMENTS) ?? '')?.[1];
  const agent = firstOf(env, AGENTS);
  return {
    hosts: parseHostfile(text, hostfile),
    hostfile,
    rsh: agent === undefined || /^(\S*\/)?ssh(\s|$)/.test(agent) ? undefined : agent,
    connectionAttempts: attempts === undefined ? undefined : Number(attempts),
  };
}

const firstOf = (env: Environment, names: readonly string[]): string | undefined => names.map((name) => env[name]).find(Boolean);
