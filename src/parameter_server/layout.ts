/** How a worker's buckets lie in its memory, and which pieces of them go to which server. Pure. */
import type { PieceSpec } from './protocol';
import { partsIn, piecesOf } from './shard';

/** Where a bucket lies: values, one variable behind the other, then a float a variable (0: no gradient; afterwards: it was never updated), then one that is NaN when a step has failed. */
export interface BucketPlace {
  readonly byteOffset: number;
  readonly elems: number;
  readonly variables: ReadonlyArray<{ readonly from: number; readonly elems: number }>;
  /** Room for its gradients in 16 bits, when they travel so. */
  readonly halvesOffset?: number;
}

export interface OwnPiece extends PieceSpec {
  /** Among all. */
  readonly index: number;
  readonly server: number;
  readonly bucket: number;
  /** Number among those of its server. */
  readonly number: number;
  /** First element in the bucket. */
  readonly from: number;
  /** By part: the variable's index in the bucket. */
  readonly owners: readonly number[];
}
export interface Layout {
  readonly pieces: readonly OwnPiece[];
  readonly byServer: ReadonlyArray<readonly OwnPiece[]>;
}

export function layOut(buckets: readonly BucketPlace[], servers: number): Layout {
  const byServer: OwnPiece[][] = Array.from({ length: servers }, () => []);
  const sizes = buckets.map(({ elems }) => elems);
  const pieces = piecesOf(sizes, servers).map(({ server, bucket, from, elems }, index): OwnPiece => {
    const parts = partsIn(buckets[bucket]!.variables, { from, elems });
    const variables = parts.map((part) => ({ from: part.from, elems: part.elems }));
    const own = byServer[server]!;
    const piece = { index, server, bucket, from, elems, number: own.length, variables, owners: parts.map(({ variable }) => variable) };
    own.push(piece);
    return piece;
  });
  return { pieces, byServer };
}
