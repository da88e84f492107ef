/**
 * What an allreduce is expected to take, from three kinds of constants: α, the latency of a message; β, the time of a byte on its way; γ, the time to reduce a byte. Pure.
 *
 * N ranks, P the largest power of two that is not above N, n bytes, H hosts with L ranks each; a message has m bytes and travels in segments of b ≤ m. Within a host α and β are those of its ranks
 * among themselves; between hosts β counts as often as messages share the link of a host in one direction. A round that does both takes as long as the slower one.
 *
 *        round(m, γ)       = α + m(β + γ)                             a rank waits for all of what it is to send next
 *        pipelined(m, γ)   = max(α + b(β + γ), m(β + γ))              segments are sent on as they come: latency is hidden behind the other segments of the message
 *
 *        ring                 (N−1) (pipelined(n/N, γ) + pipelined(n/N, 0)), in blocks of N chunks
 *        recursive doubling   log2(P) pipelined(n, γ)                                                            + fold
 *        halving-doubling     Σ over k = 1 … log2(P) of round(n/2^k, γ) + round(n/2^k, 0)                        + fold
 *        tree                 ceil(log2 N) (pipelined(n, γ) + pipelined(n, 0))
 *        hierarchical         local + between + (blocks − 1) max(local, between), of a block of n' bytes:
 *                             local   = (L−1) (pipelined(n'/L, γ) + pipelined(n'/L, 0)) within a host
 *                             between = (H−1) (pipelined(n'/LH, γ) + pipelined(n'/LH, 0)) between hosts, L messages on each link
 *        fold                 pipelined(n, γ) + pipelined(n, 0) if N is no power of two
 *
 * With b = m they are those of R. Thakur, R. Rabenseifner, W. Gropp, Optimization of collective communication operations in MPICH, IJHPCA 19 (2005): log(p)(α + nβ + nγ) for recursive doubling,
 * 2 log(p) α + 2(p−1)/p nβ + (p−1)/p nγ for Rabenseifner's algorithm, 2(p−1) α in place of the latencies of the latter for the ring.
 */
import type { Algorithm } from '../config';
import { UsageError } from '../errors';
import { type Topology, type Traffic, trafficOf } from './topology';

export interface Link {
  /** α */
  readonly latencySeconds: number;
  /** β */
  readonly secondsPerByte: number;
}
export interface CostModel {
  /** Between ranks of one host. */
  readonly local: Link;
  /** Between hosts: of a host's link in one direction. */
  readonly remote: Link;
  /** γ: per byte of the operand. */
  readonly reduceSecondsPerByte: number;
}

/**
 * Used where nobody has calibrated. α: an event-driven wake-up takes about 50 µs, a network adds some 25 µs. β: loopback TCP carries 4.5 GB/s each way when both are in use (measured on 2 cores of
 * a virtual machine, as the wake-up is); a link of 10 Gbit/s carries 1448/1538 of that. γ: SIMD kernels reduce 12 GB/s of an operand that comes from memory (measured there).
 */
export const defaultCostModel: CostModel = {
  local: { latencySeconds: 50e-6, secondsPerByte: 1 / 4.5e9 },
  remote: { latencySeconds: 75e-6, secondsPerByte: 8 / 10e9 / (1448 / 1538) },
  reduceSecondsPerByte: 1 / 12e9,
};

export interface Message {
  readonly bytes: number;
  /** Largest chunk of a ring, and largest piece of one send. */
  readonly chunkBytes: number;
  readonly segmentBytes: number;
}

/** Why an algorithm is none for these ranks; undefined: it is one. */
export function unfit(algorithm: Algorithm, { byHost }: Topology): string | undefined {
  if (algorithm !== 'hierarchical') return undefined;
  if (byHost.length === 1) return 'all ranks are on one host';
  return byHost.some((ranks) => ranks.length > 1) ? undefined : 'no two ranks share a host';
}

/** Seconds of an allreduce over two ranks or more. */
export function costOf(algorithm: Algorithm, message: Message, topology: Topology, model: CostModel): number {
  const size = topology.hostOf.length;
  const { bytes, chunkBytes } = message;
  const rounds = new Rounds(message, model);
  const { both } = rounds;
  switch (algorithm) {
    case 'ring': {
      const blocks = Math.max(1, Math.ceil(bytes / (size * chunkBytes)));
      return (
        blocks *
        (size - 1) *
        both(
          trafficOf(topology, (rank) => (rank + 1) % size),
          bytes / size / blocks,
        )
      );
    }
    case 'recursive-doubling': {
      const [traffic, folding] = exchanges(topology);
      return sum(traffic.map((one) => rounds.pipelined(one, bytes, true))) + (folding ? both(folding, bytes) : 0);
    }
    case 'halving-doubling': {
      const [traffic, folding] = exchanges(topology);
      const halves = traffic.map(
        (one, k) => rounds.round(one, bytes / 2 ** (k + 1), true) + rounds.round(one, bytes / 2 ** (k + 1), false),
      );
      return sum(halves) + (folding ? both(folding, bytes) : 0);
    }
    case 'tree': {
      const levels = Array.from({ length: Math.ceil(Math.log2(size)) }, (_, k) => 2 ** k);
      const up = (distance: number): Traffic =>
        trafficOf(topology, (rank) => (rank % (2 * distance) === distance ? rank - distance : undefined));
      return sum(levels.map((distance) => both(up(distance), bytes)));
    }
    case 'hierarchical': {
      const lengths = topology.byHost.map((ranks) => ranks.length);
      const [sharers, most, hosts] = [Math.min(...lengths), Math.max(...lengths), lengths.length];
      const blocks = Math.max(1, Math.ceil(bytes / (sharers * hosts * chunkBytes)));
      const part = bytes / blocks / sharers;
      const local = (most - 1) * both({ isLocal: true, remote: 0 }, part);
      const between = (hosts - 1) * both({ isLocal: false, remote: sharers }, part / hosts);
      return local + between + (blocks - 1) * Math.max(local, between);
    }
  }
}

/** Of an exchange with the partner at distance 1, 2, 4, …; and of the extra ranks with theirs, if there are any. */
function exchanges(topology: Topology): [Traffic[], Traffic | undefined] {
  const size = topology.hostOf.length;
  const power = 2 ** Math.floor(Math.log2(size));
  const distances = Array.from({ length: Math.log2(power) }, (_, k) => 2 ** k);
  const traffic = distances.map((distance) => trafficOf(topology, (rank) => (rank < power ? rank ^ distance : undefined)));
  const folding = size > power ? trafficOf(topology, (rank) => (rank >= power ? rank - power : undefined)) : undefined;
  return [traffic, folding];
}

class Rounds {
  constructor(
    private readonly message: Message,
    private readonly model: CostModel,
  ) {}

  round(traffic: Traffic, bytes: number, reduces: boolean): number {
    return this.latency(traffic) + bytes * this.perByte(traffic, reduces);
  }

  pipelined(traffic: Traffic, bytes: number, reduces: boolean): number {
    const segment = bytes / Math.max(1, Math.ceil(bytes / this.message.segmentBytes));
    return Math.max(this.round(traffic, segment, reduces), bytes * this.perByte(traffic, reduces));
  }

  /** There, reducing, and back. */
  readonly both = (traffic: Traffic, bytes: number): number => this.pipelined(traffic, bytes, true) + this.pipelined(traffic, bytes, false);

  private latency({ remote }: Traffic): number {
    return remote > 0 ? this.model.remote.latencySeconds : this.model.local.latencySeconds;
  }
  private perByte({ isLocal, remote }: Traffic, reduces: boolean): number {
    const { local, remote: link, reduceSecondsPerByte } = this.model;
    return Math.max(isLocal ? local.secondsPerByte : 0, remote * link.secondsPerByte) + (reduces ? reduceSecondsPerByte : 0);
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

/** As in the file that `tsrun bench --calibrate` writes. */
export const costModelText = ({ local, remote, reduceSecondsPerByte }: CostModel): string =>
  JSON.stringify({ local, remote, reduceSecondsPerByte });

/**
 * What such a file says. Of what it says nothing (links between hosts, where it was made on one), that is as without it.
 *
 * @param file how it is called in errors
 * @throws UsageError it is no JSON, or a field is missing, unknown or no number that makes sense: which
 */
export function parseCostModel(text: string, file: string): CostModel {
  const refuse = (what: string): never => {
    throw new UsageError(`The cost model '${file}' (TSRUN_COST_MODEL): ${what}. \`tsrun bench --calibrate FILE\` writes one.`);
  };
  const fieldsOf = (value: unknown, name: string, known: readonly string[]): Record<string, unknown> => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return refuse(`${name} is ${JSON.stringify(value)}, not an object`);
    const unknown = Object.keys(value).find((key) => !known.includes(key));
    return unknown === undefined
      ? (value as Record<string, unknown>)
      : refuse(`${name} has '${unknown}', but may have ${known.join(', ')}`);
  };
  const numberOf = (value: unknown, name: string): number =>
    typeof value === 'number' && Number.isFinite(value) && value > 0
      ? value
      : refuse(`${name} is ${JSON.stringify(value)}, not a number above 0`);
  const linkOf = (value: unknown, name: string): Link => {
    const fields = fieldsOf(value, name, ['latencySeconds', 'secondsPerByte']);
    return {
      latencySeconds: numberOf(fields.latencySeconds, `${name}.latencySeconds`),
      secondsPerByte: numberOf(fields.secondsPerByte, `${name}.secondsPerByte`),
    };
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return refuse(`it is no JSON (${(error as Error).message})`);
  }
  const fields = fieldsOf(parsed, 'it', ['local', 'remote', 'reduceSecondsPerByte', 'measured']);
  return {
    local: fields.local === undefined ? defaultCostModel.local : linkOf(fields.local, 'local'),
    remote: fields.remote === undefined ? defaultCostModel.remote : linkOf(fields.remote, 'remote'),
    reduceSecondsPerByte: numberOf(fields.reduceSecondsPerByte, 'reduceSecondsPerByte'),
  };
}
