/** How much each rank gives to a collective of a size and what it gets, element for element. Sizes and counts are nccl-tests'. Pure. */
import type { Collective } from './collective_args';

/** A run of elements of one rank's contribution, or of all ranks' reduced. */
export interface Segment {
  readonly source: number | 'reduced';
  /** Which elements of the contribution. */
  readonly from: number;
  readonly elems: number;
}

export interface Layout {
  /** The column: elements of a rank in allreduce and broadcast, of each rank's part in the others. */
  readonly count: number;
  /** The column: bytes that a rank gives, or gets, whichever is more. */
  readonly bytes: number;
  /** What this rank gives: elements of each tensor, which are those of its contribution one behind the other. */
  readonly inputs: readonly number[];
  /** What comes out, for each tensor. */
  readonly outputs: ReadonlyArray<readonly Segment[]>;
}

export interface Seat {
  readonly ranks: number;
  readonly rank: number;
}

/** @param parts tensors of a group; a size below one element (for each part, where there are several) becomes one */
export function layoutOf(collective: Exclude<Collective, 'barrier'>, bytes: number, itemBytes: number, parts: number, seat: Seat): Layout {
  const { ranks, rank } = seat;
  const elems = (shares: number): number => Math.max(1, Math.floor(bytes / itemBytes / shares));
  const each = elems(ranks);
  const ofParts = { count: each, bytes: each * ranks * itemBytes };
  const all = Array.from({ length: ranks }, (_, source) => source);
  switch (collective) {
    case 'allreduce':
    case 'grouped-allreduce': {
      const elemsOfPart = elems(parts);
      const outputs = Array.from({ length: parts }, (_, part): Segment[] => [
        { source: 'reduced', from: part * elemsOfPart, elems: elemsOfPart },
      ]);
      return { count: parts * elemsOfPart, bytes: parts * elemsOfPart * itemBytes, inputs: outputs.map(() => elemsOfPart), outputs };
    }
    case 'broadcast': {
      const count = elems(1);
      return { count, bytes: count * itemBytes, inputs: [count], outputs: [[{ source: 0, from: 0, elems: count }]] };
    }
    case 'allgather':
      return { ...ofParts, inputs: [each], outputs: [all.map((source) => ({ source, from: 0, elems: each }))] };
    case 'reducescatter':
      return { ...ofParts, inputs: [each * ranks], outputs: [[{ source: 'reduced', from: rank * each, elems: each }]] };
    case 'alltoall':
      return { ...ofParts, inputs: [each * ranks], outputs: [all.map((source) => ({ source, from: rank * each, elems: each }))] };
  }
}
