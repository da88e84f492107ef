/**
 * The communication thread: everything that must stay alive while TensorFlow.js blocks the main thread. This file joins the job, passes messages on, beats, and leaves; the
 * work is the conductor's. It never loads TensorFlow.
 *
 * Invariant: whatever goes wrong here ends in the shared words (poison, thread state), so that a blocked main thread wakes.
 */
import { type MessagePort, workerData } from 'node:worker_threads';
import { HvdError, PeerError, RendezvousError, recordOf } from '../errors';
import { configureLog, log } from '../log';
import { makeKernels } from '../memory/kernels';
import type { khorovod } from '../wire/generated/messages';
import { Boundary } from './boundary';
import { Conductor } from './conductor';
import type { FromThread, ThreadData, ToThread } from './messages';
import { openLocalMemory } from './neighbours';
import { Operations } from './operations';
import { Recordings } from './recordings';
import { ServerTraining } from './server_training';
import { openSession, type Session } from './session';

/** Leaving: what peers still need is sent for at most so long. */
const LEAVE_MS = 5_000;
/** Who has to itself what all have summed stays for those that have not come to it yet, while they live. */
const NEEDED_MS = 60_000;
/** After a failure only the news of it is still sent. */
const LEAVE_FAILED_MS = 500;

const { config, job, generation, memory, regions, words, port } = workerData as ThreadData & { port: MessagePort };
const boundary = new Boundary(words);
const tell = (message: FromThread, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const conductor = new Conductor(config, boundary, tell, (failure) => endTraining(failure));
let session: Session | undefined;
let training: ServerTraining | undefined;
let isReady = false;
let isLeaving = false;
let beats: NodeJS.Timeout | undefined;
const recordings = new Recordings(
  (recorder) => {
    conductor.record(recorder);
    training?.record(recorder);
  },
  (number) => boundary.endTimeline(number),
  (message) => log('WARNING', message),
);

/** With --keep-going a lost rank ends the collectives, but not what goes by servers of their own. */
function endTraining(failure: Error): void {
  const isLostRank = failure instanceof PeerError && failure.peer !== undefined && failure.peer < config.size;
  if (!(config.keepGoing && isLostRank && session?.servers.isColocated === false))
    training?.abort(failure instanceof HvdError ? failure : new HvdError(recordOf(failure).message));
}

function fail(error: Error): void {
  conductor.fail(
    isReady || error instanceof RendezvousError ? error : new RendezvousError(`The job did not form: ${error.message}`, { cause: error }),
  );
  // A second failure ends nothing more but this.
  endTraining(error);
  if (boundary.threadState === 'starting') boundary.setThread('failed');
}

function guarded<A extends unknown[]>(act: (...args: A) => void): (...args: A) => void {
  return (...args) => {
    try {
      act(...args);
    } catch (error) {
      fail(error as Error);
    }
  };
}

const hear = guarded((from: number, message: khorovod.IControl) => {
  if (!message.ready) return conductor.hear(from, message);
  isReady = true;
  start();
});

/** Once this rank is complete and the coordinator has said that all are. */
function start(): void {
  if (!isReady || !session || conductor.failure) return;
  tell({ kind: 'running', isHomogeneous: session.isHomogeneous, place: session.place });
  boundary.setThread('running');
}

async function join(): Promise<void> {
  configureLog({ level: config.logLevel, rank: config.rank, hideTime: config.logHideTime });
  const events = {
    onMessage: hear,
    onFailure: fail,
    onDeparted: guarded((rank: number, reason: string) => {
      conductor.hearDeparture(rank, reason);
      training?.hearDeparture(rank);
    }),
  };
  const kernels = makeKernels(memory);
  const local = openLocalMemory(config, job, memory, kernels, regions.windows);
  const opened = await openSession(config, job, generation, events, (_peer, error) => fail(error), local);
  const operations = new Operations(memory, kernels, regions, opened.transport, config.size, opened.hostOf, opened.policy);
  operations.onCopied = (bytes) => boundary.addCopied(bytes);
  conductor.begin(opened, operations);
  training = new ServerTraining(config, opened, memory, kernels, boundary, tell, fail);
  session = opened;
  beats = setInterval(guarded(beat), opened.control.beatMs);
  if (opened.control.isCoordinator) {
    opened.control.sendAll({ ready: {} });
    isReady = true;
  }
  start();
}

function beat(): void {
  boundary.addBeat();
  training?.beat();
  if (conductor.failure || (isLeaving && boundary.threadState !== 'serving')) return;
  session!.control.tick();
  conductor.inspectStalls(performance.now());
}

async function leave(failed: boolean, reason: string): Promise<void> {
  isLeaving = true;
  let deadlineMs = performance.now() + LEAVE_MS;
  if (session) {
    session.servers.part(failed, reason);
    if (failed) session.control.sendAll({ goodbye: { failed: true, reason } });
    else if (!conductor.failure) await conductor.part(reason, LEAVE_MS);
    if (!failed && (training?.isServing || conductor.isNeeded)) {
      boundary.setThread('serving');
      await Promise.all([training?.served(), conductor.release(NEEDED_MS)]);
      deadlineMs = performance.now() + LEAVE_MS;
    }
    const closeMs = failed || conductor.failure ? LEAVE_FAILED_MS : Math.max(1, deadlineMs - performance.now());
    await Promise.all([session.close(closeMs), recordings.stop()]);
  }
  clearInterval(beats);
  boundary.setThread('stopped');
  port.close();
}

port.on(
  'message',
  guarded((message: ToThread) => {
    switch (message.kind) {
      case 'submit':
        return conductor.submit(message.submission);
      case 'serve':
        return training?.submit(message.submission);
      case 'flush':
        return conductor.flush();
      case 'await':
        return conductor.await(message.key);
      case 'report':
        return session?.report(message.json);
      case 'startTimeline':
        return recordings.start(message);
      case 'stopTimeline':
        return void recordings.stop().catch(fail);
      case 'leave':
        return void leave(message.failed, message.reason).catch(fail);
    }
  }),
);
process.on('uncaughtException', fail);
process.on('unhandledRejection', (reason) => fail(reason instanceof Error ? reason : new HvdError(recordOf(reason).message)));
join().catch(fail);
