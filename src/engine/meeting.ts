/**
 * Where the ranks of a generation meet, and what they prove themselves with. Communication thread.
 *
 * tsrun serves the rendezvous and hands out the key; in a job of another system rank 0 does (rank_zero.ts).
 */
import { readFileSync } from 'node:fs';
import type { Config } from '../config';
import { RendezvousError } from '../errors';
import { connectStore, type Store } from '../rendezvous/store';
import type { JobIdentity } from '../schedulers/identity';
import { type Identity, KEY_BYTES } from '../wire/handshake';
import { meetAtRankZero } from './rank_zero';

export interface Meeting {
  readonly identity: Identity;
  readonly store: Store;
  /** What this rank listens on and tells the others. */
  readonly bindAddress: string;
  /** Until when all ranks must have met; on the clock of `performance.now`. */
  readonly deadlineMs: number;
  /** All ranks are here. */
  conclude(): void;
  /** @param reason why the job did not form, for those who still wait */
  close(reason?: string): Promise<void>;
}

/** @throws RendezvousError no key, nobody there in time, or somebody without the key */
export function meet(config: Config, job: JobIdentity | undefined, generation: number): Promise<Meeting> {
  return job ? meetAtRankZero(config, job, generation) : meetAtLauncher(config, generation);
}

async function meetAtLauncher(config: Config, generation: number): Promise<Meeting> {
  const timeoutMs = config.startTimeoutSeconds * 1000;
  const deadlineMs = performance.now() + timeoutMs;
  const identity: Identity = { jobId: config.jobId, tls: config.tls, key: launcherKey(config), generation, rank: config.rank };
  const store = await reachLauncher(config, identity, timeoutMs);
  return { identity, store, bindAddress: config.bindAddress, deadlineMs, conclude() {}, close: async () => store.close() };
}

function launcherKey(config: Config): Uint8Array {
  try {
    const key = readFileSync(config.keyFile);
    if (key.length !== KEY_BYTES) throw new Error(`it holds ${key.length} bytes, not ${KEY_BYTES}`);
    return key;
  } catch (error) {
    throw new RendezvousError(
      `Rank ${config.rank} of ${config.size} cannot read the job key from '${config.keyFile}' (TSRUN_KEY_FILE): ${(error as Error).message}. Start the job with tsrun, which makes it.`,
    );
  }
}

async function reachLauncher(config: Config, identity: Identity, timeoutMs: number): Promise<Store> {
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
