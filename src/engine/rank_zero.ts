/**
 * The meeting of a job that tsrun did not start: rank 0 serves the rendezvous. Communication thread.
 *
 * For its generation only: a rank that is ahead of rank 0 meets the server of the generation before, which does not know its job id, and tries again. The key comes from a file, or,
 * where all ranks are on one host, through a folder (one_host.ts). Once all have joined nobody needs the rendezvous any more: that it ends with rank 0 is no error.
 */
import { randomBytes } from 'node:crypto';
import type { Config } from '../config';
import { type HvdError, RendezvousError, WireError } from '../errors';
import { chooseAddress, isLoopback, localInterfaces, serviceAddress } from '../rendezvous/interfaces';
import { HOSTS_KEY } from '../rendezvous/join';
import { MAKE_KEY, readKeyFile } from '../rendezvous/key_file';
import { MOST_VALUE_BYTES } from '../rendezvous/limits';
import { awaitNote, folderOf, leaveNote, removeNote } from '../rendezvous/one_host';
import { RESOLVE_MS, resolveHosts } from '../rendezvous/resolve';
import { StoreServer } from '../rendezvous/server';
import { connectStore, type Store } from '../rendezvous/store';
import type { JobIdentity } from '../schedulers/identity';
import { addressText } from '../transport/socket';
import { type Identity, KEY_BYTES } from '../wire/handshake';
import type { Meeting } from './meeting';

/** One attempt to reach rank 0. */
const ATTEMPT_MS = 5_000;
const PAUSE_MS = 200;
/** The port may still be held by this rank's generation before. */
const PORT_MS = 3_000;
/** So long what was said last may take to leave. */
const TELL_MS = 500;

/** Rank 0, as this rank can reach it. */
interface Place {
  readonly key: Uint8Array;
  readonly hosts: readonly string[];
  readonly port: number;
  readonly deadlineMs: number;
  /** On rank 0. */
  readonly server?: StoreServer;
  /** Removes what was left for the others. */
  forget(): void;
}

/** @throws RendezvousError no key, nobody there in time, or somebody without the key */
export async function meetAtRankZero(config: Config, job: JobIdentity, generation: number): Promise<Meeting> {
  const jobId = `${job.jobId}#${generation}`;
  const place = job.isOneHost && config.keyFile === '' ? await placeOnOneHost(config, job, jobId) : await placeByName(config, job, jobId);
  const { server, forget, deadlineMs } = place;
  const end = async (reason?: string): Promise<void> => {
    forget();
    if (reason !== undefined) server?.refuseWaiting(reason);
    await server?.close(TELL_MS);
  };
  try {
    const names = Buffer.from(JSON.stringify(job.hosts ?? []));
    // Only errors name them.
    if (names.length <= MOST_VALUE_BYTES) server?.put(HOSTS_KEY, names);
    const identity: Identity = { jobId, tls: config.tls, key: place.key, generation, rank: job.rank };
    const store = await reachRankZero(place, identity, job);
    return {
      identity,
      store,
      bindAddress: bindAddressOf(config, job, store),
      deadlineMs,
      conclude: forget,
      async close(reason) {
        store.close();
        await end(reason);
      },
    };
  } catch (error) {
    await end((error as Error).message);
    throw error;
  }
}

/** What has carried a connection to rank 0 can be reached; the user knows more where there are several networks. */
function bindAddressOf({ networkInterface }: Config, { isOneHost }: JobIdentity, store: Store): string {
  const chosen = networkInterface && !isOneHost ? chooseAddress(localInterfaces(), networkInterface) : undefined;
  return chosen ?? store.localAddress;
}

/** All ranks are on this host: on loopback, and through a folder. */
async function placeOnOneHost(config: Config, job: JobIdentity, jobId: string): Promise<Place> {
  const timeoutMs = config.startTimeoutSeconds * 1000;
  const deadlineMs = performance.now() + timeoutMs;
  const folder = folderOf(jobId);
  const hosts = ['127.0.0.1'];
  if (job.rank !== 0) {
    const { key, port } = await awaitNote(folder, timeoutMs);
    return { key, hosts, port, deadlineMs, forget() {} };
  }
  const key = randomBytes(KEY_BYTES);
  const server = await StoreServer.start({ jobId, key, tls: config.tls, host: hosts[0]!, portRange: config.portRange, size: job.size });
  const place = { key, hosts, port: server.port, deadlineMs, server, forget: () => removeNote(folder) };
  try {
    leaveNote(folder, { key, port: server.port });
    return place;
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** By the name or address that the system, or the user, gave rank 0. */
async function placeByName(config: Config, job: JobIdentity, jobId: string): Promise<Place> {
  const key = keyOf(config, job);
  const { hosts, port } = job.rendezvous;
  const isZero = job.rank === 0;
  const startMs = config.startTimeoutSeconds * 1000;
  const resolving = resolveHosts({ hosts, whom: 'rank 0', remedy: job.remedy, timeoutMs: isZero ? 0 : job.isInPod ? RESOLVE_MS : startMs });
  // Rank 0 needs no name to be there; that the others find none is theirs to say.
  const resolved = await (isZero ? resolving.catch(() => []) : resolving);
  // Others may still be asking for the name when this rank has found it.
  const deadlineMs = performance.now() + startMs + (job.isInPod ? RESOLVE_MS : 0);
  const common = { key, port, deadlineMs, forget() {} };
  const outer = serviceAddress(resolved, localInterfaces(), config.networkInterface);
  if (!isZero) {
    const reachable = job.isOneHost ? resolved : resolved.filter((address) => !isLoopback(address));
    return { ...common, hosts: reachable.length > 0 || outer === undefined ? reachable : [outer] };
  }
  const address = job.isOneHost ? resolved[0] : outer;
  if (address === undefined)
    throw new RendezvousError(
      `Rank 0 is to serve the rendezvous, but this host has no address that another host could reach. ${job.remedy}`,
    );
  return { ...common, hosts: [address], server: await serve({ jobId, key, tls: config.tls, host: address, port, size: job.size }) };
}

/** @throws RendezvousError there is none, or it is refused */
function keyOf(config: Config, job: JobIdentity): Uint8Array {
  if (config.keyFile !== '') return readKeyFile(config.keyFile, job);
  const why =
    `Rank ${job.rank} of ${job.size} (started by ${job.scheduler}) has no key: the ranks are on several hosts, and prove to each other that they belong together by a file that only you can read. ` +
    `Make it once, put it on every host (a shared home will do), and name it:`;
  const how = job.isInPod
    ? 'kubectl create secret generic khorovod-key --from-literal=key=$(openssl rand -hex 32), mounted with defaultMode: 0400, TSRUN_KEY_FILE=/etc/khorovod/key in env'
    : `${MAKE_KEY}; export TSRUN_KEY_FILE=~/.khorovod-key`;
  // Torch's variables by hand do not say who shares a host.
  const besides = job.localSize === undefined ? ' If they are all on this host, MASTER_ADDR=localhost says so, and no key is needed.' : '';
  throw new RendezvousError(`${why} ${how}.${besides}`);
}

async function serve(options: {
  jobId: string;
  key: Uint8Array;
  tls: boolean;
  host: string;
  port: number;
  size: number;
}): Promise<StoreServer> {
  const untilMs = performance.now() + PORT_MS;
  for (;;) {
    try {
      return await StoreServer.start(options);
    } catch (error) {
      const isTaken = ((error as HvdError).cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE';
      if (!isTaken || performance.now() > untilMs) {
        const what = isTaken
          ? 'another program has that port. Set MASTER_PORT to one that is free, on every rank'
          : (error as Error).message;
        throw new RendezvousError(`Rank 0 cannot serve the rendezvous at ${addressText(options.host, options.port)}: ${what}.`, {
          cause: error,
        });
      }
      await pause(PAUSE_MS);
    }
  }
}

async function reachRankZero({ hosts, port, deadlineMs }: Place, identity: Identity, job: JobIdentity): Promise<Store> {
  const startedMs = performance.now();
  const isOneOfSeveral = hosts.length > 1;
  for (;;) {
    let last = new Error('its name means this host only');
    for (const host of hosts) {
      const timeoutMs = Math.max(1, Math.min(ATTEMPT_MS, deadlineMs - performance.now()));
      try {
        return await connectStore({ identity, host, port, timeoutMs, server: 'rank 0', awaitListener: !isOneOfSeveral });
      } catch (error) {
        last = error as Error;
        // In a later generation it may be the rank 0 of the one before.
        if (last.cause instanceof WireError && identity.generation === 1)
          throw new RendezvousError(
            `${last.message} The key file and TSRUN_TLS must be the same on every host, and no other job may use this port (MASTER_PORT).`,
            {
              cause: last,
            },
          );
      }
    }
    if (performance.now() + PAUSE_MS > deadlineMs || hosts.length === 0) {
      const where = hosts.map((host) => addressText(host, port)).join(' or ');
      throw new RendezvousError(
        `Rank ${identity.rank} has tried for ${((performance.now() - startedMs) / 1000).toFixed(1)} s to meet rank 0 at ${where} (${job.rendezvous.hosts.join(', ')}): ${last.message} ` +
          `See rank 0's output for why it did not get as far as init(). ${job.remedy}`,
        { cause: last },
      );
    }
    await pause(PAUSE_MS);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
