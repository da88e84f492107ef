/** How much memory a run of the study needs on each host, and whether it is there. Pure: an estimate on the safe side, from the shapes of the network. */
import { planMemory } from '../../../src/bench/data/memory';
import { layersOf, parameterCount } from '../../../src/bench/models/graph';
import { describeNetwork, type NetworkName, shapesOf } from '../../../src/bench/models/networks';
import type { OptimizerName } from '../../../src/bench/throughput_args';
import { MOST_PIECE_BYTES } from '../../../src/parameter_server/shard';
import type { Placement, Strategy } from './strategies';

export interface RunMemory {
  readonly network: NetworkName;
  readonly batchSize: number;
  readonly imageSize: number;
  readonly classes: number;
  readonly dataWorkers: number;
  readonly optimizer: OptimizerName;
  /** Computation is a wait: neither activations nor variables are there. */
  readonly isEmulated: boolean;
}

const MIB = 2 ** 20;
/** A process with nothing in it yet: Node, both threads' heaps and code, and what TensorFlow.js takes. */
const PROCESS_BYTES = 128 * MIB;
const TENSORFLOW_BYTES = 256 * MIB;
/** Windows and staging of a ring between processes of one host; buffers of sockets. */
const TRANSPORT_BYTES = 96 * MIB;
/** What synchronous pushes may take on a server that wait for their turn (src/parameter_server/holding.ts). */
const SERVER_SPARE_BYTES = 256 * MIB;
/** Real computation: variables, their gradients, those in the buckets, and one more while they are applied. */
const COPIES = 4;

/** Numbers that an optimizer keeps for each of a variable's. */
const slots: Readonly<Record<OptimizerName, number>> = { sgd: 0, momentum: 1, nesterov: 1, rmsprop: 2, adam: 2 };

const product = (factors: readonly number[]): number => factors.reduce((all, factor) => all * factor, 1);

/** Of one rank. */
export function rankBytes(run: RunMemory): number {
  const { network, batchSize, imageSize: size, classes, dataWorkers, optimizer, isEmulated } = run;
  const variables = 4 * parameterCount(shapesOf(network, { size, classes }));
  if (isEmulated) return PROCESS_BYTES + TRANSPORT_BYTES + variables;
  // Every layer's output is kept for the backward pass; its gradients come and go.
  const activations =
    4 * batchSize * layersOf(describeNetwork(network, { size, classes })).reduce((sum, { shape }) => sum + product(shape), 0);
  const data = planMemory({ workers: dataWorkers, batchSize, size }).bytes;
  return PROCESS_BYTES + TENSORFLOW_BYTES + TRANSPORT_BYTES + (COPIES + slots[optimizer]) * variables + 2 * activations + data;
}

/** What one of `servers` has in its WebAssembly memory: its part of the variables, their slots, the sum of a synchronous step, and gradients that are on their way in. */
export function holdingBytes(
  { network, imageSize: size, classes, optimizer }: RunMemory,
  servers: number,
  workers: number,
  isSync: boolean,
): number {
  const shapes = shapesOf(network, { size, classes });
  const part = (4 * parameterCount(shapes)) / servers;
  // A synchronous one lets gradients wait on the wire when it has so much; an asynchronous one takes in a piece of each worker.
  const incoming = isSync ? SERVER_SPARE_BYTES : workers * MOST_PIECE_BYTES;
  return (1 + slots[optimizer] + (isSync ? 1 : 0)) * part + incoming;
}

const isSynchronous = (strategy: string): boolean => strategy === 'ps-sync' || strategy === 'ps-ssp:0';

/** By host. */
export function bytesByHost(run: RunMemory, { kind, strategy }: Strategy, { ranks, servers }: Placement): Map<string, number> {
  const isEmulated = run.isEmulated || kind === 'no-computation';
  const ofRank = rankBytes({ ...run, isEmulated });
  const holding = servers.length === 0 ? 0 : holdingBytes(run, servers.length, ranks.length, isSynchronous(strategy));
  const found = new Map<string, number>();
  const add = (host: string, bytes: number): void => void found.set(host, (found.get(host) ?? 0) + bytes);
  for (const host of ranks) add(host, ofRank);
  for (const host of servers) add(host, PROCESS_BYTES + holding);
  return found;
}

/** Of a server's memory, which has 4 GiB: more would leave no room for gaps between its blocks. */
const MOST_HOLDING_BYTES = 3.5 * 2 ** 30;
/** @returns why no server can hold it; undefined: it can */
export function whyNotHeld(run: RunMemory, { strategy }: Strategy, { ranks, servers }: Placement): string | undefined {
  if (servers.length === 0) return undefined;
  const bytes = holdingBytes(run, servers.length, ranks.length, isSynchronous(strategy));
  return bytes > MOST_HOLDING_BYTES
    ? `a server would hold up to ${gib(bytes)}, and should not have more than ${gib(MOST_HOLDING_BYTES)}`
    : undefined;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** @returns why it does not fit; undefined: it does, or nobody knows @param there of all hosts together, and of each */
export function whyNotFits(needed: ReadonlyMap<string, number>, there: { all?: number; each?: number }): string | undefined {
  const sum = [...needed.values()].reduce((total, bytes) => total + bytes, 0);
  if (there.all !== undefined && sum > there.all) return `it needs about ${gib(sum)} of memory, there are ${gib(there.all)}`;
  const { each } = there;
  const [host, most] = [...needed].reduce((top, one) => (one[1] > top[1] ? one : top));
  return each !== undefined && most > each ? `it needs about ${gib(most)} of memory on ${host}, which has ${gib(each)}` : undefined;
}
