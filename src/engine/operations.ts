/**
 * Carries out what was negotiated: one response after the other, in the order that is the same on all ranks, each as a plan over the transport. A small allreduce
 * whose operands the coordinator holds needs neither: `combine` there, `place` on every rank.
 *
 * Communication thread. Invariants: nothing here waits for a user; the operand of a reduction lies in the arena, in one piece (a fused operation of scattered calls is
 * gathered in the fusion region); the result of a gather or an alltoall is a buffer of its own that is handed to the main thread without a copy.
 */
import { execute, type Operand } from '../collective/execute';
import { isForOnePass, leastBytes } from '../collective/one_pass';
import { MOST_CHUNK_BYTES, type Policy, selectAllgather, selectBroadcast } from '../collective/select';
import { bytesPerElem, elemsOf } from '../dtype';
import { BugError, type ErrorRecord } from '../errors';
import { bytesOf, createMemory } from '../memory/arena';
import { type Kernels, makeKernels } from '../memory/kernels';
import type { Transport } from '../transport/transport';
import { bytesOfCall, type Call, isByElement } from './call';
import { formatOf } from './compression';
import { keepsResidual } from './compressor';
import { adasum, alltoall, reducescatter, type Seat } from './exchange';
import { FeedbackAllreduce } from './feedback';
import { type Group, Groups } from './groups';
import type { Regions, Submission } from './messages';
import { finisher, kernelOpOf, operandOf, prescale, type Workspace } from './operand';
import { activityOf } from './timeline';

export interface Decided {
  /** Of the calls: process set and name. */
  readonly keys: readonly string[];
  readonly kind: string;
  readonly processSet: number;
  readonly tag: number;
  /** Some have joined, this rank perhaps among them: what they contribute zeros to. */
  readonly zeros?: Call;
  readonly error?: ErrorRecord;
  /** Of a gather, for each part: rows on each member; of an alltoall, for each member: its splits; of a join the last rank, of an added set its id. */
  readonly sizes: readonly (readonly number[])[];
  /** There is nothing to carry out: this is what comes out. */
  readonly result?: Uint8Array;
  /** Of one call: what `placeOf` gave on each member. */
  readonly places?: readonly number[];
}

export interface OperationResult {
  readonly outputs?: ArrayBuffer[];
  readonly rows?: number[][];
}

const PAGE_BYTES = 1 << 16;

export class Operations {
  private readonly groups: Groups;
  private readonly own: Workspace;
  /** Where zeros are contributed from: it need not be part of the arena, which only the main thread gives out. */
  private spare?: Workspace;
  private readonly feedback: FeedbackAllreduce;
  /** Told what is done next. */
  onActivity?: (name: string) => void;
  /** Told how many bytes were copied on this host, beside what the transport moves: into and out of the fusion region, an own part into a gathered result. */
  onCopied?: (bytes: number) => void;

  constructor(
    private readonly memory: WebAssembly.Memory,
    private readonly kernels: Kernels,
    private readonly regions: Regions,
    private readonly transport: Transport,
    size: number,
    hostOf: (rank: number) => string,
    policy: Policy,
  ) {
    this.own = { memory, kernels, isShared: true };
    this.feedback = new FeedbackAllreduce(memory, kernels, regions.codec.byteOffset);
    this.groups = new Groups(transport, hostOf, policy);
    this.groups.add(
      0,
      Array.from({ length: size }, (_, rank) => rank),
    );
  }

  /** Completes the submissions' data in place, or returns gathered output (one result a submission). */
  async run(decided: Decided, submissions: readonly Submission[]): Promise<OperationResult[]> {
    const [submission] = submissions as [Submission];
    const { call } = submission;
    const group = this.groups.of(decided.processSet);
    const seat = this.seat(this.own, group, decided.tag);
    switch (decided.kind) {
      case 'allreduce':
        if (call.op === 'adasum') {
          this.onActivity?.(activityOf('adasum', call.kind));
          await adasum(seat, call, this.operandFor(call, this.own, submission.byteOffset, submission.bytes, group));
        } else if (this.isWithFeedback(call, group)) {
          await this.allreduceWithFeedback(call, this.own, submission.byteOffset, submission.bytes, group, seat);
        } else await this.allreduce(call, submissions, group, seat, decided.places);
        return submissions.map(() => ({}));
      case 'reducescatter':
        this.onActivity?.(activityOf('ring', call.kind));
        await reducescatter(seat, call, this.operandFor(call, this.own, submission.byteOffset, submission.bytes, group));
        return [{}];
      case 'broadcast':
        await this.broadcast(submission, seat);
        return [{}];
      case 'allgather':
        return [await this.allgather(submission, decided.sizes, seat)];
      case 'alltoall':
        this.onActivity?.(activityOf('pairwise', call.kind));
        this.onCopied?.(decided.sizes[group.position]![group.position]! * elemsOf(call.parts[0]!.slice(1)) * bytesPerElem(call.dtype));
        return [await alltoall(seat, call, this.operandOf(submission), decided.sizes)];
      case 'barrier':
        return [{}];
      case 'join':
        return [{ rows: decided.sizes.map((rows) => [...rows]) }];
      case 'add-set':
        this.groups.add(decided.sizes[0]![0]!, call.parts[0]!);
        return [{ rows: decided.sizes.map((rows) => [...rows]) }];
      case 'remove-set':
        this.groups.remove(call.parts[0]![0]!);
        this.feedback.forget(call.parts[0]![0]!);
        return [{}];
      default:
        throw new BugError(
          `The coordinator decided on '${decided.kind}', which this version does not know. Install the same version of khorovod everywhere.`,
        );
    }
  }

  /** This rank has joined: its part in an allreduce of the others. */
  async contributeZeros({ processSet, tag }: Decided, call: Call): Promise<void> {
    const bytes = bytesOfCall(call);
    const base = this.regions.scratch.byteOffset + this.regions.scratch.bytes;
    this.spare ??= makeWorkspace();
    const { memory } = this.spare;
    const missingBytes = base + bytes - memory.buffer.byteLength;
    if (missingBytes > 0) memory.grow(Math.ceil(missingBytes / PAGE_BYTES));
    bytesOf(memory, base, bytes).fill(0);
    const group = this.groups.of(processSet);
    const seat = this.seat(this.spare, group, tag);
    if (this.isWithFeedback(call, group)) return this.allreduceWithFeedback(call, this.spare, base, bytes, group, seat);
    const operand = this.operandFor(call, this.spare, base, bytes, group);
    if (call.op === 'adasum') await adasum(seat, call, operand);
    else await this.reduce(operand, group, seat);
  }

  /** Others are still at operations that are over here. */
  get isAwaited(): boolean {
    return this.groups.isAwaited;
  }
  /** Told when there are none any more. */
  set onAllThrough(tell: () => void) {
    this.groups.onAllThrough = tell;
  }

  /** Global ranks, ascending. */
  membersOf(processSet: number): readonly number[] {
    return this.groups.of(processSet).members;
  }

  /** Where the data of a call lies: its operand until it is carried out, then its result. */
  operandOf({ byteOffset, bytes }: Submission): Uint8Array {
    return this.view(byteOffset, bytes);
  }

  /**
   * Where the operand of a call lies for members that see it: they may reduce it as soon as all have submitted theirs, before they are asked.
   * @returns above 0; undefined: they are not to, or cannot
   */
  placeOf(submission: Submission): number | undefined {
    const { call, bytes } = submission;
    const { onePass, members } = this.groups.of(call.processSet);
    const isReady = isByElement(call) && call.kind === 'allreduce' && call.prescale === 1 && call.compression === 'none';
    if (!onePass || !isReady || bytes < leastBytes(members.length)) return undefined;
    const place = this.transport.heaps!.placeOf(this.operandOf(submission));
    return place === undefined ? undefined : place + 1;
  }

  /** @throws BugError the result is of another call */
  place(submission: Submission, result: Uint8Array): void {
    this.onActivity?.(activityOf('star', submission.call.kind));
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
    const size = operands.length;
    const format = formatOf(call, size);
    for (const [i, operand] of operands.entries()) {
      const at = i === 0 ? sum : next;
      this.view(at, bytes).set(operand);
      prescale(call, this.kernels, at, elems, size);
      if (format) this.kernels.half(format, call.dtype).round(at, elems);
      if (i > 0) this.kernels.reduce(call.dtype, kernelOpOf(call.op), sum, next, elems);
    }
    finisher(call, this.kernels, sum, size)?.(0, elems);
    return this.view(sum, bytes).slice();
  }

  private view(byteOffset: number, bytes: number): Uint8Array {
    return bytesOf(this.memory, byteOffset, bytes);
  }
  private seat({ memory }: Workspace, { members, position }: Group, tag: number): Seat {
    const scratch = bytesOf(memory, this.regions.scratch.byteOffset, this.regions.scratch.bytes);
    return { route: { transport: this.transport, members, tag }, position, scratch };
  }

  private async allreduce(
    call: Call,
    submissions: readonly Submission[],
    group: Group,
    seat: Seat,
    places?: readonly number[],
  ): Promise<void> {
    const totalBytes = submissions.reduce((sum, { bytes }) => sum + bytes, 0);
    const isScattered = submissions.some(
      ({ byteOffset }, i) => i > 0 && byteOffset !== submissions[i - 1]!.byteOffset + submissions[i - 1]!.bytes,
    );
    const base = isScattered ? this.regions.fusion.byteOffset : submissions[0]!.byteOffset;
    if (isScattered) {
      if (totalBytes > this.regions.fusion.bytes)
        throw new BugError(`A fused operation of ${totalBytes} bytes does not fit the fusion region. Please report it.`);
      this.onActivity?.('MEMCPY_IN_FUSION_BUFFER');
      this.pack(submissions, base, (slot, at, bytes) => this.kernels.copy(at, slot, bytes));
    }
    await this.reduce(this.operandFor(call, this.own, base, totalBytes, group), group, seat, places);
    if (!isScattered) return;
    this.onActivity?.('MEMCPY_OUT_FUSION_BUFFER');
    this.pack(submissions, base, (slot, at, bytes) => this.kernels.copy(slot, at, bytes));
  }

  private isWithFeedback({ compression }: Call, { members }: Group): boolean {
    return members.length > 1 && keepsResidual(compression);
  }

  /** Who has joined gives zeros, and what its residual still holds. */
  private async allreduceWithFeedback(
    call: Call,
    workspace: Workspace,
    base: number,
    bytes: number,
    group: Group,
    seat: Seat,
  ): Promise<void> {
    const { dtype, postscale } = call;
    const elems = bytes / bytesPerElem(dtype);
    prescale(call, workspace.kernels, base, elems, group.members.length);
    const onActivity = (algorithm: string, kind: string): void => this.onActivity?.(activityOf(algorithm, kind));
    const plainly: Call = { ...call, dtype: 'float32', op: 'sum', prescale: 1, postscale: 1, compression: 'none' };
    const sum = (count: number): Promise<void> => this.reduce(this.operandFor(plainly, workspace, base, 4 * count, group), group, seat);
    await this.feedback.run(call, { seat, operand: bytesOf(workspace.memory, base, bytes), sum, onActivity });
    if (postscale !== 1) workspace.kernels.scale(dtype, base, elems, postscale);
  }

  private operandFor(call: Call, workspace: Workspace, base: number, bytes: number, { members }: Group): Operand {
    return operandOf(call, workspace, base, bytes, members.length, this.regions.scratch.byteOffset);
  }

  private async reduce(operand: Operand, group: Group, { route, scratch }: Seat, places?: readonly number[]): Promise<void> {
    const { plan, algorithm } = this.groups.allreduceOf(operand.bytes.length / operand.bytesPerElem, operand.bytesPerElem, group);
    this.onActivity?.(activityOf(algorithm, 'allreduce'));
    const { onePass, members } = group;
    if (onePass && isForOnePass(algorithm, operand, members.length)) {
      // What all members see they sum where it lies, with the bits of the algorithm.
      const shared = { ...route, heaps: this.transport.heaps! };
      const chunkElems = Math.floor(MOST_CHUNK_BYTES / operand.bytesPerElem);
      if (await onePass.run(shared, operand, chunkElems, places)) return;
    }
    await execute(plan, route, operand, scratch);
  }

  private pack(submissions: readonly Submission[], base: number, move: (slot: number, at: number, bytes: number) => void): void {
    let at = base;
    for (const { byteOffset, bytes } of submissions) {
      move(byteOffset, at, bytes);
      at += bytes;
    }
    this.onCopied?.(at - base);
  }

  private async broadcast({ call, byteOffset, bytes }: Submission, { route, position, scratch }: Seat): Promise<void> {
    const { members } = route;
    const { plan, algorithm } = selectBroadcast({
      rank: position,
      size: members.length,
      root: members.indexOf(call.root),
      elems: bytes,
      bytesPerElem: 1,
    });
    this.onActivity?.(activityOf(algorithm, 'broadcast'));
    await execute(plan, route, { bytes: this.view(byteOffset, bytes), bytesPerElem: 1 }, scratch);
  }

  private async allgather(
    { call, byteOffset }: Submission,
    sizes: readonly (readonly number[])[],
    { route, position, scratch }: Seat,
  ): Promise<OperationResult> {
    const { members } = route;
    const outputs: ArrayBuffer[] = [];
    let at = byteOffset;
    for (const [part, shape] of call.parts.entries()) {
      const rowBytes = elemsOf(shape.slice(1)) * bytesPerElem(call.dtype);
      const bytesOf = sizes[part]!.map((rows) => rows * rowBytes);
      const output = new Uint8Array(bytesOf.reduce((sum, bytes) => sum + bytes, 0));
      const ownBytes = bytesOf[position]!;
      const ownAt = bytesOf.slice(0, position).reduce((sum, bytes) => sum + bytes, 0);
      output.set(this.view(at, ownBytes), ownAt);
      this.onCopied?.(ownBytes);
      at += ownBytes;
      const { plan, algorithm } = selectAllgather({ rank: position, size: members.length, elemsOf: bytesOf, bytesPerElem: 1 });
      this.onActivity?.(activityOf(algorithm, 'allgather'));
      await execute(plan, route, { bytes: output, bytesPerElem: 1 }, scratch);
      outputs.push(output.buffer as ArrayBuffer);
    }
    return { outputs, rows: sizes.map((rows) => [...rows]) };
  }
}

function makeWorkspace(): Workspace {
  const memory = createMemory();
  return { memory, kernels: makeKernels(memory), isShared: false };
}
