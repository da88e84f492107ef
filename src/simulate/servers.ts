/**
 * Training steps whose buckets go to parameter servers, on a modelled network: pieces as shard.ts cuts them, sums and answers as holding.ts decides on them. Pure.
 *
 * A worker pushes a bucket's pieces when the bucket leaves. A server takes them in; synchronous: adds them in the order of the workers, applies the average when the last is there, and answers all workers in their order;
 * asynchronous: applies each as it comes and answers its worker. A worker's next step begins when it has all answers.
 *
 * What a host sends is pushes and answers: these two take turns on its link, each in the order in which it became ready. Few messages of a host are under way at a time: the rest is not made yet, so that millions of
 * them need no memory.
 */

import { UsageError } from '../errors';
import { HEAD_BYTES } from '../parameter_server/protocol';
import { piecesOf } from '../parameter_server/shard';
import { type Message, Network, type NetworkSpec } from './network';
import { type StepTimes, stepSeconds, type Workload } from './workload';

const BYTES_PER_ELEM = 4;
/** Of a node, on their way to its link: enough that the link is never idle. */
const UNDER_WAY = 8;

export interface ServersSpec {
  readonly mode: 'sync' | 'async';
  /** Processes of their own, each on a host of its own; 'colocated': every worker serves a share, in its communication thread. */
  readonly servers: number | 'colocated';
}

/** A piece, as its server holds it. */
interface Piece {
  readonly bucket: number;
  readonly server: number;
  readonly bytes: number;
}

interface ServerMessage extends Message {
  readonly kind: 'push' | 'answer';
  readonly piece: number;
  readonly worker: number;
}

/** Messages that become ready together, made one by one. */
interface Batch {
  readonly kind: 'push' | 'answer';
  /** Of a push: the worker's; of an answer: its receivers. */
  readonly workers: readonly number[];
  readonly pieces: readonly number[];
  next: number;
}

/** What a node has to send, first come first served in both. */
class Outbox {
  private readonly batches: Record<'push' | 'answer', Batch[]> = { push: [], answer: [] };
  private readonly heads = { push: 0, answer: 0 };
  private turn: 'push' | 'answer' = 'push';
  underWay = 0;

  add(batch: Batch): void {
    if (batch.workers.length * batch.pieces.length > 0) this.batches[batch.kind].push(batch);
  }

  take(): { kind: 'push' | 'answer'; worker: number; piece: number } | undefined {
    const other = this.turn === 'push' ? 'answer' : 'push';
    const kind = this.batches[this.turn].length > this.heads[this.turn] ? this.turn : other;
    const list = this.batches[kind];
    const batch = list[this.heads[kind]];
    if (!batch) return undefined;
    this.turn = kind === 'push' ? 'answer' : 'push';
    const { workers, pieces } = batch;
    const found = { kind, worker: workers[batch.next % workers.length]!, piece: pieces[Math.floor(batch.next / workers.length)]! };
    batch.next += 1;
    if (batch.next === workers.length * pieces.length) this.forget(kind);
    return found;
  }

  private forget(kind: 'push' | 'answer'): void {
    this.heads[kind] += 1;
    if (2 * this.heads[kind] < this.batches[kind].length) return;
    this.batches[kind].splice(0, this.heads[kind]);
    this.heads[kind] = 0;
  }
}

interface Worker {
  readonly number: number;
  step: number;
  /** Answers of the step that have not come, by bucket; how many buckets miss some. */
  readonly missing: number[];
  /** When the last of them was there, by bucket. */
  readonly received: number[];
  buckets: number;
  copied: number;
}

export function simulateServers(workload: Workload, workers: number, network: NetworkSpec, servers: ServersSpec): StepTimes {
  return new ServersRun(workload, workers, network, servers).run();
}

class ServersRun {
  private readonly network: Network<ServerMessage>;
  private readonly pieces: readonly Piece[];
  private readonly byBucket: number[][];
  private readonly workers: Worker[];
  private readonly everybody: readonly number[];
  private readonly outboxes: Outbox[];
  /** By piece, of the step under way: whose turn it is, when what has come is summed, and who has come (by piece and worker). */
  private readonly next: Int32Array;
  private readonly summed: Float64Array;
  private readonly come: Uint8Array;
  private readonly ends: number[];
  private readonly isSync: boolean;

  /** @throws UsageError a number makes no sense */
  constructor(
    private readonly workload: Workload,
    private readonly size: number,
    private readonly spec: NetworkSpec,
    { mode, servers }: ServersSpec,
  ) {
    const isColocated = servers === 'colocated';
    const count = isColocated ? size : servers;
    if (!Number.isInteger(count) || count < 1) throw new UsageError(`There is 1 parameter server or more, not ${count}.`);
    this.isSync = mode === 'sync';
    this.everybody = Array.from({ length: size }, (_, worker) => worker);
    const hostOf = this.everybody.map((worker) => Math.floor(worker / spec.ranksPerHost));
    const workerHosts = hostOf.at(-1)! + 1;
    if (!isColocated) for (let server = 0; server < count; server += 1) hostOf.push(workerHosts + server);
    this.pieces = piecesOf(
      workload.buckets.map(({ elems }) => elems),
      count,
    ).map(({ bucket, server, elems }) => ({ bucket, server: isColocated ? server : size + server, bytes: elems * BYTES_PER_ELEM }));
    this.byBucket = workload.buckets.map(() => []);
    for (const [i, { bucket }] of this.pieces.entries()) this.byBucket[bucket]!.push(i);
    this.network = new Network(spec, hostOf, (message) => this.take(message));
    this.hostOf = hostOf;
    this.outboxes = hostOf.map(() => new Outbox());
    this.workers = this.everybody.map((number) => ({ number, step: 0, missing: [], received: [], buckets: 0, copied: 0 }));
    this.next = new Int32Array(this.pieces.length);
    this.summed = new Float64Array(this.pieces.length);
    this.come = new Uint8Array(this.isSync ? this.pieces.length * size : 0);
    this.ends = Array(workload.steps).fill(0);
  }
  private readonly hostOf: readonly number[];

  run(): StepTimes {
    for (const worker of this.workers) this.beginStep(worker);
    const events = this.network.events.run();
    return { stepSeconds: stepSeconds(this.ends), ends: this.ends, events, isOneHost: false };
  }

  // ───── workers ─────

  private readonly beginStep = (worker: Worker): void => {
    const { events } = this.network;
    worker.buckets = this.byBucket.filter((pieces) => pieces.length > 0).length;
    worker.copied = events.now + this.workload.computeSeconds;
    for (const [bucket, { readyAt }] of this.workload.buckets.entries()) {
      worker.missing[bucket] = this.byBucket[bucket]!.length;
      worker.received[bucket] = 0;
      events.at(events.now + readyAt, 0, this.push, { worker, bucket });
    }
    if (worker.buckets === 0) this.endStep(worker);
  };

  private readonly push = ({ worker, bucket }: { worker: Worker; bucket: number }): void => {
    this.outboxes[worker.number]!.add({ kind: 'push', workers: [worker.number], pieces: this.byBucket[bucket]!, next: 0 });
    this.pump(worker.number);
  };

  private takeAnswer({ piece, worker: number }: ServerMessage, done: number): void {
    const worker = this.workers[number]!;
    const { bucket } = this.pieces[piece]!;
    worker.received[bucket] = Math.max(worker.received[bucket]!, done);
    worker.missing[bucket]! -= 1;
    if (worker.missing[bucket]! > 0) return;
    const copying = this.spec.costs.copyByte * BYTES_PER_ELEM * this.workload.buckets[bucket]!.elems;
    worker.copied = Math.max(worker.copied, worker.received[bucket]!) + copying;
    worker.buckets -= 1;
    if (worker.buckets === 0) this.endStep(worker);
  }

  private endStep(worker: Worker): void {
    this.ends[worker.step] = Math.max(this.ends[worker.step]!, worker.copied);
    worker.step += 1;
    if (worker.step < this.workload.steps) this.network.events.at(worker.copied, 0, this.beginStep, worker);
  }

  // ───── servers ─────

  private takePush({ piece, worker }: ServerMessage, done: number): void {
    const { bytes, server } = this.pieces[piece]!;
    const { reduceByte, applyByte } = this.spec.costs;
    const { events } = this.network;
    if (!this.isSync) {
      events.at(this.network.work(server, applyByte * bytes, done), 0, this.answer, { piece, workers: [worker] });
      return;
    }
    const first = piece * this.size;
    this.come[first + worker] = 1;
    let next = this.next[piece]!;
    let summed = Math.max(this.summed[piece]!, done);
    // The first worker's is received into the sum itself.
    for (; next < this.size && this.come[first + next]; next += 1)
      if (next > 0) summed = this.network.work(server, reduceByte * bytes, summed);
    this.next[piece] = next;
    this.summed[piece] = summed;
    if (next < this.size) return;
    this.next[piece] = this.summed[piece] = 0;
    this.come.fill(0, first, first + this.size);
    events.at(this.network.work(server, applyByte * bytes, summed), 0, this.answer, { piece, workers: this.everybody });
  }

  private readonly answer = ({ piece, workers }: { piece: number; workers: readonly number[] }): void => {
    const { server } = this.pieces[piece]!;
    this.outboxes[server]!.add({ kind: 'answer', workers, pieces: [piece], next: 0 });
    this.pump(server);
  };

  // ───── messages ─────

  private pump(node: number): void {
    const outbox = this.outboxes[node]!;
    while (outbox.underWay < UNDER_WAY) {
      const taken = outbox.take();
      if (!taken) return;
      const { kind, piece, worker } = taken;
      const { server, bytes } = this.pieces[piece]!;
      const to = kind === 'push' ? server : worker;
      const isRemote = this.hostOf[to] !== this.hostOf[node];
      const message: ServerMessage = { kind, piece, worker, from: node, to, bytes: bytes + HEAD_BYTES, isRemote, leaves: 0, arrives: 0 };
      outbox.underWay += 1;
      this.network.send(message, 0);
    }
  }

  /** The first byte is there: the sender's link has begun with it. */
  private take(message: ServerMessage): void {
    this.outboxes[message.from]!.underWay -= 1;
    this.pump(message.from);
    const done = this.network.receive(message);
    if (message.kind === 'push') this.takePush(message, done);
    else this.takeAnswer(message, done);
  }
}
