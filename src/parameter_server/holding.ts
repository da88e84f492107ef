/**
 * What one server holds of one optimizer, and what has come of the steps under way: whose gradient is applied when, and who may go on. A server's communication thread; no sockets.
 *
 * Synchronous: the gradients of a piece are added up in the order of the workers, never in that of arrival (round.ts), so the same job gives the same bits. A gradient whose turn has not come waits in
 * memory while there is some to spare, then on the wire. Otherwise: each gradient is applied as it comes.
 *
 * Invariants: a piece is answered once for each push; nothing is changed by a push that is marked as failed; a worker that is no longer there holds nobody up unless the mode is synchronous, in which
 * the next step (or the one under way) fails the holding; what it holds can be asked for until then.
 */
import { type HvdError, StallError, WireError } from '../errors';
import { mayBeginNext, type Progress } from './consistency';
import { HeldPiece } from './held_piece';
import { makeOptimizer } from './optimizers';
import type { OptimizerSpec } from './protocol';
import { type Push, Round } from './round';
import type { Room, ServerMemory } from './server_memory';

export interface Answer {
  readonly worker: number;
  readonly piece: number;
  /** Another worker's step has failed. */
  readonly isFailed: boolean;
}
/** Somebody waits. */
export interface Stalled {
  readonly forMs: number;
  readonly why: string;
}

interface Worker extends Progress {
  finished: number;
  isActive: boolean;
  hasOpened: boolean;
  /** Of the step that it pushes. */
  piecesDone: number;
  sinceMs: number;
}

export class Holding {
  failure?: HvdError;
  private readonly rounds: readonly Round[];
  private readonly workers: readonly Worker[];
  private waiting: Array<Answer & { readonly step: number }> = [];
  private hasBegun = false;
  /** Synchronous: why no step can be completed any more. */
  private absence?: HvdError;
  /** Rooms that somebody may write into. */
  private rooms = 0;

  /** @throws HvdError the memory is full */
  constructor(
    readonly spec: OptimizerSpec,
    private readonly shared: ServerMemory,
  ) {
    const update = makeOptimizer(spec.rule, shared.memory);
    const pieces: HeldPiece[] = [];
    try {
      for (const piece of spec.pieces) pieces.push(new HeldPiece(piece, spec, update, shared));
    } catch (error) {
      for (const piece of pieces) piece.free();
      throw error;
    }
    this.rounds = pieces.map((piece) => new Round(piece, spec.workers.length));
    this.workers = spec.workers.map((worker) => ({ worker, finished: 0, isActive: true, hasOpened: false, piecesDone: 0, sinceMs: 0 }));
  }

  get isSync(): boolean {
    return this.spec.mode.kind === 'sync';
  }
  get isReady(): boolean {
    return this.hasBegun;
  }
  get openers(): number[] {
    return this.workers.filter(({ hasOpened, isActive }) => hasOpened && isActive).map(({ worker }) => worker);
  }
  /** Whose variables training begins with. */
  get giver(): number {
    return this.spec.workers[0]!;
  }
  /** Nobody can want anything of it any more: it can be freed. */
  get isOver(): boolean {
    return this.rooms === 0 && this.workers.every(({ isActive }) => !isActive);
  }

  open(worker: number): void {
    const found = this.workerOf(worker);
    found.hasOpened = true;
    found.sinceMs = performance.now();
  }

  /** The bytes of a piece: of the variables (slot 0), or of a slot. @throws WireError there is no such piece or slot */
  bytesOf(piece: number, slot = 0): Uint8Array {
    return this.roundOf(piece).piece.bytesOf(slot);
  }
  touchedOf(piece: number): Uint8Array {
    return this.roundOf(piece).piece.touched;
  }

  /** The last of what training begins with has come. */
  begin(steps: number): void {
    for (const { piece } of this.rounds) piece.applied = steps;
    this.hasBegun = true;
  }

  /** Steps that the slots have seen. */
  get steps(): number {
    return Math.max(0, ...this.rounds.map(({ piece }) => piece.applied));
  }

  free(): void {
    for (const round of this.rounds) {
      round.drop((room) => this.shared.release(room));
      round.piece.free();
    }
  }

  // ───── a push ─────

  /** Resolves when the gradient may be received: at once, unless the mode is synchronous and there is no memory to spare for those before their turn. `take` or `abandon` follows. */
  async room(worker: number, index: number): Promise<Room> {
    const round = this.roundOf(index);
    const { piece } = round;
    this.workerOf(worker).sinceMs = performance.now();
    if (this.absence) this.fail(this.absence);
    const place = this.spec.workers.indexOf(worker);
    const isTurn = (): boolean => !this.isSync || round.isTurnOf(place);
    if (!isTurn() && !this.failure && this.shared.spareBytes < piece.gradientBytes) await round.awaitTurn(place);
    const ofSum = place === 0 && isTurn() && !this.failure ? piece.roomOfSum : undefined;
    const room = ofSum ?? this.shared.room(piece.gradientBytes, !isTurn());
    this.rooms += 1;
    return room;
  }

  /** The gradient is in its room. @returns who can be answered now */
  take(push: Push, room: Room): Answer[] {
    this.rooms -= 1;
    const round = this.roundOf(push.piece);
    const worker = this.workerOf(push.worker);
    worker.sinceMs = performance.now();
    if (!this.isSync) {
      if (!push.isFailed) round.piece.applyRoom(room, push.flags, push.learningRate);
      this.shared.release(room);
      if (worker.isActive) this.waiting.push({ worker: push.worker, piece: push.piece, isFailed: false, step: push.step });
      this.countPiece(worker, push.step);
      return this.due();
    }
    const complete = round.take(this.spec.workers.indexOf(push.worker), push, room);
    if (!complete) return [];
    for (const one of this.workers) this.countPiece(one, one.finished + 1);
    return this.spec.workers.map((one) => ({ worker: one, piece: push.piece, ...complete }));
  }

  /** The gradient has not come, or is of no use any more. */
  abandon(room: Room): void {
    this.rooms -= 1;
    this.shared.release(room);
  }

  // ───── who is there ─────

  /** @returns who can be answered now that this worker is no longer waited for. @param error what its going means to the others, if they cannot do without */
  depart(worker: number, error: HvdError): Answer[] {
    const found = this.workers.find((one) => one.worker === worker);
    if (!found?.isActive) return [];
    found.isActive = false;
    this.waiting = this.waiting.filter((answer) => answer.worker !== worker);
    if (this.isSync) this.absence ??= error;
    const isUnderWay = this.rounds.some((round) => round.isUnderWay);
    if ((this.isSync && isUnderWay) || (!this.hasBegun && worker === this.giver)) this.fail(error);
    return this.failure ? [] : this.due();
  }

  /** The first failure wins. */
  fail(error: HvdError): void {
    this.failure ??= error;
    for (const round of this.rounds) round.wakeAll();
  }

  /** For the stall check. Undefined: nobody waits. */
  stalled(nowMs: number): Stalled | undefined {
    const [waiters, why] = this.hasBegun ? (this.isSync ? this.waitersOfStep() : this.waitersOfBound()) : this.waitersOfBeginning();
    if (waiters.length === 0) return undefined;
    return { forMs: nowMs - Math.max(...waiters.map(({ sinceMs }) => sinceMs)), why: why() };
  }

  stall({ forMs, why }: Stalled): void {
    this.fail(
      new StallError(
        `After ${(forMs / 1000).toFixed(0)} s ${why}. Let every worker take the same number of steps, or raise --stall-check-shutdown-time-seconds.`,
      ),
    );
  }

  // ───── inside ─────

  private waitersOfBeginning(): [Worker[], () => string] {
    const waiters = this.workers.filter(({ worker, hasOpened, isActive }) => hasOpened && isActive && worker !== this.giver);
    return [waiters, () => `'${this.spec.name}' waits for the variables of worker ${this.giver}, which training begins with`];
  }
  private waitersOfStep(): [Worker[], () => string] {
    const begun = this.rounds.filter((round) => round.isUnderWay);
    const waiters = this.workers.filter((_, place) => begun.some((round) => round.hasCome(place)));
    const missing = this.workers.filter((_, place) => begun.some((round) => !round.hasCome(place)));
    return [waiters, () => `a step of '${this.spec.name}' waits for the push of worker ${missing.map(({ worker }) => worker).join(', ')}`];
  }
  private waitersOfBound(): [Worker[], () => string] {
    const waiters = this.workers.filter((one) => this.waiting.some(({ worker }) => worker === one.worker));
    return [waiters, () => mayBeginNext(this.spec.mode, this.waiting[0]!.step, this.workers).why];
  }

  private countPiece(worker: Worker, step: number): void {
    worker.piecesDone += 1;
    if (worker.piecesDone < this.rounds.length) return;
    worker.piecesDone = 0;
    worker.finished = step;
  }

  /** Takes out of those who wait who may begin the next step. */
  private due(): Answer[] {
    const { mode } = this.spec;
    const answers = this.waiting.filter(({ step }) => mayBeginNext(mode, step, this.workers).mayGoOn);
    if (answers.length > 0) this.waiting = this.waiting.filter((answer) => !answers.includes(answer));
    return answers;
  }

  private roundOf(index: number): Round {
    const round = this.rounds[index];
    if (!round) throw new WireError(`A worker named piece ${index} of '${this.spec.name}', which has ${this.rounds.length} here.`);
    return round;
  }
  private workerOf(worker: number): Worker {
    const found = this.workers.find((one) => one.worker === worker);
    if (!found) throw new WireError(`Worker ${worker} is none of those of '${this.spec.name}' (${this.spec.workers.join(', ')}).`);
    return found;
  }
}
