/** Who stands where, worked out from who has met: for systems that do not say. Pure. */

/** What a rank has said of itself. */
export interface Standing {
  readonly host: string;
  /** Undefined: its system did not say. */
  readonly localRank?: number;
}
export interface Place {
  readonly localRank: number;
  readonly localSize: number;
  readonly crossRank: number;
  readonly crossSize: number;
}

/**
 * The place of every rank, by rank: among those of its host, and among those that have the same local rank on theirs. Local ranks follow the order of ranks where they are not
 * given; a host is what calls itself the same.
 */
export function placesOf(standings: readonly Standing[]): Place[] {
  const onHost = new Map<string, number>();
  const ofLocalRank = new Map<number, number>();
  const places = standings.map(({ host, localRank: given }) => {
    const order = onHost.get(host) ?? 0;
    onHost.set(host, order + 1);
    const localRank = given ?? order;
    const crossRank = ofLocalRank.get(localRank) ?? 0;
    ofLocalRank.set(localRank, crossRank + 1);
    return { host, localRank, crossRank };
  });
  return places.map(({ host, localRank, crossRank }) => ({
    localRank,
    localSize: onHost.get(host)!,
    crossRank,
    crossSize: ofLocalRank.get(localRank)!,
  }));
}
