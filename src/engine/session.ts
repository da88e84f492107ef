/**
 * How the ranks of one generation come together: listener, rendezvous, control links, transport. A failure on the way is a RendezvousError (or WireError) of `init()`.
 *
 * Communication thread. Everything made here belongs to one generation and is closed with it; a new generation makes all of it anew.
 */
import { defaultPolicy, type Policy } from '../collective/select';
import type { Config } from '../config';
import { type HvdError, RendezvousError } from '../errors';
import { log } from '../log';
import { join } from '../rendezvous/join';
import type { JobIdentity } from '../schedulers/identity';
import { ControlLink } from '../transport/control';
import { inProcessTransports } from '../transport/in_process';
import { Listener, MOST_STRANGERS } from '../transport/listener';
import { dialPeer, type Peer } from '../transport/peer';
import type { LocalMemory } from '../transport/shared_memory/local_memory';
import { TcpTransport } from '../transport/tcp';
import type { Transport } from '../transport/transport';
import { version } from '../version';
import type { khorovod } from '../wire/generated/messages';
import type { Identity } from '../wire/handshake';
import { checkAlike } from './alike';
import { type ControlEvents, ControlPlane } from './control_plane';
import { type Meeting, meet } from './meeting';
import { neighbourhoodOf, neighboursOf, noticeOfTcp, openUnixSocket, reachedByUnixSocket, tell } from './neighbours';
import { type Place, placesOf } from './place';
import { agreedPolicy, toldAlgorithms } from './policy';
import { aloneServerLinks, ownName, ServerLinks, type WorkerLinks } from './server_links';

export interface Session {
  readonly transport: Transport;
  readonly control: ControlPlane;
  readonly servers: WorkerLinks;
  readonly isHomogeneous: boolean;
  /** Where this rank stands; the system that started the job may not have said. */
  readonly place: Place;
  hostOf(rank: number): string;
  readonly policy: Policy;
  report(json: string): void;
  /** Something that is waited for will come soon, and neighbours are looked at for a moment without a wake-up; or it has come. */
  expectNews(isExpecting: boolean): void;
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
  local: LocalMemory | undefined,
): Promise<Session> {
  if (config.size === 1 && config.rendezvous === '') return aloneSession(config, events);
  const meeting = await meet(config, job, generation);
  try {
    return await joinedSession(config, job, meeting, events, onPeerLost, local);
  } catch (error) {
    local?.close();
    await meeting.close((error as Error).message);
    throw error;
  }
}

function aloneSession(config: Config, events: ControlEvents): Session {
  const hostOf = () => config.hostname;
  const [transport] = inProcessTransports(1);
  return {
    transport: transport!,
    control: new ControlPlane(0, hostOf, config.peerTimeoutSeconds * 1000, events),
    servers: aloneServerLinks(),
    isHomogeneous: true,
    place: { localRank: 0, localSize: 1, crossRank: 0, crossSize: 1 },
    hostOf,
    policy: defaultPolicy,
    report: () => {},
    expectNews: () => {},
    close: async () => {},
  };
}

/** All who meet: the ranks, then the parameter servers that are processes of their own. */
export interface Entered {
  readonly listener: Listener;
  readonly records: readonly khorovod.RankRecord[];
  readonly peers: readonly Peer[];
  hostOf(member: number): string;
}

/** @param member this process's number @param ranks of the job @param neighbourhood of a rank that shares memory */
export async function enter(config: Config, meeting: Meeting, member: number, ranks: number, neighbourhood = ''): Promise<Entered> {
  const { identity, store } = meeting;
  const size = ranks + config.servers;
  const nameOf = (one: number): string => (one < ranks ? `rank ${one}` : `parameter server ${ownName(one - ranks)}`);
  const { streams } = config;
  const maxStrangers = Math.max(MOST_STRANGERS, size * streams);
  const listener = await Listener.open({ identity, size, host: meeting.bindAddress, portRange: config.portRange, maxStrangers });
  try {
    const own = await openUnixSocket(config, identity.tls, listener);
    const records = await join({
      store,
      generation: identity.generation,
      size,
      timeoutMs: Math.max(1, meeting.deadlineMs - performance.now()),
      record: {
        rank: member,
        host: config.hostname,
        address: listener.host,
        port: listener.port,
        localRank: config.localRank,
        localSize: config.localSize,
        crossRank: config.crossRank,
        crossSize: config.crossSize,
        algorithms: toldAlgorithms(config).join(),
        costModel: config.toldCostModel,
        fusionThresholdBytes: config.fusionThresholdBytes,
        strategy: config.strategy,
        version,
        pid: process.pid,
        neighbourhood,
        unixName: own.place?.name,
        unixScope: own.place?.scope,
        streams,
      },
      nameOf,
    });
    const stranger = records.find((record) => record.version !== version);
    if (stranger)
      throw new RendezvousError(
        `${nameOf(member)} runs khorovod ${version}, ${nameOf(stranger.rank)} on host ${stranger.host} runs ${stranger.version}. Install the same version on every host.`,
      );
    const hostOf = (peer: number): string => records[peer]?.host ?? `of ${nameOf(peer)}`;
    const near = reachedByUnixSocket(own, member, records);
    const notice = noticeOfTcp(config, own, member, records);
    if (notice !== undefined && (config.localRank ?? 0) === 0) log('WARNING', notice);
    const peers = records.map(({ rank, host, address, port, streams }) => ({
      rank,
      host,
      address,
      port,
      streams,
      name: `${nameOf(rank)} on host ${host}`,
      near: near.get(rank),
    }));
    return { listener, records, peers, hostOf };
  } catch (error) {
    listener.close();
    throw error;
  }
}

async function joinedSession(
  config: Config,
  job: JobIdentity | undefined,
  meeting: Meeting,
  events: ControlEvents,
  onPeerLost: (peer: number, error: HvdError) => void,
  local: LocalMemory | undefined,
): Promise<Session> {
  const { rank, size } = config;
  const { store } = meeting;
  const identity = config.isClearBetweenRanks ? { ...meeting.identity, tls: false } : meeting.identity;
  const { listener, records, peers, hostOf } = await enter(config, { ...meeting, identity }, rank, size, neighbourhoodOf(local));
  const left = () => Math.max(1, meeting.deadlineMs - performance.now());
  try {
    checkAlike(records.slice(0, size));
    const policy = agreedPolicy(records.slice(0, size));
    const ranks = peers.slice(0, size);
    // Before anyone is told to go on: peers may dial this rank's data links as soon as they are.
    const transport = new TcpTransport({
      identity,
      size,
      peers: ranks,
      listener,
      connectTimeoutMs: config.startTimeoutSeconds * 1000,
      onLinkLost: onPeerLost,
      neighbours: local && {
        ranks: neighboursOf(rank, records.slice(0, size)),
        memory: local,
        onRefused: (peer, why) => tell(config, `rank ${rank} and ${peer}: ${why}`),
      },
    });
    const servers = new ServerLinks(config, identity, peers, listener, hostOf, { onFailure: events.onFailure, onPeerLost });
    const control = new ControlPlane(rank, hostOf, config.peerTimeoutSeconds * 1000, events);
    await Promise.all([linkControl(control, identity, ranks, listener, left()), servers.link(left())]);
    control.useLanes((peer, hear) => transport.lane(peer, hear));
    meeting.conclude();
    return {
      transport,
      control,
      servers,
      ...standing(config, job, records.slice(0, size)),
      hostOf,
      policy,
      report: (json) => store.report(rank, json),
      expectNews: (isExpecting) => local?.poller.expect(isExpecting),
      async close(timeoutMs) {
        await Promise.all([control.close(timeoutMs), transport.close(timeoutMs), servers.close(timeoutMs)]);
        local?.close();
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

/** A star: every rank dials the coordinator, which tells all to go on once all are there. */
async function linkControl(
  control: ControlPlane,
  identity: Identity,
  peers: readonly Peer[],
  listener: Listener,
  timeoutMs: number,
): Promise<void> {
  const { rank } = identity;
  if (rank !== 0) {
    control.add(new ControlLink(0, await dialPeer(peers[0]!, { identity, channel: 'control', timeoutMs })));
    return;
  }
  await control.awaitLinks(
    listener,
    peers.filter((peer) => peer.rank !== 0),
    'rank 0',
    timeoutMs,
  );
}
