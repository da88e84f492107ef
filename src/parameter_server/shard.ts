/**
 * Which server holds which part of the variables. Pure; every worker computes the same.
 *
 * Buckets (what leaves a worker together) are cut into pieces, each held by one server. A bucket that is large enough has a piece on every server, so that all servers are busy whichever bucket is on
 * its way, and is answered in part while the rest still comes; a small one is not cut into pieces that cost more than they carry. Pieces go to the servers that have least so far: over all buckets the
 * bytes are even.
 */
export interface Piece {
  readonly server: number;
  readonly bucket: number;
  /** First element in the bucket. */
  readonly from: number;
  readonly elems: number;
}

/** A smaller piece costs more in messages than its bytes do. */
export const LEAST_PIECE_BYTES = 64 << 10;
/** A server receives a piece before it applies and answers it: a large variable as one piece would use the links one way after the other, and what waits for the slowest worker is smaller. */
export const MOST_PIECE_BYTES = 1 << 20;
/** Pieces begin on a cache line. */
const ALIGN_ELEMS = 16;
const BYTES_PER_ELEM = 4;

/**
 * @param buckets elements of each, float32
 * @returns bucket by bucket, in each in the order of its elements; an empty bucket has none
 */
export function piecesOf(buckets: readonly number[], servers: number): Piece[] {
  const loads = Array.from({ length: servers }, (_, server) => ({ server, elems: 0 }));
  return buckets.flatMap((elems, bucket) => {
    if (elems === 0) return [];
    const bytes = elems * BYTES_PER_ELEM;
    const holders = Math.min(servers, Math.max(1, Math.floor(bytes / LEAST_PIECE_BYTES)));
    const chosen = [...loads].sort((a, b) => a.elems - b.elems || a.server - b.server).slice(0, holders);
    const count = holders * Math.ceil(bytes / holders / MOST_PIECE_BYTES);
    const startOf = (part: number): number => (part === count ? elems : Math.floor((part * elems) / count / ALIGN_ELEMS) * ALIGN_ELEMS);
    return Array.from({ length: count }, (_, part) => {
      const load = chosen[part % holders]!;
      const piece = { server: load.server, bucket, from: startOf(part), elems: startOf(part + 1) - startOf(part) };
      load.elems += piece.elems;
      return piece;
    });
  });
}

/** A variable's part that lies in a piece. */
export interface Part {
  /** Index among the bucket's variables. */
  readonly variable: number;
  /** First element in the piece. */
  readonly from: number;
  readonly elems: number;
}

/** @param variables of the bucket, one behind the other from element 0 on */
export function partsIn(
  variables: ReadonlyArray<{ readonly from: number; readonly elems: number }>,
  piece: Pick<Piece, 'from' | 'elems'>,
): Part[] {
  const end = piece.from + piece.elems;
  return variables.flatMap(({ from, elems }, variable) => {
    const first = Math.max(from, piece.from);
    const last = Math.min(from + elems, end);
    return last > first ? [{ variable, from: first - piece.from, elems: last - first }] : [];
  });
}
