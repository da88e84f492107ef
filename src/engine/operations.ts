/**
 * Carries out what was negotiated: one response after the other, in the order that is the same on all ranks, each as a plan over the transport. A small allreduce
 * whose operands the coordinator holds needs neither: `combine` there, `place` on every rank.
 *
 * Communication thread. Invariants: nothing here waits for a user; the operand of a reduction lies in the arena, in one piece (a fused operation of scattered calls is
 * gathered in the fusion region); the result of a gather is a buffer of its own that is handed to the main thread without a copy.
 */
import { execute, type Operand } from '../collective/execute';
import type { Plan } from '../collective/plan';
import { selectAllgather, selectAllreduce, selectBroadcast } from '../collective/select';
import { bytesPerElem, elemsOf, isFloat } from '../dtype';
import { BugError, type ErrorRecord } from '../errors';
import { bytesOf } from '../memory/arena';
import type { KernelOp, Kernels } from '../memory/kernels';
import type { Transport } from '../transport/transport';
import type { Call, CallOp } from './call';
import { formatOf, wireFormOf } from './compression';
import type { Regions, Submission } from './messages';

export interface Decided {
  readonly names: readonly string[];
  readonly kind: string;
  readonly error?: ErrorRecord;
  /** For each part, rows on each member. */
  readonly sizes: readonly (readonly number[])[];
  /** There is nothing to carry out: this is what comes out. */
  readonly result?: Uint8Array;
}

export interface OperationResult {
  readonly outputs?: ArrayBuffer[];
  readonly rows?: number[][];
}

/** Plans are kept for sizes that come again, until they have so many steps together (about 100 bytes each): those of 1 GiB on 2 ranks have 4,096. */
const MOST_KEPT_STEPS = 1 << 16;
const MOST_ITEM_BYTES = 16;

export class Operations {
  private tag = 0;
  private readonly plans = new Map<number, Plan>();
  private keptSteps = 0;

  constructor(
    private readonly memory: WebAssembly.Memory,
    private readonly kernels: Kernels,
    private readonly regions: Regions,
    private readonly transport: Transport,
    /** Global ranks, ascending. */
    private readonly members: readonly number[],
  ) {}

  /** Completes the submissions' data in place, or returns gathered output (one result a submission). */
  async run(decided: Decided, submissions: readonly Submission[]): Promise<OperationResult[]> {
    const call = submissions[0]!.call;
    switch (decided.kind) {
      case 'allreduce':
        await this.allreduce(call, submissions);
        return submissions.map(() => ({}));
      case 'broadcast':
        await this.broadcast(submissions[0]!);
        return [{}];
      case 'allgather':
        return [await this.allgather(submissions[0]!, decided.sizes)];
      case 'barrier':
        return [{}];
      default:
        throw new BugError(
          `The coordinator decided on '${decided.kind}', which this version does not know. Install the same version of khorovod everywhere.`,
        );
    }
  }

  /** Where the data of a call lies: its operand until it is carried out, then its result. */
  operandOf({ byteOffset, bytes }: Submission): Uint8Array {
    return this.view(byteOffset, bytes);
  }

  /** @throws BugError the result is of another call */
  place(submission: Submission, result: Uint8Array): void {
    if (result.length !== submission.bytes)
      throw new BugError(`The result of '${submission.call.name}' has ${result.length} bytes, not ${submission.bytes}. Please report it.`);
    this.operandOf(submission).set(result);
  }

  /** An allreduce by the one rank that holds every member's operand, in the order of members. */
  combine(call: Call, operands: readonly Uint8Array[]): Uint8Array {
    const sum = this.regions.star.byteOffset;
    const next = sum + this.regions.star.bytes / 2;
    const bytes = operands[0]!.length;
    const elems = bytes / bytesPerElem(call.dtype);
    const format = formatOf(call, this.members.length);
    for (const [i, operand] of operands.entries()) {
      const at = i === 0 ? sum : next;
      this.view(at, bytes).set(operand);
      this.begin(call, at, elems);
      if (format) this.kernels.half(format, call.dtype).round(at, elems);
      if (i > 0) this.kernels.reduce(call.dtype, kernelOpOf(call.op), sum, next, elems);
    }
    this.finisher(call, sum)?.(0, elems);
    return this.view(sum, bytes).slice();
  }

  private get position(): number {
    return this.members.indexOf(this.transport.rank);
  }
  private nextTag(): number {
    this.tag = (this.tag + 1) >>> 0;
    return this.tag;
  }
  private view(byteOffset: number, bytes: number): Uint8Array {
    return bytesOf(this.memory, byteOffset, bytes);
  }
  private get scratch(): Uint8Array {
    return this.view(this.regions.scratch.byteOffset, this.regions.scratch.bytes);
  }
  private context() {
    return { transport: this.transport, members: this.members, tag: this.nextTag() };
  }

  private async allreduce(call: Call, submissions: readonly Submission[]): Promise<void> {
    const itemBytes = bytesPerElem(call.dtype);
    const totalBytes = submissions.reduce((sum, { bytes }) => sum + bytes, 0);
    const isScattered = submissions.some(
      ({ byteOffset }, i) => i > 0 && byteOffset !== submissions[i - 1]!.byteOffset + submissions[i - 1]!.bytes,
    );
    const base = isScattered ? this.regions.fusion.byteOffset : submissions[0]!.byteOffset;
    if (isScattered) {
      if (totalBytes > this.regions.fusion.bytes)
        throw new BugError(`A fused operation of ${totalBytes} bytes does not fit the fusion region. Please report it.`);
      this.pack(submissions, base, (slot, at, bytes) => this.kernels.copy(at, slot, bytes));
    }
    const elems = totalBytes / itemBytes;
    this.begin(call, base, elems);
    const format = formatOf(call, this.members.length);
    const scratchOffset = this.regions.scratch.byteOffset;
    const operand: Operand = {
      bytes: this.view(base, totalBytes),
      bytesPerElem: itemBytes,
      reduce: (elem, count, scratchByte) =>
        this.kernels.reduce(call.dtype, kernelOpOf(call.op), base + elem * itemBytes, scratchOffset + scratchByte, count),
      finish: this.finisher(call, base),
      ...(format && wireFormOf(this.kernels, format, call, kernelOpOf(call.op), base, scratchOffset)),
    };
    await execute(this.allreducePlan(elems, itemBytes), this.context(), operand, this.scratch);
    if (isScattered) this.pack(submissions, base, (slot, at, bytes) => this.kernels.copy(slot, at, bytes));
  }

  /** A step reduces the same sizes again and again. */
  private allreducePlan(elems: number, itemBytes: number): Plan {
    const key = elems * MOST_ITEM_BYTES + itemBytes;
    let plan = this.plans.get(key);
    if (!plan) {
      plan = selectAllreduce({ rank: this.position, size: this.members.length, elems, bytesPerElem: itemBytes }).plan;
      this.keptSteps += plan.sends.length + plan.recvs.length + 1;
      if (this.keptSteps > MOST_KEPT_STEPS) {
        this.plans.clear();
        this.keptSteps = 0;
      }
      this.plans.set(key, plan);
    }
    return plan;
  }

  private pack(submissions: readonly Submission[], base: number, move: (slot: number, at: number, bytes: number) => void): void {
    let at = base;
    for (const { byteOffset, bytes } of submissions) {
      move(byteOffset, at, bytes);
      at += bytes;
    }
  }

  /** What an element gets before it is summed. */
  private begin(call: Call, at: number, elems: number): void {
    const factor = formatOf(call, this.members.length) ? call.prescale / this.divisorOf(call) : call.prescale;
    if (factor !== 1) this.kernels.scale(call.dtype, at, elems, factor);
  }
  private divisorOf({ op }: Call): number {
    return op === 'average' ? this.members.length : 1;
  }

  /** What it gets once it is: floats one factor, integers the exact truncating quotient, then the truncated product; what is compressed has been divided. */
  private finisher(call: Call, base: number): Operand['finish'] {
    const { dtype, postscale } = call;
    const itemBytes = bytesPerElem(dtype);
    const format = formatOf(call, this.members.length);
    if (format) {
      const half = this.kernels.half(format, dtype);
      return (elem, elems) => {
        if (postscale !== 1) this.kernels.scale(dtype, base + elem * itemBytes, elems, postscale);
        half.round(base + elem * itemBytes, elems);
      };
    }
    const divisor = this.divisorOf(call);
    if (divisor === 1 && postscale === 1) return undefined;
    if (isFloat(dtype)) return (elem, elems) => this.kernels.scale(dtype, base + elem * itemBytes, elems, postscale / divisor);
    return (elem, elems) => {
      if (divisor !== 1) this.kernels.divide(dtype, base + elem * itemBytes, elems, divisor);
      if (postscale !== 1) this.kernels.scale(dtype, base + elem * itemBytes, elems, postscale);
    };
  }

  private async broadcast({ call, byteOffset, bytes }: Submission): Promise<void> {
    const { plan } = selectBroadcast({
      rank: this.position,
      size: this.members.length,
      root: this.members.indexOf(call.root),
      elems: bytes,
      bytesPerElem: 1,
    });
    await execute(plan, this.context(), { bytes: this.view(byteOffset, bytes), bytesPerElem: 1 }, this.scratch);
  }

  private async allgather({ call, byteOffset }: Submission, sizes: readonly (readonly number[])[]): Promise<OperationResult> {
    const outputs: ArrayBuffer[] = [];
    let at = byteOffset;
    for (const [part, shape] of call.parts.entries()) {
      const rowBytes = elemsOf(shape.slice(1)) * bytesPerElem(call.dtype);
      const bytesOf = sizes[part]!.map((rows) => rows * rowBytes);
      const output = new Uint8Array(bytesOf.reduce((sum, bytes) => sum + bytes, 0));
      const ownBytes = bytesOf[this.position]!;
      const ownAt = bytesOf.slice(0, this.position).reduce((sum, bytes) => sum + bytes, 0);
      output.set(this.view(at, ownBytes), ownAt);
      at += ownBytes;
      const { plan } = selectAllgather({ rank: this.position, size: this.members.length, elemsOf: bytesOf, bytesPerElem: 1 });
      await execute(plan, this.context(), { bytes: output, bytesPerElem: 1 }, this.scratch);
      outputs.push(output.buffer as ArrayBuffer);
    }
    return { outputs, rows: sizes.map((rows) => [...rows]) };
  }
}

/** An average is a sum, divided at the end. */
const kernelOpOf = (op: CallOp): KernelOp => (op === 'average' ? 'sum' : op);
