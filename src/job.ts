/**
 * The life of a job in this process: joining, who is who, leaving.
 *
 * Main thread. One engine a generation; each `init()` after a `shutdown()` is a new generation with everything made anew. The process's `exit` event leaves the job by itself;
 * an exit code other than 0 tells the peers that this rank failed.
 */
import os from 'node:os';
import { type Config, environment, readConfig } from './config';
import { withCosts } from './engine/cost_file';
import { Engine } from './engine/engine';
import { writeErrorFile } from './engine/error_file';
import { serve } from './engine/server_process';
import { makeTimelineFile, timelinePath } from './engine/timeline_file';
import { type ErrorRecord, HvdError, NotInitializedError, recordOf, UsageError } from './errors';
import { configureLog, log } from './log';
import { factsOfThisProcess } from './schedulers/facts';
import type { JobIdentity } from './schedulers/identity';
import { identify } from './schedulers/select';

let engine: Engine | undefined;
let generation = 0;
let isHooked = false;
let uncaught: ErrorRecord | undefined;
/** Horovod's word for a timeline that `startTimeline` begins; it may do so without, here. */
const ARMED = 'DYNAMIC';
/** Told when the job ends, so that what belongs to it is dropped. */
const onLeave: Array<() => void> = [];

/** What `init` does but for process sets: blocks until all ranks have come. In a job it does nothing. @throws as init */
export function joinJob(): void {
  if (!engine) join(readConfig());
}

/** For the benchmark, not in the package's API: of a job with --tls, what runs between ranks is not encrypted until they leave; all ranks must call it. */
export function initInTheClear(): void {
  join(Object.freeze({ ...readConfig(), isClearBetweenRanks: true }));
}

function join(given: Config): void {
  if (given.server !== undefined) {
    configureLog({ level: given.logLevel, rank: given.workers + given.server, hideTime: given.logHideTime });
    serve(given);
  }
  const { config: found, job } = identified(given);
  const config = withCosts(found);
  if (config.rank >= config.size)
    throw new UsageError(
      `HOROVOD_RANK is ${config.rank}, but HOROVOD_SIZE is ${config.size}: ranks are 0 … size−1. Start the job with tsrun.`,
    );
  configureLog({ level: config.logLevel, rank: config.rank, hideTime: config.logHideTime });
  hookExit();
  generation += 1;
  if (job) log('INFO', `rank ${job.rank} of ${job.size}, started by ${job.scheduler}`);
  // A path that cannot be written ends this rank before the others count on it.
  const timeline = config.timeline && config.timeline !== ARMED ? timelinePath(config.timeline, config.rank, config.size) : undefined;
  if (timeline) makeTimelineFile(timeline, 'HOROVOD_TIMELINE');
  engine = new Engine(config.hostname ? config : Object.freeze({ ...config, hostname: os.hostname() }), job, generation);
  if (timeline) engine.startTimeline(timeline, config.timelineMarkCycles);
}

/** Who this process is, whatever started it. */
function identified(given: Config): { config: Config; job: JobIdentity | undefined } {
  const job = identify(environment(), factsOfThisProcess, given.portRange);
  return { config: job ? withIdentity(given, job) : given, job };
}

/** The configuration that a job joined now would have. */
export const configNow = (): Config => identified(readConfig()).config;

/** What tsrun would have set. */
function withIdentity(config: Config, { rank, size, localRank, localSize, crossRank, crossSize, hostname }: JobIdentity): Config {
  return Object.freeze({
    ...config,
    rank,
    size,
    localRank: localRank ?? 0,
    localSize: localSize ?? 1,
    crossRank: crossRank ?? 0,
    crossSize: crossSize ?? 1,
    hostname: hostname ?? config.hostname,
  });
}

/**
 * Leaves the job: what peers still need of complete operations is sent first (at most 5 s); pending operations fail with ShutdownError, here and on the others. Runs by itself when the process ends; an
 * exit code other than 0 gives the others PeerError. Afterwards this rank is as before `init()`, which may be called again. Throws nothing; without a job it does nothing.
 */
export function shutdown(): void {
  leave(false, 'it called shutdown()');
}

/** Whether this process is in a job. Throws nothing. */
export function isInitialized(): boolean {
  return engine !== undefined;
}

const joined = (what: string): Engine => {
  if (!engine) throw new NotInitializedError(`${what} needs a job: call hvd.init() first (and not after hvd.shutdown()).`);
  return engine;
};
/** The engine, for what runs on it. @throws NotInitializedError */
export const currentEngine = joined;

/** For the benchmark, not in the package's API. */
export const isEncrypted = (): boolean => joined('isEncrypted()').config.tls;
/** This process's number in the job, from 0 to `size()` − 1. @throws NotInitializedError before `init()` */
export const rank = (): number => joined('rank()').config.rank;
/** The number of processes of the job. @throws NotInitializedError before `init()` */
export const size = (): number => joined('size()').config.size;
/** This process's number among those of its host, from 0. @throws NotInitializedError before `init()` */
export const localRank = (): number => joined('localRank()').config.localRank;
/** The number of the job's processes on this host. @throws NotInitializedError before `init()` */
export const localSize = (): number => joined('localSize()').config.localSize;
/** The number of this host among those that have a process of this local rank, from 0. @throws NotInitializedError before `init()` */
export const crossRank = (): number => joined('crossRank()').config.crossRank;
/** The number of hosts that have a process of this local rank. @throws NotInitializedError before `init()` */
export const crossSize = (): number => joined('crossSize()').config.crossSize;
/** This host's name in the host list of the job, else the system's. @throws NotInitializedError before `init()` */
export const hostname = (): string => joined('hostname()').config.hostname;
/** Whether every host runs equally many ranks. @throws NotInitializedError before `init()` */
export const isHomogeneous = (): boolean => joined('isHomogeneous()').isHomogeneous;

/** One record (e.g. {imagesPerSec: 812}) for the launcher. @throws UsageError a value that is neither a finite number nor a text; NotInitializedError before `init()` */
export function report(metrics: Record<string, number | string>): void {
  const current = joined('report()');
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value === 'number' ? !Number.isFinite(value) : typeof value !== 'string') {
      throw new UsageError(`report(): '${name}' is ${String(value)}, but a metric is a finite number or a text.`);
    }
  }
  current.report(JSON.stringify(metrics));
}

export function whenLeaving(act: () => void): void {
  onLeave.push(act);
}

function leave(failed: boolean, reason: string): void {
  const leaving = engine;
  if (!leaving) return;
  engine = undefined;
  leaving.leave(failed, reason);
  for (const act of onLeave) act();
}

function hookExit(): void {
  if (isHooked) return;
  isHooked = true;
  // Only looks on: the process ends as it would without this package.
  process.on('uncaughtExceptionMonitor', (error) => {
    if (error instanceof HvdError) uncaught = recordOf(error);
  });
  process.on('exit', (code) => {
    if (code !== 0) recordFailure(engine?.config);
    leave(code !== 0, code === 0 ? 'its program ended' : `it ended with exit code ${code}`);
  });
}

/** For the launcher: a rank that failed because of a peer is not the first cause. */
function recordFailure(config: Config | undefined): void {
  const record = uncaught ?? (engine?.firstFailure && recordOf(engine.firstFailure));
  if (record && config) writeErrorFile(config, record);
}
