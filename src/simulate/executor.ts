/**
 * One rank that carries out plans one after the other on a modelled network, by the rules of collective/execute.ts: so many sends ahead, so many receipts posted, each list in its order, receipts complete in order. Pure.
 *
 * Messages that come before their receipt is posted wait, also those of a plan that this rank has not begun: peers may be ahead.
 */
import { SENDS_AHEAD, SLOTS } from '../collective/execute';
import type { Plan, Range } from '../collective/plan';
import type { Message, Network } from './network';

export interface PlanMessage extends Message {
  readonly receiver: Executor;
}
/** That of a rank's sends or receipts is done. */
interface Done {
  readonly executor: Executor;
  readonly index: number;
}

/** Where the ranks that a plan names are. */
export interface Surroundings {
  executorOf(rank: number): Executor;
  isRemote(rank: number): boolean;
}

/** What each rank does at one moment goes in this order. */
const ORDERS = 5;
const [ARRIVED, RECEIVED, REDUCED, LEFT] = [1, 2, 3, 4];

export class Executor {
  private plan: Plan = { sends: [], recvs: [] };
  private isSent = new Uint8Array(0);
  private isReceived = new Uint8Array(0);
  private begun = 0;
  private sent = 0;
  private posted = 0;
  private completed = 0;
  private isBusy = false;
  private isReducing = false;
  private bytesPerElem = 4;
  private whenDone: () => void = () => {};
  /** By sender's node: what has come and is not asked for yet, and what is asked for and has not come. */
  private readonly come = new Map<number, PlanMessage[]>();
  private readonly wanted = new Map<number, number[]>();

  /** @param node in the network, as that `order` of its host's */
  constructor(
    private readonly network: Network<PlanMessage>,
    readonly node: number,
    private readonly order: number,
    private readonly surroundings: Surroundings,
  ) {}

  begin(plan: Plan, bytesPerElem: number, whenDone: () => void): void {
    this.plan = plan;
    this.bytesPerElem = bytesPerElem;
    this.whenDone = whenDone;
    this.isSent = new Uint8Array(plan.sends.length);
    this.isReceived = new Uint8Array(plan.recvs.length);
    this.begun = this.sent = this.posted = this.completed = 0;
    this.isBusy = true;
    this.pump();
  }

  /** The first byte of a message is there. */
  take(message: PlanMessage): void {
    const index = this.wanted.get(message.from)?.shift();
    if (index === undefined) listIn(this.come, message.from).push(message);
    else this.receive(message, index);
  }

  private receive(message: PlanMessage, index: number): void {
    this.network.events.at(this.network.receive(message), this.orderOf(RECEIVED), received, { executor: this, index });
  }

  received(index: number): void {
    this.isReceived[index] = 1;
    if (!this.isReducing) this.pump();
  }
  reduced(): void {
    this.isReducing = false;
    this.completed += 1;
    this.pump();
  }
  left(index: number): void {
    this.isSent[index] = 1;
    while (this.isSent[this.sent]) this.sent += 1;
    if (!this.isReducing) this.pump();
  }
  private pump(): void {
    if (!this.isBusy) return;
    const { sends, recvs } = this.plan;
    do {
      while (this.begun < sends.length && this.begun < this.sent + SENDS_AHEAD && sends[this.begun]!.afterRecvs <= this.completed)
        this.send(this.begun++);
      while (this.posted < recvs.length && this.posted < this.completed + SLOTS) {
        const { peer, action, afterSends } = recvs[this.posted]!;
        if (action === 'copy' && afterSends > this.sent) break;
        this.post(this.posted++, this.surroundings.executorOf(peer).node);
      }
    } while (this.complete());
    if (this.isReducing || this.sent < sends.length || this.completed < recvs.length) return;
    this.isBusy = false;
    this.whenDone();
  }

  private send(index: number): void {
    const send = this.plan.sends[index]!;
    const receiver = this.surroundings.executorOf(send.to);
    const message: PlanMessage = {
      from: this.node,
      to: receiver.node,
      bytes: this.bytesOf(send),
      isRemote: this.surroundings.isRemote(send.to),
      leaves: 0,
      arrives: 0,
      receiver,
    };
    const free = this.network.send(message, receiver.orderOf(ARRIVED));
    this.network.events.at(free, this.orderOf(LEFT), left, { executor: this, index });
  }

  private post(index: number, node: number): void {
    const message = this.come.get(node)?.shift();
    if (message) this.receive(message, index);
    else listIn(this.wanted, node).push(index);
  }

  /** @returns whether another receipt is complete: a sum takes its time */
  private complete(): boolean {
    const recv = this.plan.recvs[this.completed];
    if (!recv || !this.isReceived[this.completed] || recv.afterSends > this.sent) return false;
    if (recv.action === 'copy') {
      this.completed += 1;
      return true;
    }
    this.isReducing = true;
    const done = this.network.work(this.node, this.network.spec.costs.reduceByte * this.bytesOf(recv));
    this.network.events.at(done, this.orderOf(REDUCED), reduced, { executor: this, index: this.completed });
    return false;
  }

  private bytesOf({ from, until }: Range): number {
    return (until - from) * this.bytesPerElem;
  }
  private orderOf(what: number): number {
    return this.order * ORDERS + what;
  }
}

export const arrived = (message: PlanMessage): void => message.receiver.take(message);
const received = ({ executor, index }: Done): void => executor.received(index);
const reduced = ({ executor }: Done): void => executor.reduced();
const left = ({ executor, index }: Done): void => executor.left(index);

function listIn<V>(lists: Map<number, V[]>, key: number): V[] {
  let list = lists.get(key);
  if (!list) lists.set(key, (list = []));
  return list;
}
