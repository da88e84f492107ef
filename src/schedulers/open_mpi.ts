/**
 * Processes of Open MPI's mpirun, versions 4 (ORTE) and 5 (PRRTE). Pure; main thread.
 *
 * They know their ranks and who shares their host, but not where rank 0 is. What can be learned is where mpirun itself runs (its URI in version 4, its host's name in the
 * namespace of version 5): with the usual host lists that is rank 0's host, and rank 0, which knows whether it is, says so at once where it is not.
 */
import { RendezvousError } from '../errors';
import { checkBelow, type Environment, type Facts, type Found, masterFrom, numberFrom, optionalNumberFrom, portOf } from './identity';
import { firstNodeOf } from './slurm';

const SCHEDULER = 'Open MPI';

/** Undefined: not started by it. @throws UsageError a variable is wrong; RendezvousError nothing says where rank 0 is */
export function fromOpenMpi(env: Environment, facts: Facts, portRange?: { first: number; last: number }): Found | undefined {
  if (env.OMPI_COMM_WORLD_RANK === undefined || env.OMPI_COMM_WORLD_SIZE === undefined) return undefined;
  const rank = numberFrom(env, 'OMPI_COMM_WORLD_RANK', SCHEDULER);
  const size = numberFrom(env, 'OMPI_COMM_WORLD_SIZE', SCHEDULER, 1);
  checkBelow(SCHEDULER, ['OMPI_COMM_WORLD_RANK', rank], ['OMPI_COMM_WORLD_SIZE', size]);
  const localRank = optionalNumberFrom(env, 'OMPI_COMM_WORLD_LOCAL_RANK', SCHEDULER);
  const localSize = optionalNumberFrom(env, 'OMPI_COMM_WORLD_LOCAL_SIZE', SCHEDULER, 1);
  const name = env.PMIX_NAMESPACE ?? env.OMPI_MCA_ess_base_jobid ?? env.OMPI_MCA_orte_hnp_uri?.split(';')[0];
  const jobId = `openmpi-${name ?? facts.launcherPid()}`;
  const isOneHost = localSize === size;
  const master = masterFrom(env, SCHEDULER);
  return {
    scheduler: SCHEDULER,
    rank,
    size,
    localRank,
    localSize,
    isOneHost,
    jobId,
    rendezvous: {
      hosts: master.host ? [master.host] : isOneHost ? ['127.0.0.1'] : hostsOfRankZero(env, facts, rank),
      port: master.port ?? portOf(jobId, portRange),
    },
    remedy: REMEDY,
  };
}

const REMEDY = "Name rank 0's host: mpirun -x MASTER_ADDR=HOST …, with a name or an address by which all hosts reach it.";

/** @throws RendezvousError nobody says, or this is rank 0 and it is somewhere else */
function hostsOfRankZero(env: Environment, facts: Facts, rank: number): readonly string[] {
  const node = firstNodeOf(env);
  if (node !== undefined) {
    const own = env.SLURMD_NODENAME ?? facts.hostname;
    if (rank === 0 && own !== node) throw notThere(`the first node of the Slurm allocation is ${node}, and rank 0 is on ${own}`);
    return [node];
  }
  const uri = env.OMPI_MCA_orte_hnp_uri;
  if (uri) {
    const own = env.OMPI_MCA_orte_local_daemon_uri;
    if (rank === 0 && own !== undefined && own !== uri) throw notThere('mpirun runs on another host than rank 0');
    const hosts = addressesOf(uri);
    if (hosts.length > 0) return hosts;
  }
  // prterun-HOST-PID@JOB
  const launcher = /^prterun-(.+)-\d+@\d+$/.exec(env.PMIX_NAMESPACE ?? '')?.[1];
  if (launcher) {
    const short = (name: string): string => name.split('.')[0]!;
    if (rank === 0 && short(launcher) !== short(facts.hostname))
      throw notThere(`mpirun runs on ${launcher}, and rank 0 on ${facts.hostname}`);
    return [launcher];
  }
  throw notThere('no variable of Open MPI says where mpirun runs');
}

/** `2013462528.0;tcp://192.0.2.2,10.91.0.254:50607;tcp6://[fd00::2]:52703` → its addresses */
function addressesOf(uri: string): string[] {
  return uri
    .split(';')
    .flatMap((part) => /^tcp6?:\/\/(.*):\d+$/.exec(part)?.[1]?.split(',') ?? [])
    .map((address) => address.replace(/^\[|\]$/g, ''));
}

const notThere = (why: string): RendezvousError =>
  new RendezvousError(`The ranks of this job are on several hosts and cannot learn where rank 0 is: ${why}. ${REMEDY}`);
