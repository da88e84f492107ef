/**
 * How the ranks of one generation come together: listener, rendezvous, control links, transport. A failure on the way is a RendezvousError (or WireError) of `init()`.
 *
 * Communication thread. Everything made here belongs to one generation and is closed with it; a new generation makes all of it anew.
 */
import type { Config } from '../config';
import { type HvdError, RendezvousError } from '../errors';
import { join } from '../rendezvous/join';
import type { JobIdentity } from '../schedulers/identity';
import { ControlLink } from '../transport/control';
import { dial } from '../transport/dial';
import { inProcessTransports } from '../transport/in_process';
import { Listener } from '../transport/listener';
import { TcpTransport } from '../transport/tcp';
import type { Transport } from '../transport/transport';
import { version } from '../version';
import type { khorovod } from '../wire/generated/messages';
import type { Identity } from '../wire/handshake';
import { type ControlEvents, ControlPlane } from './control_plane';
import { type Meeting, meet } from './meeting';
import { type Place, placesOf } from './place';

export interface Session {
  readonly transport: Transport;
  readonly control: ControlPlane;
  readonly isHomogeneous: boolean;
  /** Where this rank stands; the system that started the job may not have said. */
  readonly place: Place;
  hostOf(rank: number): string;
  report(json: string): void;
  /** Sends what is queued, at most so long, then closes every socket. */
  close(timeoutMs: number): Promise<void>;
}

/** @param job who this is in a job that tsrun did not start */
export async function openSession(
  config: Config,
  job: JobIdentity | undefined,
  generation: number,
  events: ControlEvents,
  onPeerLost: (peer: number, error: HvdError) => void,
): Promise<Session> {
  if (config.size === 1 && config.rendezvous === '') return aloneSession(config, events);
  const meeting = await meet(config, job, generation);
  try {
    return await joinedSession(config, job, meeting, events, onPeerLost);
  } catch (error) {
    await meeting.close((error as Error).message);
    throw error;
  }
}

function aloneSession(config: Config, events: ControlEvents): Session {
  const hostOf = () => config.hostname;
  return {
    transport: inProcessTransports(1)[0]!,
    control: new ControlPlane(0, hostOf, config.peerTimeoutSeconds * 1000, events),
    isHomogeneous: true,
    place: { localRank: 0, localSize: 1, crossRank: 0, crossSize: 1 },
    hostOf,
    report: () => {},
    close: async () => {},
  };
}

async function joinedSession(
  config: Config,
  job: JobIdentity | undefined,
  meeting: Meeting,
  events: ControlEvents,
  onPeerLost: (peer: number, error: HvdError) => void,
): Promise<Session> {
  const { rank, size } = config;
  const { store } = meeting;
  const identity = config.isClearBetweenRanks ? { ...meeting.identity, tls: false } : meeting.identity;
  const left = () => Math.max(1, meeting.deadlineMs - performance.now());
  const listener = await Listener.open({ identity, size, host: meeting.bindAddress, portRange: config.portRange });
  try {
    const records = await join({
      store,
      generation: identity.generation,
      size,
      timeoutMs: left(),
      record: {
        rank,
        host: config.hostname,
        address: listener.host,
        port: listener.port,
        localRank: config.localRank,
        localSize: config.localSize,
        crossRank: config.crossRank,
        crossSize: config.crossSize,
        version,
        pid: process.pid,
      },
    });
    const strangers = records.filter((record) => record.version !== version);
    if (strangers.length > 0) {
      throw new RendezvousError(
        `Rank ${rank} runs khorovod ${version}, rank ${strangers[0]!.rank} on host ${strangers[0]!.host} runs ${strangers[0]!.version}. Install the same version on every host.`,
      );
    }
    const hostOf = (peer: number): string => records[peer]?.host ?? `of rank ${peer}`;
    const peers = records.map((record) => ({ rank: record.rank, host: record.host, address: record.address, port: record.port }));
    // Before anyone is told to go on: peers may dial this rank's data links as soon as they are.
    const transport = new TcpTransport({
      identity,
      size,
      peers,
      listener,
      connectTimeoutMs: config.startTimeoutSeconds * 1000,
      onLinkLost: onPeerLost,
    });
    const control = new ControlPlane(rank, hostOf, config.peerTimeoutSeconds * 1000, events);
    await linkControl(control, identity, peers, listener, left());
    meeting.conclude();
    return {
      transport,
      control,
      ...standing(config, job, records),
      hostOf,
      report: (json) => store.report(rank, json),
      async close(timeoutMs) {
        await Promise.all([control.close(timeoutMs), transport.close(timeoutMs)]);
        listener.close();
        await meeting.close();
      },
    };
  } catch (error) {
    listener.close();
    throw error;
  }
}

/** Where this rank stands, and whether every host runs equally many: as tsrun or another system says, else from who has met. */
function standing(
  config: Config,
  job: JobIdentity | undefined,
  records: readonly khorovod.RankRecord[],
): Pick<Session, 'place' | 'isHomogeneous'> {
  const { localRank, localSize, crossRank, crossSize } = job ?? config;
  const found = placesOf(
    records.map((record) => ({ host: record.host, localRank: localRank === undefined ? undefined : record.localRank })),
  );
  const own = found[config.rank]!;
  const sizes = localSize === undefined ? found : records;
  return {
    place: {
      localRank: localRank ?? own.localRank,
      localSize: localSize ?? own.localSize,
      crossRank: crossRank ?? own.crossRank,
      crossSize: crossSize ?? own.crossSize,
    },
    isHomogeneous: sizes.every((one) => one.localSize === sizes[0]!.localSize),
  };
}

/** So long the ranks that are there are told why the job does not form. */
const TELL_MS = 500;

/** A star: every rank dials the coordinator, which tells all to go on once all are there. */
async function linkControl(
  control: ControlPlane,
  identity: Identity,
  peers: ReadonlyArray<{ rank: number; host: string; address: string; port: number }>,
  listener: Listener,
  timeoutMs: number,
): Promise<void> {
  const { rank } = identity;
  if (rank !== 0) {
    const { host, address, port } = peers[0]!;
    control.add(new ControlLink(0, await dial({ identity, to: 0, hostName: host, host: address, port, channel: 'control', timeoutMs })));
    return;
  }
  await new Promise<void>((resolve, reject) => {
    const finish = (): void => {
      if (control.linkedRanks.length < peers.length - 1) return;
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(() => {
      const missing = peers.filter((peer) => peer.rank !== 0 && !control.linkedRanks.includes(peer.rank));
      const error = new RendezvousError(
        `After ${(timeoutMs / 1000).toFixed(0)} s rank ${missing.map((peer) => `${peer.rank} on host ${peer.host}`).join(', rank ')} had met at the rendezvous, but not connected to rank 0 at ${listener.host}:${listener.port}. ` +
          'Look for a firewall between the hosts (--port-range names the ports), or raise --start-timeout.',
      );
      control.announce(error);
      void control.close(TELL_MS).then(() => reject(error));
    }, timeoutMs);
    listener.onLink('control', (from, socket) => {
      control.add(new ControlLink(from, socket));
      finish();
    });
    finish();
  });
}
