/**
 * The process sets of a job as one of their members carries out operations with them: who belongs to each, how it lies on hosts, the plans of its allreduces, what it sums in shared memory.
 * Communication thread.
 *
 * Invariant: what an allreduce of a size is done by follows from its group and the size alone, so that all members do the same.
 */
import { OnePass } from '../collective/one_pass';
import { type Policy, type Selected, selectAllreduce } from '../collective/select';
import { type Topology, topologyOf } from '../collective/topology';
import { BugError } from '../errors';
import { log } from '../log';
import type { Transport } from '../transport/transport';

/** Plans are kept for sizes that come again, until they have so many steps together (about 100 bytes each): those of 1 GiB on 2 ranks have 4,096. */
const MOST_KEPT_STEPS = 1 << 16;
const MOST_ITEM_BYTES = 16;

/** The members of a process set, as one of them sees it. */
export interface Group {
  /** Global ranks, ascending. */
  readonly members: readonly number[];
  readonly position: number;
  readonly topology: Topology;
  /** Allreduce plans by size. */
  readonly plans: Map<number, Selected>;
  /** Undefined: the members share no memory. */
  readonly onePass?: OnePass;
}

export class Groups {
  private readonly groups = new Map<number, Group>();
  private keptSteps = 0;
  /** Operations that are over here, but at which others still are. */
  private late = 0;
  /** Told when there are none any more. */
  onAllThrough?: () => void;

  constructor(
    private readonly transport: Transport,
    private readonly hostOf: (rank: number) => string,
    private readonly policy: Policy,
  ) {}

  add(id: number, members: readonly number[]): void {
    const topology = topologyOf(members.map(this.hostOf));
    const position = members.indexOf(this.transport.rank);
    const isShared =
      position >= 0 && members.length > 1 && members.every((rank, i) => i === position || this.transport.heaps?.ranks.has(rank));
    const onePass =
      isShared && OnePass.isPossible(id, members.length)
        ? new OnePass(id, members, position, (through) => this.awaitLate(through))
        : undefined;
    this.groups.set(id, { members, position, topology, plans: new Map(), onePass });
  }

  remove(id: number): void {
    this.groups.delete(id);
  }

  /** @throws BugError there is no such process set */
  of(id: number): Group {
    const group = this.groups.get(id);
    if (!group) throw new BugError(`The coordinator decided on process set ${id}, which is not there. Please report it.`);
    return group;
  }

  /** Others are still at operations that are over here. */
  get isAwaited(): boolean {
    return this.late > 0;
  }

  /** A step reduces the same sizes again and again. */
  allreduceOf(elems: number, itemBytes: number, { position, topology, plans }: Group): Selected {
    const key = elems * MOST_ITEM_BYTES + itemBytes;
    let selected = plans.get(key);
    if (!selected) {
      selected = selectAllreduce({ rank: position, elems, bytesPerElem: itemBytes }, topology, this.policy);
      log('DEBUG', `allreduce: ${selected.reason}`);
      this.keptSteps += selected.plan.sends.length + selected.plan.recvs.length + 1;
      if (this.keptSteps > MOST_KEPT_STEPS) {
        for (const group of this.groups.values()) group.plans.clear();
        this.keptSteps = 0;
      }
      plans.set(key, selected);
    }
    return selected;
  }

  private awaitLate(through: Promise<unknown>): void {
    this.late += 1;
    const settle = (): void => {
      this.late -= 1;
      if (this.late === 0) this.onAllThrough?.();
    };
    through.then(settle, settle);
  }
}
