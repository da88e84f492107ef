/**
 * Training steps whose buckets are summed by allreduce, on a modelled network: negotiation, then the very plans that select.ts chooses, one bucket after the other on each rank. Pure.
 *
 * Every rank is simulated, or those of one host: where all hosts have equally many ranks and the switch is no bottleneck, in a ring all hosts do the same at the same time, and what a host's last rank
 * sends to the next host is what the host before sends to its first. In recursive doubling it is so when hosts and ranks are powers of two: partners on other hosts have the same place there. Where hosts reduce
 * first it is nearly so: each begins between hosts with another piece of its sum. In recursive halving who has which half of a pair matters, and a tree has one root. So that it holds to the last byte all chunks of a ring must be equally long: elements that are missing are added, fewer than one a message.
 */

import type { Plan } from '../collective/plan';
import { chooseAllreduce, defaultPolicy, MOST_CHUNK_BYTES, planAllreduce } from '../collective/select';
import { type Topology, topologyOf } from '../collective/topology';
import { type Algorithm, algorithms } from '../config';
import { UsageError } from '../errors';
import { arrived, Executor, type PlanMessage, type Surroundings } from './executor';
import { Network, type NetworkSpec } from './network';
import { type StepTimes, stepSeconds, type Workload } from './workload';

/** Of all ranks: about a minute. */
const MOST_STEPS_OF_PLANS = 3e7;
const BYTES_PER_ELEM = 4;

const isPowerOfTwo = (count: number): boolean => Number.isInteger(Math.log2(count));

/** One of them, or the choice of a job that says nothing. */
export type Way = Algorithm | 'auto';

const hostsOf = (ranks: number, { ranksPerHost }: NetworkSpec): Topology =>
  topologyOf(Array.from({ length: ranks }, (_, rank) => String(Math.floor(rank / ranksPerHost))));
const chosen = (way: Way, elems: number, topology: Topology): Algorithm =>
  chooseAllreduce(elems * BYTES_PER_ELEM, topology, { ...defaultPolicy, among: way === 'auto' ? algorithms : [way] }).algorithm;

/** Whether one host stands for all. */
export function isAlike(workload: Workload, ranks: number, spec: NetworkSpec, way: Way = 'ring'): boolean {
  const { ranksPerHost, hostsPerMachine, switchRate } = spec;
  if (ranks <= ranksPerHost || ranks % ranksPerHost > 0 || hostsPerMachine > 1 || switchRate !== undefined) return false;
  const topology = hostsOf(ranks, spec);
  const arePowers = isPowerOfTwo(ranks) && isPowerOfTwo(ranksPerHost);
  return workload.buckets.every(({ elems }) => {
    const algorithm = chosen(way, evenElems(elems, ranks), topology);
    return algorithm === 'ring' || algorithm === 'hierarchical' || (algorithm === 'recursive-doubling' && arePowers);
  });
}

/** So many that all chunks of all blocks of a ring are equally long. */
export function evenElems(elems: number, ranks: number): number {
  const blocks = Math.ceil(elems / (ranks * (MOST_CHUNK_BYTES / BYTES_PER_ELEM)));
  return Math.ceil(elems / (ranks * blocks)) * ranks * blocks;
}

/** @param ranks 2 or more @param way of each bucket @param everyRank also where one host stands for all @throws UsageError a number makes no sense, or there is too much to simulate */
export function simulateAllreduce(workload: Workload, ranks: number, spec: NetworkSpec, way: Way = 'ring', everyRank = false): StepTimes {
  const alike = !everyRank && isAlike(workload, ranks, spec, way);
  return new AllreduceRun(workload, ranks, spec, way, alike).run();
}

/** Where a rank is in its training. */
interface Rank {
  readonly executor: Executor;
  readonly number: number;
  step: number;
  /** Buckets of the step that are reduced. */
  reduced: number;
  isReducing: boolean;
  /** When the main thread has the last result. */
  copied: number;
}

class AllreduceRun {
  private readonly network: Network<PlanMessage>;
  private readonly ranks: Rank[];
  private readonly plans = new Map<string, Plan>();
  private readonly topology: Topology;
  /** By elements. */
  private readonly algorithms = new Map<number, Algorithm>();
  /** By step and bucket: who has not asked for it yet; then the coordinator has decided. */
  private readonly missing: number[];
  private readonly isDecided: Uint8Array;
  private coordinatorFree = 0;
  private readonly ends: number[];
  /** Ranks that each simulated one stands for. */
  private readonly each: number;

  constructor(
    private readonly workload: Workload,
    private readonly size: number,
    private readonly spec: NetworkSpec,
    private readonly way: Way,
    private readonly isOneHost: boolean,
  ) {
    this.topology = hostsOf(size, spec);
    const { ranksPerHost } = spec;
    const simulated = isOneHost ? ranksPerHost : size;
    this.each = size / simulated;
    const numbers = Array.from({ length: simulated }, (_, rank) => rank);
    const hostOf = numbers.map((rank) => Math.floor(rank / ranksPerHost));
    this.network = new Network(spec, hostOf, arrived);
    this.ranks = numbers.map((number) => {
      const surroundings: Surroundings = {
        executorOf: (rank) => this.ranks[rank % simulated]!.executor,
        isRemote: (rank) => Math.floor(rank / ranksPerHost) !== hostOf[number],
      };
      const executor = new Executor(this.network, number, number % ranksPerHost, surroundings);
      return { executor, number, step: 0, reduced: 0, isReducing: false, copied: 0 };
    });
    const operations = workload.steps * workload.buckets.length;
    this.missing = Array(operations).fill(size);
    this.isDecided = new Uint8Array(operations);
    this.ends = Array(workload.steps).fill(0);
  }

  run(): StepTimes {
    const planned = this.workload.buckets.reduce((sum, { elems }) => sum + this.planOf(0, elems).sends.length, 0) * this.ranks.length;
    if (planned * this.workload.steps > MOST_STEPS_OF_PLANS)
      throw new UsageError(
        `${this.size} ranks that differ would exchange ${planned * this.workload.steps} messages, more than the ${MOST_STEPS_OF_PLANS} that can be simulated. One host stands for all if workers and ranks per host are powers of two and the switch has no rate.`,
      );
    for (const rank of this.ranks) this.beginStep(rank);
    const events = this.network.events.run();
    return { stepSeconds: stepSeconds(this.ends), ends: this.ends, events, isOneHost: this.isOneHost };
  }

  private readonly beginStep = (rank: Rank): void => {
    const { events } = this.network;
    rank.reduced = 0;
    rank.copied = events.now + this.workload.computeSeconds;
    for (const [bucket, { readyAt }] of this.workload.buckets.entries())
      events.at(events.now + readyAt, rank.number, this.ask, { rank, operation: this.operationOf(rank.step, bucket) });
  };

  /** The coordinator hears one rank after the other; with the last the bucket is decided. */
  private readonly ask = ({ rank, operation }: { rank: Rank; operation: number }): void => {
    const { events } = this.network;
    const { latency, costs } = this.spec;
    for (let i = 0; i < this.each; i += 1) this.coordinatorFree = Math.max(this.coordinatorFree, events.now + latency) + costs.request;
    this.missing[operation]! -= this.each;
    if (this.missing[operation] === 0) events.at(this.coordinatorFree + latency, rank.number, this.decide, operation);
  };

  private readonly decide = (operation: number): void => {
    this.isDecided[operation] = 1;
    for (const rank of this.ranks) this.goOn(rank);
  };

  /** Buckets are reduced in the order in which they leave. */
  private goOn(rank: Rank): void {
    const { buckets } = this.workload;
    if (rank.isReducing || rank.reduced === buckets.length || !this.isDecided[this.operationOf(rank.step, rank.reduced)]) return;
    const { elems } = buckets[rank.reduced]!;
    rank.isReducing = true;
    rank.executor.begin(this.planOf(rank.number, elems), BYTES_PER_ELEM, () => {
      rank.isReducing = false;
      rank.reduced += 1;
      const copying = this.spec.costs.copyByte * BYTES_PER_ELEM * elems;
      rank.copied = Math.max(rank.copied, this.network.events.now) + copying;
      if (rank.reduced === buckets.length) this.endStep(rank);
      else this.goOn(rank);
    });
  }

  private endStep(rank: Rank): void {
    const end = rank.copied + this.workload.updateSeconds;
    this.ends[rank.step] = Math.max(this.ends[rank.step]!, end);
    rank.step += 1;
    if (rank.step < this.workload.steps) this.network.events.at(end, rank.number, this.beginStep, rank);
  }

  private operationOf(step: number, bucket: number): number {
    return step * this.workload.buckets.length + bucket;
  }

  private planOf(rank: number, elems: number): Plan {
    const key = `${rank} ${elems}`;
    let plan = this.plans.get(key);
    if (!plan) {
      const total = this.isOneHost ? evenElems(elems, this.size) : elems;
      let algorithm = this.algorithms.get(total);
      if (!algorithm) this.algorithms.set(total, (algorithm = chosen(this.way, total, this.topology)));
      plan = planAllreduce(algorithm, { rank, elems: total, bytesPerElem: BYTES_PER_ELEM }, this.topology);
      this.plans.set(key, plan);
    }
    return plan;
  }
}
