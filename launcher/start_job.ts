/** What the agent of one host is told of its part of the job. Pure. */
import { knobs } from '../src/config';
import type { khorovod } from '../src/wire/generated/messages';
import type { Assignment } from './hosts';
import { type Crew, rankVariables, serverVariables } from './identities';
import { type Devices, pinningOf } from './pinning';
import type { Place } from './reach';
import type { RunRequest } from './request';
import { isSameHost, type ServerPlace, serverLabel } from './servers';

/** What is the same for all hosts. */
export interface WholeJob {
  readonly request: RunRequest;
  readonly assignments: readonly Assignment[];
  readonly servers: readonly ServerPlace[];
  readonly secret: { readonly jobId: string; readonly key: Uint8Array };
  /** Where ranks find the store; undefined: through their agent. */
  readonly rendezvous?: string;
  readonly terminalColumns: number;
  /** What processes are told that their host is called. */
  hostName(host: string): string;
}

/** @throws LaunchError (exit 4) the host has too few GPUs, or cannot bind */
export function startJobOf(
  job: WholeJob,
  { place, part, ready, addresses }: { place: Place; part: string; ready: khorovod.AgentReady.$Properties; addresses: readonly string[] },
): khorovod.StartJob.$Properties {
  const { request, assignments, servers, secret, rendezvous } = job;
  const { env, addedEnv, wdir, command, isScript, isOwn, portRange, tls } = request;
  const { gpus, cpus, numaNodes } = ready;
  const devices = { gpus: gpus ?? [], cpus: cpus ?? [], numaNodes: (numaNodes ?? []).map((node) => node.cpus ?? []) };
  return {
    jobId: secret.jobId,
    key: secret.key,
    part,
    rendezvous,
    tls,
    wdir,
    env: pairs(place.isHere ? env : addedEnv),
    ranks: [
      ...assignments.filter((one) => isSameHost(one, place)).map((one) => rankSpec(job, one, devices)),
      ...servers.filter((one) => isSameHost(one, place)).map((one) => serverSpec(job, one, devices)),
    ],
    adds: !place.isHere,
    command: [...command],
    script: isScript,
    own: isOwn,
    size: assignments.length + servers.length,
    firstPort: portRange?.first ?? 0,
    lastPort: portRange?.last ?? 0,
    place: place.index,
    addresses: [...addresses],
  };
}

/** @throws LaunchError (exit 4) the host has too few GPUs, or cannot bind */
function rankSpec(job: WholeJob, assignment: Assignment, devices: Devices): khorovod.RankSpec.$Properties {
  const { env, cpus } = pinningOf(assignment, devices, job.request.pinning);
  return {
    label: String(assignment.rank),
    cpus: [...cpus],
    env: pairs({ ...env, ...rankVariables(assignment, job.hostName(assignment.host), crewOf(job)), ...processors(devices) }),
    stdin: assignment.rank === 0 && job.request.forwardsStdin,
  };
}

/** Bound to no processor: ranks have shared them all out, and a server works while ranks wait for it. */
function serverSpec(job: WholeJob, { server, host }: ServerPlace, devices: Devices): khorovod.RankSpec.$Properties {
  const env = { ...serverVariables(server, job.hostName(host), crewOf(job)), ...processors(devices) };
  return { label: serverLabel(server), env: pairs(env) };
}

const processors = ({ cpus }: Devices): Record<string, string> => ({ [knobs.localCpus.env]: String(cpus.length) });

const crewOf = ({ request, assignments, servers, terminalColumns }: WholeJob): Crew => ({
  ranks: assignments.length,
  servers: servers.length,
  keepsGoing: request.keepsGoing,
  terminalColumns,
});

const pairs = (env: Record<string, string>): khorovod.EnvVar.$Properties[] => Object.entries(env).map(([name, value]) => ({ name, value }));
