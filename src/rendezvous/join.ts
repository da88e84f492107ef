/**
 * All ranks of a generation meet: each publishes where it is, and waits for the others. Communication thread.
 *
 * Keys: `gen/<generation>/rank/<rank>` holds a RankRecord. `job/hosts`, a JSON array of host names by rank, is set by whoever serves the store before any rank comes; it is read only to say
 * where the missing ones should have been.
 */
import { RendezvousError } from '../errors';
import { khorovod } from '../wire/generated/messages';
import { KeyAbsentError, type Store } from './store';

export const HOSTS_KEY = 'job/hosts';
/** Set before any rank started, or never. */
const HOSTS_MS = 500;
/** Named in the error; more are counted. */
const MOST_NAMED = 8;

/**
 * The records of all ranks, by rank.
 *
 * @throws RendezvousError some have not come after `timeoutMs` (it names them), two processes take themselves for the same rank, or the store is lost
 */
export async function join({
  store,
  generation,
  record,
  size,
  timeoutMs,
  nameOf = (rank) => `rank ${rank}`,
}: {
  store: Store;
  generation: number;
  record: khorovod.IRankRecord;
  size: number;
  timeoutMs: number;
  /** How a member is called. */
  nameOf?: (rank: number) => string;
}): Promise<khorovod.RankRecord[]> {
  const key = (rank: number): string => `gen/${generation}/rank/${rank}`;
  const own = record.rank ?? 0;
  await store.set(key(own), khorovod.RankRecord.encode(record).finish());
  const found = await Promise.allSettled(Array.from({ length: size }, (_, rank) => store.get(key(rank), timeoutMs)));
  const errors = found.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []));
  const failure = errors.find((error) => !(error instanceof KeyAbsentError));
  if (failure) throw failure;
  if (errors.length > 0) {
    const missing = found.flatMap((one, rank) => (one.status === 'rejected' ? [rank] : []));
    throw missingError(missing, await hostNames(store), size, timeoutMs, nameOf);
  }
  const records = found.map((one, rank) => decode((one as PromiseFulfilledResult<Uint8Array>).value, rank));
  const { host, pid, port } = records[own]!;
  if (port !== (record.port ?? 0) || pid !== (record.pid ?? 0) || host !== (record.host ?? '')) {
    throw new RendezvousError(
      `Two processes take themselves for rank ${own}: this one (process ${record.pid} on host ${record.host}) and process ${pid} on host ${host}. Start the job with tsrun, srun or mpirun, which number them.`,
    );
  }
  return records;
}

function decode(bytes: Uint8Array, rank: number): khorovod.RankRecord {
  try {
    const record = khorovod.RankRecord.decode(bytes);
    if (record.rank === rank) return record;
  } catch {
    // As wrong as another rank's: said below.
  }
  throw new RendezvousError(
    `What rank ${rank} left at the rendezvous is not its record. Install the same version of khorovod on every host.`,
  );
}

/** As far as they are known. */
async function hostNames(store: Store): Promise<readonly unknown[]> {
  try {
    const names: unknown = JSON.parse(Buffer.from(await store.get(HOSTS_KEY, HOSTS_MS)).toString());
    return Array.isArray(names) ? names : [];
  } catch {
    // Only the names are missing then.
    return [];
  }
}

function missingError(
  missing: readonly number[],
  hosts: readonly unknown[],
  size: number,
  timeoutMs: number,
  called: (rank: number) => string,
): RendezvousError {
  const nameOf = (rank: number): string => `${called(rank)}${typeof hosts[rank] === 'string' ? ` (host ${hosts[rank]})` : ''}`;
  const more = missing.length > MOST_NAMED ? ` and ${missing.length - MOST_NAMED} more` : '';
  const names = missing.slice(0, MOST_NAMED).map(nameOf).join(', ');
  return new RendezvousError(
    `After ${(timeoutMs / 1000).toFixed(1)} s ${names}${more} of ${size} had not come to the rendezvous. ` +
      'See their own output for why they did not get as far as init(); TSRUN_START_TIMEOUT (--start-timeout of tsrun) sets how long the others wait.',
  );
}
