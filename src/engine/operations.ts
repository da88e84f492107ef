/**
 * Carries out what was negotiated: one response after the other, in the order that is the same on all ranks, each as a plan over the transport. A small allreduce
 * whose operands the coordinator holds needs neither: `combine` there, `place` on every rank.
 *
 * Communication thread. Invariants: nothing here waits for a user; the operand of a reduction lies in the arena, in one piece (a fused operation of scattered calls is
 * gathered in the fusion region); the result of a gather or an alltoall is a buffer of its own that is handed to the main thread without a copy.
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
import { adasum, alltoall, reducescatter, type Seat } from './exchange';
import type { Regions, Submission } from './messages';

export interface Decided {
  readonly names: readonly string[];
  readonly kind: string;
  readonly error?: ErrorRecord;
  /** Of a gather, for each part: rows on each member; of an alltoall, for each member: its splits. */
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
    const [submission] = submissions as [Submission];
    const { call } = submission;
    switch (decided.kind) {
      case 'allreduce':
        if (call.op === 'adasum') await adasum(this.seat(), call, this.operandFor(call, submission.byteOffset, submission.bytes));
        else await this.allreduce(call, submissions);
        return submissions.map(() => ({}));
      case 'reducescatter':
        await reducescatter(this.seat(), call, this.operandFor(call, submission.byteOffset, submission.bytes));
        return [{}];
      case 'broadcast':
        await this.broadcast(submission);
        return [{}];
      case 'allgather':
        return [await this.allgather(submission, decided.sizes)];
      case 'alltoall':
        return [await alltoall(this.seat(), call, this.operandOf(submission), decided.sizes)];
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
    for (const [i, operand] of operands.entries()) {
      const at = i === 0 ? sum : next;
      this.view(at, bytes).set(operand);
      if (call.prescale !== 1) this.kernels.scale(call.dtype, at, elems, call.prescale);
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
  private seat(): Seat {
    return { route: this.context(), position: this.position, scratch: this.scratch };
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
    const operand = this.operandFor(call, base, totalBytes);
    await execute(this.allreducePlan(totalBytes / itemBytes, itemBytes), this.context(), operand, this.scratch);
    if (isScattered) this.pack(submissions, base, (slot, at, bytes) => this.kernels.copy(slot, at, bytes));
  }

  /** What lies at `base` as the operand of a reduction, prescaled. */
  private operandFor(call: Call, base: number, bytes: number): Operand {
    const itemBytes = bytesPerElem(call.dtype);
    if (call.prescale !== 1) this.kernels.scale(call.dtype, base, bytes / itemBytes, call.prescale);
    const scratchOffset = this.regions.scratch.byteOffset;
    return {
      bytes: this.view(base, bytes),
      bytesPerElem: itemBytes,
      reduce: (elem, count, scratchByte) =>
        this.kernels.reduce(call.dtype, kernelOpOf(call.op), base + elem * itemBytes, scratchOffset + scratchByte, count),
      finish: this.finisher(call, base),
    };
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

  /** What an element gets once it is summed: floats one factor, integers the exact truncating quotient, then the truncated product. */
  private finisher({ dtype, op, postscale }: Call, base: number): Operand['finish'] {
    const itemBytes = bytesPerElem(dtype);
    const divisor = op === 'average' ? this.members.length : 1;
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
function kernelOpOf(op: CallOp): KernelOp {
  if (op === 'adasum') throw new BugError('adasum is no operation on single elements. Please report it.');
  return op === 'average' ? 'sum' : op;
}
