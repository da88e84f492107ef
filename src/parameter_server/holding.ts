/**
 * What one server holds of one optimizer: its pieces of the variables, their slots, and what has come of the steps under way. A server's communication thread; no sockets.
 *
 * Synchronous: the gradients of a piece are added up in the order of the workers, never in that of arrival, so the same job gives the same bits; when all are there their average is applied once. A
 * gradient whose turn has not come waits in memory while there is some to spare, then on the wire. Otherwise: each gradient is applied as it comes.
 *
 * Invariants: a piece is answered once for each push; nothing is changed by a push that is marked as failed; a worker that is no longer there holds nobody up unless the mode is synchronous, in which
 * the holding fails.
 */
import { type HvdError, StallError, WireError } from '../errors';
import { Arena, createMemory } from '../memory/arena';
import { type Kernels, makeKernels } from '../memory/kernels';
import { mayBeginNext, type Progress } from './consistency';
import { makeOptimizer, type Optimizer } from './optimizers';
import type { OptimizerSpec, PieceSpec } from './protocol';
import { slotsOf } from './rules';

/** The memory of all holdings of a server; like the workers' it may grow to 4 GiB. */
export class ServerMemory {
  readonly memory = createMemory();
  /** Nothing lies at address 0: kernels are never given a null pointer. */
  readonly arena = new Arena(this.memory, 64);
  readonly kernels: Kernels = makeKernels(this.memory);
  /** What synchronous pushes may take that wait for their turn. */
  spareBytes = 256 << 20;
}

export interface Answer {
  readonly worker: number;
  readonly piece: number;
  /** Another worker's step has failed. */
  readonly isFailed: boolean;
}
export interface Push {
  readonly worker: number;
  readonly piece: number;
  readonly step: number;
  readonly learningRate: number;
  /** A byte a variable. */
  readonly flags: Uint8Array;
  readonly isFailed: boolean;
}
/** Where a gradient is to be received. */
export interface Room {
  readonly byteOffset: number;
  readonly bytes: number;
  readonly isSum: boolean;
  readonly isSpare: boolean;
}

interface HeldPiece {
  readonly spec: PieceSpec;
  readonly values: number;
  /** One a slot of the rule. */
  readonly slots: readonly number[];
  /** A byte a variable: it was ever updated. */
  readonly touched: Uint8Array;
  /** Gradients applied so far. */
  applied: number;
  /** Values, then slots, that have come of what training begins with. */
  begun: number;
  /** Synchronous: of the step under way. */
  readonly sum: number;
  /** Whose turn it is, by place among the workers. */
  next: number;
  flags: Uint8Array;
  isFailed: boolean;
  learningRate: number;
  readonly received: Map<number, { push: Push; room: Room }>;
  readonly turns: Map<number, () => void>;
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
  private readonly pieces: HeldPiece[];
  private readonly workers: Worker[];
  private readonly optimizer: Optimizer;
  private waiting: Array<Answer & { readonly step: number }> = [];
  private hasBegun = false;

  /** @throws HvdError the memory is full */
  constructor(
    readonly spec: OptimizerSpec,
    private readonly shared: ServerMemory,
  ) {
    const { arena, memory } = shared;
    this.optimizer = makeOptimizer(spec.rule, memory);
    const slots = slotsOf(spec.rule);
    const block = (elems: number, value: number): number => {
      const at = arena.allocate(4 * elems);
      (arena.view('float32', at, elems) as Float32Array).fill(value);
      return at;
    };
    this.pieces = spec.pieces.map((piece) => ({
      spec: piece,
      values: block(piece.elems, 0),
      slots: slots.map(({ initial }) => block(piece.elems, initial)),
      touched: new Uint8Array(piece.variables.length),
      applied: 0,
      begun: 0,
      sum: this.isSync ? arena.allocate(4 * piece.elems) : 0,
      next: 0,
      flags: new Uint8Array(piece.variables.length),
      isFailed: false,
      learningRate: 0,
      received: new Map(),
      turns: new Map(),
    }));
    this.workers = spec.workers.map((worker) => ({
      worker,
      finished: 0,
      isActive: true,
      hasOpened: false,
      piecesDone: 0,
      sinceMs: 0,
    }));
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

  open(worker: number): void {
    this.workerOf(worker).hasOpened = true;
  }

  /** The bytes of a piece: of the variables (slot 0), or of a slot. @throws WireError there is no such piece or slot */
  bytesOf(piece: number, slot = 0): Uint8Array {
    const { spec, values, slots } = this.pieceOf(piece);
    const at = slot === 0 ? values : slots[slot - 1];
    if (at === undefined) throw new WireError(`A worker asked for slot ${slot}; the rule '${this.spec.rule.kind}' has ${slots.length}.`);
    return this.shared.arena.bytes(at, 4 * spec.elems);
  }
  touchedOf(piece: number): Uint8Array {
    return this.pieceOf(piece).touched;
  }
  variablesOf(piece: number): number {
    return this.pieceOf(piece).spec.variables.length;
  }

  /** The last of what training begins with has come. */
  begin(steps: number): void {
    for (const piece of this.pieces) piece.applied = steps;
    this.hasBegun = true;
  }

  /** Steps that the slots have seen. */
  get steps(): number {
    return Math.max(0, ...this.pieces.map(({ applied }) => applied));
  }

  // ───── a push ─────

  /** Resolves when the gradient may be received: at once, unless the mode is synchronous and there is no memory to spare for those before their turn. */
  async room(worker: number, piece: number): Promise<Room> {
    const held = this.pieceOf(piece);
    const { arena } = this.shared;
    const isHalf = this.spec.compression !== 'none';
    const bytes = (isHalf ? 2 : 4) * held.spec.elems;
    const place = this.spec.workers.indexOf(worker);
    const isTurn = (): boolean => !this.isSync || held.next === place;
    if (!isTurn() && this.shared.spareBytes < bytes) await new Promise<void>((resolve) => held.turns.set(place, resolve));
    if (this.isSync && place === 0 && isTurn() && !isHalf) return { byteOffset: held.sum, bytes, isSum: true, isSpare: false };
    const isSpare = !isTurn();
    if (isSpare) this.shared.spareBytes -= bytes;
    return { byteOffset: arena.allocate(bytes), bytes, isSum: false, isSpare };
  }

  /** The gradient is in its room. @returns who can be answered now */
  take(push: Push, room: Room): Answer[] {
    const piece = this.pieceOf(push.piece);
    const worker = this.workerOf(push.worker);
    worker.sinceMs = performance.now();
    if (!this.isSync) {
      if (!push.isFailed) this.apply(piece, this.decoded(piece, room), push.flags, push.learningRate, 1);
      this.release(room);
      this.waiting.push({ worker: push.worker, piece: push.piece, isFailed: false, step: push.step });
      this.countPiece(worker, push.step);
      return this.due();
    }
    piece.received.set(this.spec.workers.indexOf(push.worker), { push, room });
    for (let next = piece.received.get(piece.next); next; next = piece.received.get(piece.next)) {
      piece.received.delete(piece.next);
      this.add(piece, next.push, next.room);
      piece.next += 1;
      piece.turns.get(piece.next)?.();
      piece.turns.delete(piece.next);
    }
    return piece.next === this.spec.workers.length ? this.complete(piece, push.piece) : [];
  }

  // ───── who is there ─────

  /** @returns who can be answered now that this worker is no longer waited for. @param error of a worker that has failed or was lost */
  depart(worker: number, error: HvdError): Answer[] {
    const found = this.workers.find((one) => one.worker === worker);
    if (!found?.isActive) return [];
    found.isActive = false;
    this.waiting = this.waiting.filter((answer) => answer.worker !== worker);
    if (this.isSync || (!this.hasBegun && worker === this.giver)) this.failure ??= error;
    return this.failure ? [] : this.due();
  }

  /** For the stall check: those who have been waited for since then, and who waits. Undefined: nobody waits. */
  stalled(nowMs: number): { forMs: number; missing: number[]; why: string } | undefined {
    const active = this.workers.filter(({ isActive }) => isActive);
    const waiters = this.isSync
      ? [...new Set(this.pieces.flatMap((piece) => (piece.next > 0 || piece.received.size > 0 ? this.comeOf(piece) : [])))]
      : this.waiting.map(({ worker }) => worker);
    if (waiters.length === 0) return undefined;
    const missing = this.isSync
      ? active.filter(({ worker }) =>
          this.pieces.some((piece) => piece.next + piece.received.size > 0 && !this.comeOf(piece).includes(worker)),
        )
      : active.filter(({ worker }) => !waiters.includes(worker));
    const since = Math.max(0, ...this.workers.filter(({ worker }) => waiters.includes(worker)).map(({ sinceMs }) => sinceMs));
    const why = this.isSync
      ? `a step of '${this.spec.name}' waits for the push of worker ${missing.map(({ worker }) => worker).join(', ')}`
      : mayBeginNext(this.spec.mode, this.waiting[0]!.step, this.workers).why;
    return { forMs: nowMs - since, missing: missing.map(({ worker }) => worker), why };
  }

  stall(seconds: number, why: string): HvdError {
    this.failure ??= new StallError(
      `After ${seconds.toFixed(0)} s ${why}. Let every worker take the same number of steps, or raise --stall-check-shutdown-time-seconds.`,
    );
    return this.failure;
  }

  // ───── inside ─────

  private comeOf(piece: HeldPiece): number[] {
    return this.spec.workers.filter((_, place) => place < piece.next || piece.received.has(place));
  }

  private add(piece: HeldPiece, push: Push, room: Room): void {
    const { kernels } = this.shared;
    const { compression } = this.spec;
    const { elems } = piece.spec;
    if (piece.next === 0) {
      piece.flags.fill(0);
      piece.isFailed = false;
      piece.learningRate = push.learningRate;
    }
    for (const [i, flag] of push.flags.entries()) piece.flags[i]! |= flag;
    piece.isFailed ||= push.isFailed;
    if (room.isSum) return;
    if (compression === 'none') kernels.reduce('float32', 'sum', piece.sum, room.byteOffset, elems);
    else if (piece.next === 0) kernels.half(compression, 'float32').decode(piece.sum, room.byteOffset, elems);
    else kernels.half(compression, 'float32').reduce('sum', piece.sum, room.byteOffset, elems);
    this.release(room);
  }

  private complete(piece: HeldPiece, index: number): Answer[] {
    piece.next = 0;
    if (!piece.isFailed) this.apply(piece, piece.sum, piece.flags, piece.learningRate, 1 / this.spec.workers.length);
    const first = piece.turns.get(0);
    piece.turns.delete(0);
    first?.();
    for (const worker of this.workers) this.countPiece(worker, worker.finished + 1);
    return this.spec.workers.map((worker) => ({ worker, piece: index, isFailed: piece.isFailed }));
  }

  private decoded(piece: HeldPiece, room: Room): number {
    const { compression } = this.spec;
    if (compression === 'none') return room.byteOffset;
    const { arena, kernels } = this.shared;
    const floats = arena.allocate(4 * piece.spec.elems);
    kernels.half(compression, 'float32').decode(floats, room.byteOffset, piece.spec.elems);
    arena.release(floats);
    // Nothing is allocated before it is applied.
    return floats;
  }

  /** Neighbouring variables that have a gradient go as one. */
  private apply(piece: HeldPiece, gradient: number, flags: Uint8Array, learningRate: number, scale: number): void {
    piece.applied += 1;
    const { variables } = piece.spec;
    for (let i = 0; i < variables.length; ) {
      if (!flags[i]) {
        i += 1;
        continue;
      }
      const { from } = variables[i]!;
      let end = from;
      for (; i < variables.length && flags[i]; i += 1) {
        end = variables[i]!.from + variables[i]!.elems;
        piece.touched[i] = 1;
      }
      const at = (byteOffset: number): number => byteOffset + 4 * from;
      this.optimizer.apply(
        { variable: at(piece.values), gradient: at(gradient), slots: piece.slots.map(at), elems: end - from },
        piece.applied,
        learningRate,
        scale,
      );
    }
  }

  private countPiece(worker: Worker, step: number): void {
    worker.piecesDone += 1;
    if (worker.piecesDone < this.pieces.length) return;
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

  private release(room: Room): void {
    if (room.isSpare) this.shared.spareBytes += room.bytes;
    if (!room.isSum) this.shared.arena.release(room.byteOffset);
  }

  private pieceOf(index: number): HeldPiece {
    const piece = this.pieces[index];
    if (!piece) throw new WireError(`A worker named piece ${index} of '${this.spec.name}', which has ${this.pieces.length} here.`);
    return piece;
  }
  private workerOf(worker: number): Worker {
    const found = this.workers.find((one) => one.worker === worker);
    if (!found) throw new WireError(`Worker ${worker} is none of those of '${this.spec.name}' (${this.spec.workers.join(', ')}).`);
    return found;
  }
}
