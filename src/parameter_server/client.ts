/**
 * A worker's side of the parameter servers: pushes buckets of gradients and puts the variables that come back into their place. Communication thread.
 *
 * A bucket's memory is used both ways: gradients leave from it, and a server answers a piece only when it has all of it, so the variables land where the gradients lay. One loop a server reads its stream.
 * Invariants: a call ends once, when all its pieces have come or its optimizer has failed; after a failure of an optimizer nothing of it succeeds on this worker.
 */
import { BugError, type ErrorRecord, HvdError, recordOf, WireError } from '../errors';
import { bytesOf } from '../memory/arena';
import type { Kernels } from '../memory/kernels';
import type { Transport } from '../transport/transport';
import { type BucketPlace, type Layout, layOut, type OwnPiece } from './layout';
import { HEAD_BYTES, type Head, type OptimizerSpec, readHead, writeHead } from './protocol';
import { PushWindow, WINDOW_BYTES_PER_SERVER } from './push_window';

export type ServerRequest =
  /** `gives`: this worker's variables are what training begins with; the others' call ends when those have come. */
  | { kind: 'open'; optimizer: number; spec: Omit<OptimizerSpec, 'pieces'>; buckets: readonly BucketPlace[]; gives: boolean }
  /** All buckets, of the variables (slot 0) or of a slot; `steps` that the slots have seen. */
  | { kind: 'values'; optimizer: number; slot: number; steps: number; isLast: boolean }
  | { kind: 'push'; optimizer: number; bucket: number; step: number; learningRate: number }
  /** Into all buckets. */
  | { kind: 'fetch'; optimizer: number; slot: number }
  /** Ends when nothing is written into the buckets any more. */
  | { kind: 'close'; optimizer: number };
export interface ServerSubmission {
  readonly id: number;
  readonly slot: number;
  readonly request: ServerRequest;
}

interface Call {
  readonly submission: ServerSubmission;
  missing: number;
}
interface Used extends Layout {
  readonly spec: Omit<OptimizerSpec, 'pieces'>;
  readonly buckets: readonly BucketPlace[];
  open?: Call;
  /** By bucket. */
  readonly pushes: Map<number, Call>;
  readonly window: PushWindow;
  /** By piece: what leaves when its turn comes. */
  readonly waiting: Map<OwnPiece, readonly Uint8Array[]>;
  fetch?: Call;
  close?: Call;
  steps: number;
  failure?: ErrorRecord;
}

export interface ClientOptions {
  readonly pushes: Transport;
  readonly pulls: Transport;
  /** Their numbers in the transports. */
  readonly servers: readonly number[];
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  /** @param steps of a fetch: that the slots have seen */
  complete(submission: ServerSubmission, result: { error?: ErrorRecord; steps?: number }): void;
  /** A server speaks nonsense, or is gone. */
  fail(error: Error): void;
}

const notOpen = (optimizer: number): BugError => new BugError(`Optimizer ${optimizer} was used before it was opened. Please report it.`);

export class ServerClient {
  private readonly used = new Map<number, Used>();
  private isReading = false;
  private failure?: HvdError;

  constructor(private readonly options: ClientOptions) {}

  submit(submission: ServerSubmission): void {
    const { request } = submission;
    const used = this.used.get(request.optimizer);
    if (request.kind === 'open') this.open(submission, request);
    else if (!used || (used.failure && request.kind !== 'close'))
      this.options.complete(submission, { error: used?.failure ?? recordOf(this.failure ?? notOpen(request.optimizer)) });
    else if (request.kind === 'values') this.giveValues(submission, used, request);
    else if (request.kind === 'push') this.push(submission, used, request);
    else if (request.kind === 'fetch') this.fetch(submission, used, request);
    else this.close(submission, used, request.optimizer);
  }

  /** Everything pending fails with that, and everything later. */
  abort(error: HvdError): void {
    this.failure ??= error;
    for (const [number, used] of this.used) {
      this.failOptimizer(number, recordOf(this.failure));
      if (used.close) this.options.complete(used.close.submission, { error: recordOf(this.failure) });
      used.close = undefined;
    }
  }

  private open(submission: ServerSubmission, { optimizer, spec, buckets, gives }: ServerRequest & { kind: 'open' }): void {
    if (this.failure) {
      this.options.complete(submission, { error: recordOf(this.failure) });
      return;
    }
    const { servers } = this.options;
    const layout = layOut(buckets, servers.length);
    const holders = layout.byServer.filter((own) => own.length > 0).length;
    const used: Used = {
      ...layout,
      spec,
      buckets,
      pushes: new Map(),
      // Where answers are held back until others have caught up, nothing waits for them.
      window: new PushWindow(
        layout.pieces.map(({ elems }) => 4 * elems),
        spec.mode.kind === 'ssp' ? Number.POSITIVE_INFINITY : holders * WINDOW_BYTES_PER_SERVER,
      ),
      waiting: new Map(),
      steps: 0,
      open: { submission, missing: holders + (gives ? 0 : layout.pieces.length) },
    };
    this.used.set(optimizer, used);
    this.read();
    for (const [server, own] of layout.byServer.entries()) {
      if (own.length === 0) continue;
      const full: OptimizerSpec = { ...spec, pieces: own.map(({ elems, variables }) => ({ elems, variables })) };
      const text = Buffer.from(JSON.stringify(full));
      void this.post(server, [writeHead({ kind: 'open', optimizer, textBytes: text.length }), text]);
    }
    if (holders === 0) this.end(used, 'open');
  }

  private giveValues(
    submission: ServerSubmission,
    used: Used,
    { optimizer, slot, steps, isLast }: ServerRequest & { kind: 'values' },
  ): void {
    const sent: Array<Promise<void>> = [];
    for (const own of used.byServer)
      for (const piece of own) {
        const mark = isLast && piece.number === own.length - 1;
        const head = writeHead({ kind: 'values', optimizer, piece: piece.number, slot, step: steps, mark });
        sent.push(this.post(piece.server, [head, this.bytesOf(used, piece)]));
      }
    // The memory is the main thread's again when all of it has left.
    void Promise.all(sent).then(
      () => this.options.complete(submission, { error: used.failure }),
      () => this.options.complete(submission, { error: used.failure ?? recordOf(new HvdError('The servers could not be reached.')) }),
    );
  }

  private push(
    submission: ServerSubmission,
    used: Used,
    { optimizer, bucket, step, learningRate }: ServerRequest & { kind: 'push' },
  ): void {
    const { byteOffset, elems, variables, halvesOffset } = used.buckets[bucket]!;
    const { compression } = used.spec;
    const flags = this.floats(byteOffset + 4 * elems, variables.length + 1);
    const mark = Number.isNaN(flags[variables.length]!);
    const has = Uint8Array.from(flags.subarray(0, variables.length), (flag) => Number(flag > 0));
    flags.fill(0);
    const own = used.pieces.filter((piece) => piece.bucket === bucket);
    used.pushes.set(bucket, { submission, missing: own.length });
    for (const piece of own) {
      const head = writeHead({ kind: 'push', optimizer, piece: piece.number, step, learningRate, mark });
      const owned = Uint8Array.from(piece.owners, (variable) => has[variable]!);
      let data = this.bytesOf(used, piece);
      if (compression !== 'none') {
        const at = halvesOffset! + 2 * piece.from;
        this.options.kernels.half(compression, 'float32').encode(byteOffset + 4 * piece.from, at, piece.elems);
        data = bytesOf(this.options.memory, at, 2 * piece.elems);
      }
      used.waiting.set(piece, [head, owned, data]);
    }
    this.sendPieces(used, used.window.add(own.map(({ index }) => index)));
    if (own.length === 0) this.endPush(used, bucket);
  }

  private sendPieces(used: Used, indexes: readonly number[]): void {
    for (const index of indexes) {
      const piece = used.pieces[index]!;
      void this.post(piece.server, used.waiting.get(piece)!);
      used.waiting.delete(piece);
    }
  }

  private fetch(submission: ServerSubmission, used: Used, { optimizer, slot }: ServerRequest & { kind: 'fetch' }): void {
    used.fetch = { submission, missing: used.pieces.length };
    for (const { server, number } of used.pieces) void this.post(server, [writeHead({ kind: 'fetch', optimizer, piece: number, slot })]);
    if (used.pieces.length === 0) this.end(used, 'fetch');
  }

  private close(submission: ServerSubmission, used: Used, optimizer: number): void {
    if (this.failure) {
      this.options.complete(submission, { error: recordOf(this.failure) });
      return;
    }
    const holders = used.byServer.flatMap((own, server) => (own.length > 0 ? [server] : []));
    used.close = { submission, missing: holders.length };
    for (const server of holders) void this.post(server, [writeHead({ kind: 'close', optimizer })]);
    if (holders.length === 0) this.endClose(used, optimizer);
  }

  // ───── what servers say ─────

  private read(): void {
    if (this.isReading) return;
    this.isReading = true;
    for (const server of this.options.servers.keys()) void this.listen(server).catch((error: Error) => this.options.fail(error));
  }

  private async listen(server: number): Promise<void> {
    const { pulls, servers } = this.options;
    const from = servers[server]!;
    const bytes = new Uint8Array(HEAD_BYTES);
    for (;;) {
      await pulls.recv(from, 0, bytes);
      const head = readHead(bytes);
      const used = this.used.get(head.optimizer);
      if (!used) throw new WireError(`Server ${server} spoke of optimizer ${head.optimizer}, which this worker has not opened.`);
      if (head.kind === 'opened') this.count(used, used.open, 'open');
      else if (head.kind === 'values') await this.takeValues(server, used, head);
      else if (head.kind === 'closed') {
        if (used.close && --used.close.missing === 0) this.endClose(used, head.optimizer);
      } else if (head.kind === 'failed') {
        const text = new Uint8Array(head.textBytes);
        await pulls.recv(from, 0, text);
        this.failOptimizer(head.optimizer, JSON.parse(Buffer.from(text).toString()) as ErrorRecord);
      } else throw new WireError(`Server ${server} sent '${head.kind}', which only workers send.`);
    }
  }

  private async takeValues(server: number, used: Used, head: Head): Promise<void> {
    const { pulls, servers } = this.options;
    const piece = used.byServer[server]![head.piece];
    if (!piece) throw new WireError(`Server ${server} sent piece ${head.piece} of '${used.spec.name}', which it does not hold.`);
    const touched = new Uint8Array(piece.variables.length);
    await pulls.recv(servers[server]!, 0, touched);
    await pulls.recv(servers[server]!, 0, this.bytesOf(used, piece));
    if (head.slot > 0) {
      used.steps = Math.max(used.steps, head.step);
      return this.count(used, used.fetch, 'fetch');
    }
    if (used.open) return this.count(used, used.open, 'open');
    const { byteOffset, elems, variables } = used.buckets[piece.bucket]!;
    const flags = this.floats(byteOffset + 4 * elems, variables.length + 1);
    for (const [i, variable] of piece.owners.entries()) if (touched[i]) flags[variable] = 1;
    if (head.mark) flags[variables.length] = Number.NaN;
    // What had not left when the optimizer failed is not there any more.
    if (!used.failure) this.sendPieces(used, used.window.answered(piece.index));
    const call = used.pushes.get(piece.bucket);
    if (call && --call.missing === 0) this.endPush(used, piece.bucket);
  }

  private count(used: Used, call: Call | undefined, what: 'open' | 'fetch'): void {
    if (call && --call.missing === 0) this.end(used, what);
  }
  private end(used: Used, what: 'open' | 'fetch'): void {
    const { submission } = used[what]!;
    used[what] = undefined;
    this.options.complete(submission, { steps: used.steps });
  }
  private endPush(used: Used, bucket: number): void {
    const { submission } = used.pushes.get(bucket)!;
    used.pushes.delete(bucket);
    this.options.complete(submission, {});
  }

  private endClose(used: Used, optimizer: number): void {
    this.used.delete(optimizer);
    this.options.complete(used.close!.submission, {});
  }

  private failOptimizer(number: number, record: ErrorRecord): void {
    const used = this.used.get(number);
    if (!used || used.failure) return;
    used.failure = record;
    for (const call of [used.open, used.fetch, ...used.pushes.values()])
      if (call) this.options.complete(call.submission, { error: record });
    used.open = used.fetch = undefined;
    used.pushes.clear();
    used.waiting.clear();
  }

  private post(server: number, messages: readonly Uint8Array[]): Promise<void> {
    const { pushes, servers } = this.options;
    const sent = messages.map((message) => pushes.send(servers[server]!, 0, message));
    const all = Promise.all(sent).then(() => {});
    // A link that is gone is reported by whoever reads from it.
    all.catch(() => {});
    return all;
  }

  private bytesOf({ buckets }: Used, { bucket, from, elems }: OwnPiece): Uint8Array {
    return bytesOf(this.options.memory, buckets[bucket]!.byteOffset + 4 * from, 4 * elems);
  }
  private floats(byteOffset: number, elems: number): Float32Array {
    const { buffer } = bytesOf(this.options.memory, byteOffset, 4 * elems);
    return new Float32Array(buffer, byteOffset, elems);
  }
}
