/**
 * Hosts on a network, as far as their speed goes: links, a switch, and the processors that move and add bytes. Pure; times are seconds, amounts bytes.
 *
 * A host has a link in each direction, which all its ranks share, and a path within the host. Each of these carries one message after the other, in the order in which they come to it, and begins with
 * the next when the former is through. A message is on all links of its way at once, but for the latency: it is received while it is still sent, at the pace of the slowest. Between them the switch has room for all
 * that waits.
 *
 * A communication thread does one thing at a time, and the threads of a machine share its cores. What work costs is taken from both when it begins; it is over when both have had the time for all that came
 * before it, and not before the bytes are there that it is about. Threads work in small pieces, so one that waits for bytes does not keep other work from being done.
 */
import { UsageError } from '../errors';
import { Events } from './events';

/** Seconds. */
export interface Costs {
  /** Of a communication thread, for each message that it sends or receives. */
  readonly message: number;
  /** For each byte of it. */
  readonly sendByte: number;
  readonly receiveByte: number;
  readonly reduceByte: number;
  /** Of a server's thread, for each byte of the variables: the update rule. */
  readonly applyByte: number;
  /** Of the coordinator, for each rank and bucket: hearing that it is ready. */
  readonly request: number;
  /** Of the main thread, for each byte: gradients into buckets, results out of them. */
  readonly copyByte: number;
  /** Of the main thread, for each byte of the variables: the optimizer's step. */
  readonly updateByte: number;
}

export interface NetworkSpec {
  /** Bytes of messages per second that a host's link carries, in each direction: without what headers take. */
  readonly rate: number;
  /** From one host to another. */
  readonly latency: number;
  /** Of the switch, all together; default: as much as comes. */
  readonly switchRate?: number;
  readonly ranksPerHost: number;
  /** Between ranks of one host. */
  readonly localRate: number;
  /** Of a machine. */
  readonly cores: number;
  /** More than 1 where one machine stands for several hosts, as in tests. */
  readonly hostsPerMachine: number;
  /** What the system takes of a message before the link has carried it. */
  readonly socketBytes: number;
  readonly costs: Costs;
}

/** @throws UsageError a number makes no sense */
export function checkNetwork(spec: NetworkSpec): void {
  const { costs, switchRate, latency, ...counts } = spec;
  const { ranksPerHost, cores, hostsPerMachine, ...rates } = counts;
  for (const [name, value] of Object.entries({ ranksPerHost, cores, hostsPerMachine }))
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name} is an integer from 1 on, not ${value}.`);
  for (const [name, value] of Object.entries({ ...rates, ...(switchRate === undefined ? {} : { switchRate }) }))
    if (!(value > 0)) throw new UsageError(`${name} is a number above 0, not ${value}.`);
  for (const [name, value] of Object.entries({ latency, ...costs }))
    if (!(value >= 0)) throw new UsageError(`${name} is a number from 0 on, not ${value}.`);
}

/** One message on its way. Whoever sends it says what is done when it comes. */
export interface Message {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
  readonly isRemote: boolean;
  /** When its last byte leaves the sender's host, and when it is there. */
  leaves: number;
  arrives: number;
}

/** Nodes are whoever has a communication thread: ranks, then servers. */
export class Network<M extends Message> {
  readonly events = new Events();
  private readonly outFree: Float64Array;
  private readonly inFree: Float64Array;
  private readonly localFree: Float64Array;
  private switchFree = 0;
  private readonly threadFree: Float64Array;
  private readonly coresFree: Float64Array;

  /**
   * @param hostOf of each node
   * @param takes called when the first byte is there, or about to come; `arrives` is known then
   */
  constructor(
    readonly spec: NetworkSpec,
    private readonly hostOf: readonly number[],
    private readonly takes: (message: M) => void,
  ) {
    checkNetwork(spec);
    const hosts = Math.max(0, ...hostOf) + 1;
    this.outFree = new Float64Array(hosts);
    this.inFree = new Float64Array(hosts);
    this.localFree = new Float64Array(hosts);
    this.threadFree = new Float64Array(hostOf.length);
    this.coresFree = new Float64Array(Math.ceil(hosts / spec.hostsPerMachine));
  }

  /** Has the node's thread do that from now on. @param notBefore when the bytes are there that it needs @returns when it is done */
  work(node: number, seconds: number, notBefore = 0): number {
    const { now } = this.events;
    const machine = Math.floor(this.hostOf[node]! / this.spec.hostsPerMachine);
    const thread = (this.threadFree[node] = Math.max(this.threadFree[node]!, now) + seconds);
    const cores = (this.coresFree[machine] = Math.max(this.coresFree[machine]!, now) + seconds / this.spec.cores);
    return Math.max(thread, cores, notBefore);
  }

  /** The work of sending, and the way. @param order of the receiver's among those of a moment @returns when the sender's memory is free again */
  send(message: M, order: number): number {
    const { spec, events, hostOf } = this;
    const { costs, rate, latency, localRate, socketBytes } = spec;
    const { from, bytes, isRemote } = message;
    const handed = this.work(from, costs.message + costs.sendByte * bytes);
    const first = handed - costs.sendByte * bytes;
    const host = hostOf[from]!;
    const free = isRemote ? this.outFree : this.localFree;
    const speed = isRemote ? rate : localRate;
    let start = Math.max(first, free[host]!);
    let end = Math.max(start + bytes / speed, handed);
    free[host] = end;
    const taken = end - socketBytes / speed;
    if (isRemote && spec.switchRate !== undefined) {
      start = Math.max(start, this.switchFree);
      end = Math.max(start + bytes / spec.switchRate, end);
      this.switchFree = start + bytes / spec.switchRate;
    }
    message.leaves = end;
    events.at(start + (isRemote ? latency : 0), order, this.reach, message);
    return Math.max(handed, taken);
  }

  /** The first byte is at the receiver's link. */
  private readonly reach = (message: M): void => {
    const { events, spec, hostOf } = this;
    if (!message.isRemote) {
      message.arrives = message.leaves;
      this.takes(message);
      return;
    }
    const host = hostOf[message.to]!;
    const start = Math.max(events.now, this.inFree[host]!);
    message.arrives = this.inFree[host] = Math.max(start + message.bytes / spec.rate, message.leaves + spec.latency);
    // Behind one message its turn is so near that the thread may as well be charged now.
    if (start > events.now + message.bytes / spec.rate) events.at(start, 0, this.takes, message);
    else this.takes(message);
  };

  /** The work of receiving, from when the first byte is there, or later. @returns when all of it is in memory */
  receive(message: M): number {
    const { message: each, receiveByte } = this.spec.costs;
    return this.work(message.to, each + receiveByte * message.bytes, message.arrives + each);
  }
}
