/**
 * A synchronous step of one piece: gradients are added up in the order of the workers, whoever comes first; when all are there their average is applied once. A server's communication thread.
 *
 * Invariants: workers are known by their place in the optimizer's list; a step ends when all have come, and the next one begins then.
 */
import type { HeldPiece } from './held_piece';
import type { Room } from './server_memory';

export interface Push {
  readonly worker: number;
  readonly piece: number;
  readonly step: number;
  readonly learningRate: number;
  /** A byte a variable. */
  readonly flags: Uint8Array;
  readonly isFailed: boolean;
}

export class Round {
  /** Whose turn it is. */
  private next = 0;
  private readonly flags: Uint8Array;
  private isFailed = false;
  private learningRate = 0;
  /** Before their turn. */
  private readonly received = new Map<number, { push: Push; room: Room }>();
  /** Not even received. */
  private readonly turns = new Map<number, () => void>();

  constructor(
    readonly piece: HeldPiece,
    private readonly workers: number,
  ) {
    this.flags = new Uint8Array(piece.touched.length);
  }

  get isUnderWay(): boolean {
    return this.next + this.received.size + this.turns.size > 0;
  }
  isTurnOf(place: number): boolean {
    return this.next === place;
  }
  hasCome(place: number): boolean {
    return place < this.next || this.received.has(place) || this.turns.has(place);
  }

  awaitTurn(place: number): Promise<void> {
    return new Promise((resolve) => this.turns.set(place, resolve));
  }
  /** There is no step any more that anybody could wait for. */
  wakeAll(): void {
    for (const place of [...this.turns.keys()]) this.wake(place);
  }

  /** @returns of a step that is complete: whether it has failed */
  take(place: number, push: Push, room: Room): { readonly isFailed: boolean } | undefined {
    this.received.set(place, { push, room });
    for (let found = this.received.get(this.next); found; found = this.received.get(this.next)) {
      this.received.delete(this.next);
      this.add(found.push, found.room);
      this.next += 1;
      this.wake(this.next);
    }
    if (this.next < this.workers) return undefined;
    const { isFailed } = this;
    this.next = 0;
    if (!isFailed) this.piece.applySum(this.flags, this.learningRate);
    this.wake(0);
    return { isFailed };
  }

  /** What has come is of no use any more. */
  drop(release: (room: Room) => void): void {
    for (const { room } of this.received.values()) release(room);
    this.received.clear();
  }

  /** The rate that counts is that of the first worker. */
  private add({ flags, isFailed, learningRate }: Push, room: Room): void {
    const isFirst = this.next === 0;
    if (isFirst) {
      this.flags.fill(0);
      this.isFailed = false;
      this.learningRate = learningRate;
    }
    for (const [i, flag] of flags.entries()) this.flags[i]! |= flag;
    this.isFailed ||= isFailed;
    this.piece.addToSum(room, isFirst);
  }

  private wake(place: number): void {
    this.turns.get(place)?.();
    this.turns.delete(place);
  }
}
