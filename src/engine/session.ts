/**
 * How the ranks of one generation come together: listener, rendezvous, control links, transport. A failure on the way is a RendezvousError (or WireError) of `init()`.
 *
 * Communication thread. Everything made here belongs to one generation and is closed with it; a new generation makes all of it anew.
 */
import { readFileSync } from 'node:fs';
import type { Config } from '../config';
import { type HvdError, RendezvousError } from '../errors';
import { join } from '../rendezvous/join';
import { connectStore, type Store } from '../rendezvous/store';
import { ControlLink } from '../transport/control';
import { dial } from '../transport/dial';
import { inProcessTransports } from '../transport/in_process';
import { Listener } from '../transport/listener';
import { TcpTransport } from '../transport/tcp';
import type { Transport } from '../transport/transport';
import { version } from '../version';
import type { Identity } from '../wire/handshake';
import { type ControlEvents, ControlPlane } from './control_plane';

export interface Session {
  readonly transport: Transport;
  readonly control: ControlPlane;
  readonly isHomogeneous: boolean;
  hostOf(rank: number): string;
  report(json: string): void;
  /** Sends what is queued, at most so long, then closes every socket. */
  close(timeoutMs: number): Promise<void>;
}

export async function openSession(
  config: Config,
  generation: number,
  events: ControlEvents,
  onPeerLost: (peer: number, error: HvdError) => void,
): Promise<Session> {
  return config.size === 1 && config.rendezvous === ''
    ? aloneSession(config, events)
    : joinedSession(config, generation, events, onPeerLost);
}

function aloneSession(config: Config, events: ControlEvents): Session {
  const hostOf = () => config.hostname;
  return {
    transport: inProcessTransports(1)[0]!,
    control: new ControlPlane(0, hostOf, config.peerTimeoutSeconds * 1000, events),
    isHomogeneous: true,
    hostOf,
    report: () => {},
    close: async () => {},
  };
}

async function joinedSession(
  config: Config,
  generation: number,
  events: ControlEvents,
  onPeerLost: (peer: number, error: HvdError) => void,
): Promise<Session> {
  const { rank, size } = config;
  const deadlineMs = performance.now() + config.startTimeoutSeconds * 1000;
  const left = () => Math.max(1, deadlineMs - performance.now());
  const identity: Identity = { jobId: config.jobId, key: readKey(config), generation, rank };
  const store = await reachStore(config, identity, left());
  const listener = await Listener.open({ identity, size, host: config.bindAddress, portRange: config.portRange });
  try {
    const records = await join({
      store,
      generation,
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
    return {
      transport,
      control,
      isHomogeneous: records.every((record) => record.localSize === records[0]!.localSize),
      hostOf,
      report: (json) => store.report(rank, json),
      async close(timeoutMs) {
        await Promise.all([control.close(timeoutMs), transport.close(timeoutMs)]);
        listener.close();
        store.close();
      },
    };
  } catch (error) {
    listener.close();
    store.close();
    throw error;
  }
}

function readKey(config: Config): Uint8Array {
  try {
    const key = readFileSync(config.keyFile);
    if (key.length !== 32) throw new Error(`it holds ${key.length} bytes, not 32`);
    return key;
  } catch (error) {
    throw new RendezvousError(
      `Rank ${config.rank} of ${config.size} cannot read the job key from '${config.keyFile}' (TSRUN_KEY_FILE): ${(error as Error).message}. Start the job with tsrun, which makes it.`,
    );
  }
}

async function reachStore(config: Config, identity: Identity, timeoutMs: number): Promise<Store> {
  const at = config.rendezvous.lastIndexOf(':');
  const [host, port] = [config.rendezvous.slice(0, at).replace(/^\[|\]$/g, ''), Number(config.rendezvous.slice(at + 1))];
  if (at < 1 || !Number.isInteger(port)) {
    throw new RendezvousError(
      `HOROVOD_SIZE is ${config.size}, but TSRUN_RENDEZVOUS ('${config.rendezvous}') names no HOST:PORT where the ranks meet. Start the job with tsrun.`,
    );
  }
  try {
    return await connectStore({ identity, host, port, timeoutMs });
  } catch (error) {
    throw new RendezvousError(
      `Rank ${config.rank} could not reach the rendezvous at ${config.rendezvous}: ${(error as Error).message} Is the launcher still running?`,
      { cause: error },
    );
  }
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
