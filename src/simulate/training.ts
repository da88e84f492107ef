/**
 * How fast a network trains: images per second by strategy, workers and network, from a profile of what computing takes. Pure; deterministic; no clocks.
 *
 * A step is the forward pass, the backward pass, which reaches the last variable first, and what is left of the communication when it is over. Buckets are those of DistributedOptimizer, and leave when their last gradient is there.
 */
import type { Compute } from '../bench/profiles';
import { algorithms } from '../config';
import { UsageError } from '../errors';
import { makeBuckets } from '../tensorflow/buckets';
import { simulateAllreduce, type Way } from './collective';
import type { NetworkSpec } from './network';
import { type ServersSpec, simulateServers } from './servers';
import type { StepTimes, Workload } from './workload';

export interface Job {
  /** What computing a step takes, on each worker. */
  readonly profile: Compute;
  /** Elements of each variable. */
  readonly sizes: readonly number[];
  /** Of a worker. */
  readonly batchSize: number;
  readonly workers: number;
  readonly network: NetworkSpec;
  readonly strategy: Strategy;
}
/** `ring`: allreduce, in the given way; default: a ring over all workers. */
export type Strategy = { readonly kind: 'ring'; readonly way?: Way } | ({ readonly kind: 'servers' } & ServersSpec);

export interface Prediction extends StepTimes {
  readonly imagesPerSec: number;
  /** Of one worker without communication. */
  readonly aloneSeconds: number;
  /** Of workers × images per second of one. */
  readonly efficiency: number;
  /** No step of this strategy can be shorter: the longer of computing and of what the busiest link carries. */
  readonly boundSeconds: number;
}

/** With more workers a step costs seconds to simulate, and all but the first are alike. */
const MANY_WORKERS = 256;
const STEPS = 4;
const BYTES_PER_ELEM = 4;

/** `ring`: a ring over all workers; `allreduce`: as a job chooses; `allreduce:hierarchical`, …: in that way; `ps-sync`, `ps-async`: behind a colon how many servers there are (`ps-sync:4`; default: every worker serves a share). @throws UsageError it is none of them */
export function strategyOf(name: string): Strategy {
  if (name === 'ring') return { kind: 'ring' };
  const [collective, way = 'auto'] = name.split(':');
  const known = ['auto' as const, ...algorithms].find((one) => one === way);
  if (collective === 'allreduce' && known) return { kind: 'ring', way: known };
  const found = /^ps-(sync|async)(?::([1-9]\d*))?$/.exec(name);
  if (!found)
    throw new UsageError(
      `There is no strategy '${name}' to simulate. There are ring, allreduce (or allreduce:${algorithms.join(', allreduce:')}), and ps-sync and ps-async, these two with :N for N servers on hosts of their own.`,
    );
  return { kind: 'servers', mode: found[1] as 'sync' | 'async', servers: found[2] === undefined ? 'colocated' : Number(found[2]) };
}

/** @throws UsageError the profile is of other variables */
export function workloadOf({ profile, sizes, workers, strategy, network }: Job, steps: number): Workload {
  const { updateByte } = network.costs;
  // A worker alone neither exchanges nor copies anything.
  const isAlone = workers === 1 && strategy.kind === 'ring';
  const copyByte = isAlone ? 0 : network.costs.copyByte;
  const { forwardMs, backwardMs } = profile;
  if (backwardMs.length !== sizes.length)
    throw new UsageError(`The profile has the backward pass of ${backwardMs.length} variables, the network has ${sizes.length}.`);
  const wait = [forwardMs, ...backwardMs].find((ms) => !(ms >= 0));
  if (wait !== undefined) throw new UsageError(`Computing takes 0 ms or more, not ${wait}.`);
  // By variable: when its gradient is there and copied.
  const there: number[] = Array(sizes.length);
  let at = forwardMs / 1000;
  for (let variable = sizes.length - 1; variable >= 0; variable -= 1)
    there[variable] = at += backwardMs[variable]! / 1000 + copyByte * BYTES_PER_ELEM * sizes[variable]!;
  const buckets = makeBuckets(sizes).map(({ slots, elems }) => ({
    elems,
    readyAt: Math.max(0, ...slots.map(({ variable }) => there[variable]!)),
  }));
  return { buckets, computeSeconds: at, updateSeconds: strategy.kind === 'ring' ? updateByte * BYTES_PER_ELEM * sum(sizes) : 0, steps };
}

/** @throws UsageError a number makes no sense, or there is too much to simulate */
export function simulateTraining(job: Job): Prediction {
  const { workers, network, batchSize } = job;
  if (!Number.isInteger(workers) || workers < 1) throw new UsageError(`There is 1 worker or more, not ${workers}.`);
  if (!(batchSize > 0)) throw new UsageError(`A batch has 1 image or more, not ${batchSize}.`);
  const workload = workloadOf(job, workers > MANY_WORKERS ? 1 : STEPS);
  const computing = (job.profile.forwardMs + sum(job.profile.backwardMs)) / 1000;
  const aloneSeconds = computing + network.costs.updateByte * BYTES_PER_ELEM * sum(job.sizes);
  const times = simulateSteps(job, workload);
  const imagesPerSec = (workers * batchSize) / times.stepSeconds;
  const boundSeconds = Math.max(computing + workload.updateSeconds, wireSeconds(workload, job));
  return { ...times, imagesPerSec, aloneSeconds, efficiency: aloneSeconds / times.stepSeconds, boundSeconds };
}

/** The steps themselves. @throws UsageError there is too much to simulate */
export function simulateSteps({ workers, network, strategy }: Job, workload: Workload): StepTimes {
  if (strategy.kind === 'servers') return simulateServers(workload, workers, network, strategy);
  if (workers > 1) return simulateAllreduce(workload, workers, network, strategy.way);
  const seconds = workload.computeSeconds + workload.updateSeconds;
  return { stepSeconds: seconds, ends: [seconds], events: 0, isOneHost: false };
}

/** What the busiest link of a host carries of a step, at its rate (Jiang et al., OSDI 2020, with the ranks of a host that share its link). */
export function wireSeconds({ buckets }: Workload, { workers, network, strategy }: Pick<Job, 'workers' | 'network' | 'strategy'>): number {
  const { ranksPerHost, rate } = network;
  const bytes = sum(buckets.map(({ elems }) => elems * BYTES_PER_ELEM));
  const local = Math.min(workers, ranksPerHost);
  const remote = workers - local;
  if (strategy.kind === 'ring') {
    // A ring over all workers passes each link once; no other way can do with less than one over the hosts.
    const places = (strategy.way ?? 'ring') === 'ring' ? workers : Math.ceil(workers / ranksPerHost);
    return remote === 0 ? 0 : (2 * (places - 1) * bytes) / places / rate;
  }
  // Each rank sends its share to, and answers with its own, all ranks of other hosts.
  if (strategy.servers === 'colocated') return (local * 2 * remote * bytes) / workers / rate;
  return (bytes / rate) * Math.max(local, workers / strategy.servers);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
