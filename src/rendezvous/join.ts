/** All ranks meet. */
import { RendezvousError } from '../errors';
import { khorovod } from '../wire/generated/messages';
import type { Store } from './store';

export async function join({
  store,
  generation,
  record,
  size,
  timeoutMs,
}: {
  store: Store;
  generation: number;
  record: khorovod.IRankRecord;
  size: number;
  timeoutMs: number;
}): Promise<khorovod.RankRecord[]> {
  const key = (rank: number): string => `gen/${generation}/rank/${rank}`;
  await store.set(key(record.rank ?? 0), khorovod.RankRecord.encode(record).finish());
  const found = await Promise.allSettled(Array.from({ length: size }, (_, rank) => store.get(key(rank), timeoutMs)));
  const missing = found.flatMap((one, rank) => (one.status === 'rejected' ? [rank] : []));
  if (missing.length)
    throw new RendezvousError(
      `After ${(timeoutMs / 1000).toFixed(0)} s rank ${missing.join(', ')} of ${size} had not come to the rendezvous.`,
    );
  return found.map((one) => khorovod.RankRecord.decode((one as PromiseFulfilledResult<Uint8Array>).value));
}
