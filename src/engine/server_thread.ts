/**
 * The communication thread of a parameter server's process: meets the ranks, serves them, ends when the last has left. It never loads TensorFlow.
 *
 * It knows of each worker by a control link: one that says goodbye has left, one whose link closes or falls silent is lost. Neither ends the server; what that means for the others is decided for each
 * optimizer (parameter_server/holding.ts).
 */
import { type MessagePort, workerData } from 'node:worker_threads';
import { HvdError, PeerError, recordOf } from '../errors';
import { configureLog, log } from '../log';
import { ParameterServer } from '../parameter_server/server';
import { TcpTransport } from '../transport/tcp';
import { Boundary } from './boundary';
import { ControlPlane } from './control_plane';
import { meet } from './meeting';
import type { FromThread } from './messages';
import { ownName, stallLimitsOf } from './server_links';
import type { ServerThreadData } from './server_process';
import { enter } from './session';

/** Answers that have not left yet. */
const CLOSE_MS = 5_000;
const FIRST_GENERATION = 1;
/** A lost stream means a lost worker, but its control link knows better why, and is about to say so. */
const GRACE_MS = 300;

const { config, words, port } = workerData as ServerThreadData & { port: MessagePort };
const boundary = new Boundary(words);
const { workers } = config;
const member = workers + (config.server ?? 0);
const everybody = Array.from({ length: workers }, (_, worker) => worker);

function stop(error?: Error): void {
  if (error) port.postMessage({ kind: 'failed', error: recordOf(error) } satisfies FromThread);
  boundary.setThread(error ? 'failed' : 'stopped');
}

async function serve(): Promise<void> {
  configureLog({ level: config.logLevel, rank: member, hideTime: config.logHideTime });
  const meeting = await meet({ ...config, rank: member, size: workers }, undefined, FIRST_GENERATION);
  const { listener, peers, hostOf } = await enter({ ...config, hostname: config.host }, meeting, member, workers);
  const nameOf = (worker: number): string => peers[worker]?.name ?? ownName(worker);
  const stream = (channel: 'push' | 'pull'): TcpTransport =>
    new TcpTransport({
      identity: meeting.identity,
      size: peers.length,
      peers,
      listener,
      connectTimeoutMs: config.startTimeoutSeconds * 1000,
      channel,
      survivesLoss: true,
      onLinkLost: (worker, error) => void setTimeout(() => depart(worker, error), GRACE_MS),
    });
  const [pushes, pulls] = [stream('push'), stream('pull')];
  const server = new ParameterServer({
    pushes,
    pulls,
    nameOf,
    ...stallLimitsOf(config),
    lose: depart,
  });
  const left = new Set<number>();
  const control = new ControlPlane(member, hostOf, config.peerTimeoutSeconds * 1000, {
    onMessage: () => {},
    onDeparted: (worker) => depart(worker),
    onFailure: (error) => {
      const worker = error instanceof PeerError ? error.peer : undefined;
      if (worker !== undefined) depart(worker, error as PeerError);
    },
  });
  function depart(worker: number, error?: HvdError): void {
    if (left.has(worker)) return;
    left.add(worker);
    if (error) {
      log('INFO', error.message);
      control.dismiss(worker, new PeerError(`The parameter server ${ownName(member - workers)} has given this rank up: ${error.message}`));
      for (const one of [pushes, pulls]) one.drop(worker, error);
    }
    server.depart(worker, error);
    if (left.size === workers) void close();
  }

  const workerPeers = peers.slice(0, workers);
  await control.awaitLinks(
    listener,
    workerPeers,
    `parameter server ${ownName(member - workers)}`,
    Math.max(1, meeting.deadlineMs - performance.now()),
  );
  meeting.conclude();
  for (const worker of everybody) server.attach(worker);
  boundary.setThread('serving');
  const beats = setInterval(() => {
    boundary.addBeat();
    control.tick();
    server.inspectStalls(performance.now());
  }, control.beatMs);

  async function close(): Promise<void> {
    await Promise.all([pushes.close(CLOSE_MS), pulls.close(CLOSE_MS), control.close(CLOSE_MS)]);
    clearInterval(beats);
    listener.close();
    await meeting.close();
    stop();
  }
}

process.on('uncaughtException', stop);
process.on('unhandledRejection', (reason) => stop(reason instanceof Error ? reason : new HvdError(String(reason))));
serve().catch(stop);
