/**
 * One piece of an optimizer's variables as its server holds it: values, slots, the sum of the step under way. A server's communication thread; no sockets, no workers.
 *
 * Invariants: what is applied is applied to all variables of the piece that have a gradient, and to no other; `free` gives back all that the piece has ever taken, once.
 */
import { WireError } from '../errors';
import type { Optimizer } from './optimizers';
import type { OptimizerSpec, PieceSpec } from './protocol';
import { slotsOf } from './rules';
import type { Room, ServerMemory } from './server_memory';

export class HeldPiece {
  /** A byte a variable: it was ever updated. */
  readonly touched: Uint8Array;
  /** Gradients applied so far, and before training began. */
  applied = 0;
  private readonly values: number;
  private readonly slots: readonly number[];
  private readonly sum: number | undefined;
  private readonly taken: number[] = [];

  /** @throws HvdError the memory is full; then nothing of it is taken */
  constructor(
    readonly spec: PieceSpec,
    private readonly optimizer: OptimizerSpec,
    private readonly update: Optimizer,
    private readonly shared: ServerMemory,
  ) {
    this.touched = new Uint8Array(spec.variables.length);
    try {
      this.values = this.block(0);
      this.slots = slotsOf(optimizer.rule).map(({ initial }) => this.block(initial));
      this.sum = optimizer.mode.kind === 'sync' ? this.block(0) : undefined;
    } catch (error) {
      this.free();
      throw error;
    }
  }

  free(): void {
    for (const at of this.taken.splice(0)) this.shared.arena.release(at);
  }

  /** Of the variables (slot 0), or of a slot. @throws WireError there is no such slot */
  bytesOf(slot: number): Uint8Array {
    const at = slot === 0 ? this.values : this.slots[slot - 1];
    if (at === undefined)
      throw new WireError(`A worker asked for slot ${slot}; the rule '${this.optimizer.rule.kind}' has ${this.slots.length}.`);
    return this.shared.arena.bytes(at, 4 * this.spec.elems);
  }

  get gradientBytes(): number {
    return (this.optimizer.compression === 'none' ? 4 : 2) * this.spec.elems;
  }
  /** Where the first gradient of a synchronous step is received; undefined: it has to be decoded. */
  get roomOfSum(): Room | undefined {
    if (this.sum === undefined || this.optimizer.compression !== 'none') return undefined;
    return { byteOffset: this.sum, bytes: this.gradientBytes, isSum: true, isSpare: false };
  }

  /** Synchronous: a step's gradients, one after the other. Gives the room back. */
  addToSum(room: Room, isFirst: boolean): void {
    const { kernels } = this.shared;
    const { compression } = this.optimizer;
    const { elems } = this.spec;
    if (room.isSum) return;
    if (compression === 'none') kernels.reduce('float32', 'sum', this.sum!, room.byteOffset, elems);
    else if (isFirst) kernels.half(compression, 'float32').decode(this.sum!, room.byteOffset, elems);
    else kernels.half(compression, 'float32').reduce('sum', this.sum!, room.byteOffset, elems);
    this.shared.release(room);
  }
  applySum(flags: Uint8Array, learningRate: number): void {
    this.apply(this.sum!, flags, learningRate, 1 / this.optimizer.workers.length);
  }

  /** A gradient as it came. The room stays the caller's. */
  applyRoom(room: Room, flags: Uint8Array, learningRate: number): void {
    const { arena, kernels } = this.shared;
    const { compression } = this.optimizer;
    if (compression === 'none') {
      this.apply(room.byteOffset, flags, learningRate, 1);
      return;
    }
    const floats = arena.allocate(4 * this.spec.elems);
    kernels.half(compression, 'float32').decode(floats, room.byteOffset, this.spec.elems);
    this.apply(floats, flags, learningRate, 1);
    arena.release(floats);
  }

  /** Neighbouring variables that have a gradient go as one. */
  private apply(gradient: number, flags: Uint8Array, learningRate: number, scale: number): void {
    this.applied += 1;
    const { variables } = this.spec;
    for (let i = 0; i < variables.length; ) {
      if (!flags[i]) {
        i += 1;
        continue;
      }
      const { from } = variables[i]!;
      let end = from;
      for (; i < variables.length && flags[i]; i += 1) {
        end = variables[i]!.from + variables[i]!.elems;
        this.touched[i] = 1;
      }
      const at = (byteOffset: number): number => byteOffset + 4 * from;
      this.update.apply(
        { variable: at(this.values), gradient: at(gradient), slots: this.slots.map(at), elems: end - from },
        this.applied,
        learningRate,
        scale,
      );
    }
  }

  private block(value: number): number {
    const { elems } = this.spec;
    const at = this.shared.arena.allocate(4 * elems);
    this.taken.push(at);
    (this.shared.arena.view('float32', at, elems) as Float32Array).fill(value);
    return at;
  }
}
