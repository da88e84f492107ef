/**
 * Which system started this process. Pure; main thread.
 *
 * The innermost launcher knows best, and sets its variables over those of the one that it was started by: tsrun and torchrun stand under everything else, an mpirun inside a Slurm
 * allocation uses srun for its own daemons, and what is set in a manifest or by hand stands last. A job of size 1 is believed only if nobody says more.
 */
import type { Environment, Facts, Found, JobIdentity } from './identity';
import { fromKubernetes } from './kubernetes';
import { fromMpich } from './mpich';
import { fromOpenMpi } from './open_mpi';
import { fromSlurm } from './slurm';
import { fromTorchrun, fromTorchVariables } from './torchrun';

/** What tsrun sets for its ranks; a user who sets HOROVOD_SIZE=1 gets a job of size 1, whatever started the process. */
const OF_TSRUN = ['HOROVOD_RANK', 'HOROVOD_SIZE', 'TSRUN_RENDEZVOUS'];

/** Undefined: tsrun did, or nobody that is known. @throws UsageError, RendezvousError the system that did left out, or garbled, what is needed */
export function identify(env: Environment, facts: Facts, portRange?: { first: number; last: number }): JobIdentity | undefined {
  if (OF_TSRUN.some((name) => env[name])) return undefined;
  const readers: ReadonlyArray<() => Found | undefined> = [
    () => fromTorchrun(env, portRange),
    () => fromOpenMpi(env, facts, portRange),
    () => fromMpich(env, facts, portRange),
    () => fromSlurm(env, portRange),
    () => fromTorchVariables(env),
    () => fromKubernetes(env, facts),
  ];
  const isInPod = Boolean(env.KUBERNETES_SERVICE_HOST);
  let alone: Found | undefined;
  for (const read of readers) {
    const identity = read();
    if (identity && identity.size > 1) return { ...identity, isInPod };
    alone ??= identity;
  }
  return alone && { ...alone, isInPod };
}
