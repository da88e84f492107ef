/**
 * A parameter server: takes pushes from the workers, has them applied, answers with variables. Communication thread, of a process of its own or of a worker that serves a share.
 *
 * One loop a worker reads its stream; what it announces is read into the holding of its optimizer (holding.ts decides), and answers go to whoever may go on. Invariants: an answer carries what the
 * variables are while it is sent: the same for all workers in synchronous mode; otherwise a push that is applied meanwhile shows in what has not left yet, which may be the second half of an element. A
 * worker that is gone is served no longer and, unless the mode is synchronous, missed by nobody; a failure of one optimizer is told to its workers and to nobody else; what nobody can ask for is freed.
 */
import { type ErrorRecord, HvdError, MismatchError, PeerError, recordOf, WireError } from '../errors';
import { log } from '../log';
import type { Transport } from '../transport/transport';
import { type Answer, Holding } from './holding';
import { HEAD_BYTES, type Head, type OptimizerSpec, readHead, readSpec, writeHead } from './protocol';
import { ServerMemory } from './server_memory';

export interface ServerOptions {
  /** Workers' pushes come over it. */
  readonly pushes: Transport;
  /** Answers leave over it. */
  readonly pulls: Transport;
  /** How a worker is called in messages: `rank 1 on host h`. */
  nameOf(worker: number): string;
  readonly stallWarningMs: number;
  /** 0: never. */
  readonly stallFailMs: number;
  /** What this worker sends cannot be taken, or its stream has failed: nothing of it is read any more. */
  lose(worker: number, error: HvdError): void;
}

/** What one worker has opened, by its own numbers. */
type Opened = Map<number, Holding>;

export class ParameterServer {
  private readonly memory = new ServerMemory();
  private readonly holdings = new Map<string, { readonly holding: Holding; readonly text: string }>();
  /** Of the workers that are served. */
  private readonly opened = new Map<number, Opened>();
  private readonly gone = new Map<number, HvdError>();
  private warnedMs = 0;

  constructor(private readonly options: ServerOptions) {}

  /** From now on this worker is served. */
  attach(worker: number): void {
    if (this.opened.has(worker) || this.gone.has(worker)) return;
    this.opened.set(worker, new Map());
    void this.serve(worker).catch((error: Error) => this.lose(worker, error));
  }

  get isServing(): boolean {
    return this.opened.size > 0;
  }

  /** The worker has left, or (with an error) failed, or was lost. */
  depart(worker: number, error?: HvdError): void {
    if (this.gone.has(worker)) return;
    const reason = error ?? new PeerError(`Worker ${this.options.nameOf(worker)} has left the job.`, { peer: worker });
    this.gone.set(worker, reason);
    this.opened.delete(worker);
    for (const { holding } of this.holdings.values()) if (holding.spec.workers.includes(worker)) this.part(worker, holding, reason);
  }

  /** What nobody holds any more is gone. */
  get usedBytes(): number {
    return this.memory.arena.usedBytes;
  }

  /** Once a beat: who waits for whom, for how long. */
  inspectStalls(nowMs: number): void {
    const { stallWarningMs, stallFailMs } = this.options;
    for (const { holding } of this.holdings.values()) {
      const stalled = holding.failure ? undefined : holding.stalled(nowMs);
      if (!stalled) continue;
      if (stallFailMs > 0 && stalled.forMs > stallFailMs) {
        holding.stall(stalled);
        this.tellFailure(holding);
      } else if (stallWarningMs > 0 && stalled.forMs > stallWarningMs && nowMs - this.warnedMs > stallWarningMs) {
        this.warnedMs = nowMs;
        log('WARNING', `For ${(stalled.forMs / 1000).toFixed(0)} s ${stalled.why}.`);
      }
    }
  }

  // ───── what a worker says ─────

  private async serve(worker: number): Promise<void> {
    const { pushes } = this.options;
    const bytes = new Uint8Array(HEAD_BYTES);
    const opened = this.opened.get(worker)!;
    while (this.opened.get(worker) === opened) {
      await pushes.recv(worker, 0, bytes);
      const head = readHead(bytes);
      if (head.kind === 'open') await this.open(worker, head);
      else {
        const holding = opened.get(head.optimizer);
        if (!holding) throw new WireError(`A worker used optimizer ${head.optimizer}, which it has not opened.`);
        if (head.kind === 'values') await this.takeValues(worker, holding, head);
        else if (head.kind === 'push') await this.takePush(worker, holding, head);
        else if (head.kind === 'fetch') this.send(worker, holding, head.piece, { slot: head.slot, step: holding.steps });
        else if (head.kind === 'close') this.close(worker, holding, head);
        else throw new WireError(`A worker sent '${head.kind}', which only servers send.`);
      }
    }
  }

  private async open(worker: number, head: Head): Promise<void> {
    const bytes = new Uint8Array(head.textBytes);
    await this.options.pushes.recv(worker, 0, bytes);
    const text = Buffer.from(bytes).toString();
    const spec = readSpec(text);
    const known = this.holdings.get(spec.name);
    let holding: Holding;
    try {
      holding = known?.holding ?? new Holding(spec, this.memory);
    } catch (error) {
      return this.sendFailure(worker, head.optimizer, recordOf(error instanceof HvdError ? error : new HvdError((error as Error).message)));
    }
    if (!known) this.holdings.set(spec.name, { holding, text });
    this.opened.get(worker)?.set(head.optimizer, holding);
    if (known && known.text !== text) holding.fail(mismatch(holding.spec, spec, this.options.nameOf(worker)));
    else holding.open(worker);
    for (const [one, reason] of this.gone) {
      if (!spec.workers.includes(one)) continue;
      const consequence = this.consequence(holding, one, reason);
      holding.depart(one, consequence);
      // Who begins now waits for all.
      if (holding.isSync) holding.fail(consequence);
    }
    if (holding.failure) return this.tellFailure(holding);
    this.post(worker, [writeHead({ kind: 'opened', optimizer: head.optimizer })]);
    if (holding.isReady && worker !== holding.giver) this.sendAll(worker, holding);
  }

  private async takeValues(worker: number, holding: Holding, head: Head): Promise<void> {
    if (worker !== holding.giver || holding.isReady)
      throw new WireError(`Worker ${worker} sent what '${holding.spec.name}' begins with, which is not its to say.`);
    await this.options.pushes.recv(worker, 0, holding.bytesOf(head.piece, head.slot));
    if (!head.mark) return;
    holding.begin(head.step);
    for (const other of holding.openers) if (other !== worker) this.sendAll(other, holding);
  }

  private async takePush(worker: number, holding: Holding, { piece, step, learningRate, mark }: Head): Promise<void> {
    const { pushes } = this.options;
    const flags = new Uint8Array(holding.touchedOf(piece).length);
    await pushes.recv(worker, 0, flags);
    const isKnownToHaveFailed = holding.failure !== undefined;
    const room = await holding.room(worker, piece);
    try {
      await pushes.recv(worker, 0, this.memory.bytesOf(room));
    } catch (error) {
      holding.abandon(room);
      this.tidy(holding);
      throw error;
    }
    if (!holding.failure) this.answer(holding, holding.take({ worker, piece, step, learningRate, flags, isFailed: mark }, room));
    else {
      holding.abandon(room);
      if (!isKnownToHaveFailed) this.tellFailure(holding);
    }
    this.tidy(holding);
  }

  /** Nothing of it goes to this worker afterwards. */
  private close(worker: number, holding: Holding, { optimizer }: Head): void {
    this.opened.get(worker)?.delete(optimizer);
    this.part(worker, holding, new PeerError(`Worker ${this.options.nameOf(worker)} has disposed of its optimizer.`, { peer: worker }));
    this.post(worker, [writeHead({ kind: 'closed', optimizer })]);
  }

  private part(worker: number, holding: Holding, reason: HvdError): void {
    const answers = holding.depart(worker, this.consequence(holding, worker, reason));
    if (holding.failure) this.tellFailure(holding);
    else this.answer(holding, answers);
    this.tidy(holding);
  }

  private tidy(holding: Holding): void {
    const { name } = holding.spec;
    if (!holding.isOver || this.holdings.get(name)?.holding !== holding) return;
    this.holdings.delete(name);
    holding.free();
  }

  // ───── what it is told ─────

  private answer(holding: Holding, answers: readonly Answer[]): void {
    for (const { worker, piece, isFailed } of answers) this.send(worker, holding, piece, { mark: isFailed });
  }

  private sendAll(worker: number, holding: Holding): void {
    for (const piece of holding.spec.pieces.keys()) this.send(worker, holding, piece, {});
  }

  private send(worker: number, holding: Holding, piece: number, fields: Partial<Head>): void {
    const optimizer = this.numberOf(worker, holding);
    if (optimizer === undefined) return;
    const head = writeHead({ kind: 'values', optimizer, piece, ...fields });
    this.post(worker, [head, holding.touchedOf(piece).slice(), holding.bytesOf(piece, fields.slot)]);
  }

  /** To all that have opened it, by whatever description. */
  private tellFailure(holding: Holding): void {
    const record = recordOf(holding.failure);
    for (const worker of this.opened.keys()) {
      const optimizer = this.numberOf(worker, holding);
      if (optimizer !== undefined) this.sendFailure(worker, optimizer, record);
    }
  }

  private sendFailure(worker: number, optimizer: number, record: ErrorRecord): void {
    const text = Buffer.from(JSON.stringify(record));
    this.post(worker, [writeHead({ kind: 'failed', optimizer, textBytes: text.length }), text]);
  }

  /** In order; what cannot be sent is the link's to report. */
  private post(worker: number, messages: readonly Uint8Array[]): void {
    for (const message of messages) void this.options.pulls.send(worker, 0, message).catch(() => {});
  }

  private numberOf(worker: number, holding: Holding): number | undefined {
    for (const [number, one] of this.opened.get(worker) ?? []) if (one === holding) return number;
    return undefined;
  }

  private lose(worker: number, error: Error): void {
    if (this.gone.has(worker)) return;
    const reason = error instanceof HvdError ? error : new HvdError(`The server failed: ${error.stack ?? error.message}.`);
    this.depart(worker, reason);
    this.options.lose(worker, reason);
  }

  private consequence(holding: Holding, worker: number, cause: HvdError): HvdError {
    return new PeerError(
      `'${holding.spec.name}' cannot go on without worker ${this.options.nameOf(worker)} (${holding.isSync ? 'synchronous mode' : 'its variables are what training begins with'}): ${cause.message}`,
      { peer: worker, cause },
    );
  }
}

/** Says what they disagree about. */
function mismatch(first: OptimizerSpec, other: OptimizerSpec, who: string): MismatchError {
  const key = (Object.keys(first) as Array<keyof OptimizerSpec>).find(
    (name) => JSON.stringify(first[name]) !== JSON.stringify(other[name]),
  );
  const show = (spec: OptimizerSpec): string => (key ? excerpt(JSON.stringify(spec[key])) : 'another text');
  return new MismatchError(
    `The workers of '${first.name}' differ in ${key === 'pieces' ? 'the shapes of their variables' : (key ?? 'something')}: the first has ${show(first)}, ${who} has ${show(other)}. ` +
      'Give every worker the same optimizer, the same options and the same variables.',
  );
}
const excerpt = (text: string): string => (text.length > 300 ? `${text.slice(0, 300)}…` : text);
