/**
 * Pods of an Indexed Job or of a JobSet. Pure; main thread.
 *
 * Kubernetes gives each pod its index (JOB_COMPLETION_INDEX) and nowhere the number of pods: the manifest sets WORLD_SIZE. Without it the pods are independent tasks, each a
 * job of its own. Pod r of a job is called JOB-r.SUBDOMAIN.NAMESPACE.svc…, where a headless service gives the subdomain its name; the pod finds its own full name in /etc/hosts.
 */
import { RendezvousError } from '../errors';
import { checkBelow, type Environment, type Facts, type Found, masterFrom, numberFrom } from './identity';

const SCHEDULER = 'Kubernetes';
/** Nothing else listens in the pod. */
const DEFAULT_PORT = 29_500;

/** Undefined: no pod of a job, or one that nobody gave a size. @throws UsageError a variable is wrong; RendezvousError the pods have no names to find each other by */
export function fromKubernetes(env: Environment, facts: Facts): Found | undefined {
  if (env.JOB_COMPLETION_INDEX === undefined || env.WORLD_SIZE === undefined) return undefined;
  const rank = numberFrom(env, 'JOB_COMPLETION_INDEX', SCHEDULER);
  const size = numberFrom(env, 'WORLD_SIZE', SCHEDULER, 1);
  checkBelow(SCHEDULER, ['JOB_COMPLETION_INDEX', rank], ['WORLD_SIZE', size]);
  const { host, port = DEFAULT_PORT } = masterFrom(env, SCHEDULER);
  const names = podNames(facts, rank, size);
  const rankZero = host ?? names?.[0];
  const job = facts.hostname.replace(/-\d+$/, '');
  if (size > 1 && rankZero === undefined)
    throw new RendezvousError(
      `This is pod ${rank} of ${size}, but it has no name under which the others could be found: its job has no headless service. ${serviceFor(job)}`,
    );
  return {
    scheduler: SCHEDULER,
    rank,
    size,
    localRank: 0,
    localSize: 1,
    crossRank: rank,
    crossSize: size,
    hosts: names,
    isOneHost: size === 1,
    jobId: `kubernetes-${rankZero ?? facts.hostname}:${port}`,
    rendezvous: { hosts: [rankZero ?? '127.0.0.1'], port },
    remedy: `Look whether that pod runs (kubectl get pods), and whether the headless service selects it. ${serviceFor(job)}`,
  };
}

/** Full names of all pods by index, from this pod's own: `10.1.2.3  train-3.train.default.svc.cluster.local  train-3`. */
function podNames({ hostname, hostsFile }: Facts, rank: number, size: number): string[] | undefined {
  const words = hostsFile()
    .split('\n')
    .flatMap((line) => line.replace(/#.*/, '').trim().split(/\s+/).slice(1));
  const name = words.find((word) => word.startsWith(`${hostname}.`));
  const suffix = `-${rank}`;
  if (!name || !hostname.endsWith(suffix)) return undefined;
  const [job, domain] = [hostname.slice(0, -suffix.length), name.slice(hostname.length)];
  return Array.from({ length: size }, (_, index) => `${job}-${index}${domain}`);
}

const serviceFor = (job: string): string => `A job's pods find each other through this:
apiVersion: v1
kind: Service
metadata: {name: ${job}}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {job-name: ${job}}
---
kind: Job
metadata: {name: ${job}}
spec:
  template:
    spec:
      subdomain: ${job}
`;
