/**
 * The process sets of a job as the coordinator knows them: who belongs to each, who of them has joined, whether one has left. Pure; coordinator.
 *
 * Invariants: set 0 is all ranks and stays; an id is never used twice; members ascend.
 */
import type { ErrorRecord } from '../errors';
import { listed } from './ranks';

export interface MemberSet {
  readonly id: number;
  /** Global ranks, ascending. */
  readonly members: readonly number[];
  readonly positions: ReadonlyMap<number, number>;
  /** They have no more data; the last one came last. */
  readonly joined: Set<number>;
  /** What everybody gets since a member has left. */
  departed?: ErrorRecord;
}

export class MemberSets {
  private readonly sets = new Map<number, MemberSet>();
  private lastId = -1;

  constructor(size: number) {
    this.add(Array.from({ length: size }, (_, rank) => rank));
  }

  /** @param ranks ascending @returns its id */
  add(ranks: readonly number[]): number {
    this.lastId += 1;
    const positions = new Map(ranks.map((rank, position) => [rank, position]));
    this.sets.set(this.lastId, { id: this.lastId, members: ranks, positions, joined: new Set() });
    return this.lastId;
  }

  remove(id: number): void {
    this.sets.delete(id);
  }

  get(id: number): MemberSet | undefined {
    return this.sets.get(id);
  }

  of(rank: number): MemberSet[] {
    return [...this.sets.values()].filter(({ positions }) => positions.has(rank));
  }
}

/** For a sentence; nothing for the set of all ranks. */
export const ofSet = ({ id, members }: Pick<MemberSet, 'id' | 'members'>): string =>
  id === 0 ? '' : ` of process set ${id} (rank ${listed(members)})`;
