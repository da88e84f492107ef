/**
 * `tsrun bench --calibrate FILE`: the constants of the cost model (src/collective/cost_model.ts), measured between two ranks of one host and, if there are several hosts, between two hosts.
 * Runs on every rank; rank 0 writes the file.
 *
 * Two ranks that exchange n bytes by recursive doubling (the launcher asks for it) take, beside the negotiation, α + n(β + γ): one message each way at the same time, added in place. Of that, by size the
 * median over the iterations, begun together by a barrier, a line is fitted by least squares of relative errors, so that small sizes decide α and large ones β. A barrier is the negotiation alone, and is
 * taken off; γ is measured by the kernel itself. Every size is verified.
 */
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { parseArgs } from 'node:util';
import type { Link } from '../collective/cost_model';
import { UsageError } from '../errors';
import * as hvd from '../index';
import { createMemory } from '../memory/arena';
import { makeKernels } from '../memory/kernels';
import { version } from '../version';

/** Beyond what travels with the negotiation; of one segment, and of many. */
const SIZES = [16, 32, 64, 128, 256, 1024, 4096, 16_384].map((kib) => kib << 10);
/** A time below it cannot be told from none. */
const LEAST = { latencySeconds: 1e-7, secondsPerByte: 1e-12 };
/** Two operands that no cache holds. */
const KERNEL_BYTES = 32 << 20;
const KERNEL_AT = 65536;

/** Median seconds for so many bytes. */
export interface Point {
  readonly bytes: number;
  readonly seconds: number;
}

/** seconds = latency + bytes · perByte, with the least sum of squared relative errors. @param points of two sizes or more */
export function fitLine(points: readonly Point[]): { latency: number; perByte: number } {
  let [weights, bytes, squares, seconds, products] = [0, 0, 0, 0, 0];
  for (const point of points) {
    const weight = 1 / point.seconds ** 2;
    weights += weight;
    bytes += weight * point.bytes;
    squares += weight * point.bytes ** 2;
    seconds += weight * point.seconds;
    products += weight * point.bytes * point.seconds;
  }
  const perByte = (weights * products - bytes * seconds) / (weights * squares - bytes ** 2);
  return { latency: (seconds - perByte * bytes) / weights, perByte };
}

/** @param barrier seconds of the negotiation alone @param reduceSecondsPerByte γ */
export function linkOf(points: readonly Point[], barrier: number, reduceSecondsPerByte: number): Link {
  const { latency, perByte } = fitLine(points);
  return {
    latencySeconds: Math.max(LEAST.latencySeconds, latency - barrier),
    secondsPerByte: Math.max(LEAST.secondsPerByte, perByte - reduceSecondsPerByte),
  };
}

/** Two ranks of one host, two of two hosts, as far as there are any. @param hosts by rank */
export function pairsOf(hosts: readonly string[]): { local?: [number, number]; remote?: [number, number] } {
  const pair = (isPair: (a: number, b: number) => boolean): [number, number] | undefined => {
    for (let a = 0; a < hosts.length; a += 1) for (let b = a + 1; b < hosts.length; b += 1) if (isPair(a, b)) return [a, b];
    return undefined;
  };
  return { local: pair((a, b) => hosts[a] === hosts[b]), remote: pair((a, b) => hosts[a] !== hosts[b]) };
}

const median = (samples: readonly number[]): number => [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)]!;
function timed(iterations: number, prepare: () => void, act: () => void): number {
  const samples: number[] = [];
  for (let i = -Math.ceil(iterations / 2); i < iterations; i += 1) {
    prepare();
    const startedMs = performance.now();
    act();
    if (i >= 0) samples.push((performance.now() - startedMs) / 1000);
  }
  return median(samples);
}

/** γ, on this rank. */
function reduceSecondsPerByte(iterations: number): number {
  const memory = createMemory();
  memory.grow(Math.ceil((KERNEL_AT + 2 * KERNEL_BYTES) / 65536));
  const kernels = makeKernels(memory);
  const reduce = (): void => kernels.reduce('float32', 'sum', KERNEL_AT, KERNEL_AT + KERNEL_BYTES, KERNEL_BYTES / 4);
  return timed(iterations, () => {}, reduce) / KERNEL_BYTES;
}

/** On both ranks of the set. @throws Error a sum is wrong */
function measurePair(processSet: hvd.ProcessSet, iterations: number): { barrier: number; points: Point[] } {
  const together = (): void => hvd.barrier({ processSet });
  const barrier = timed(10 * iterations, together, together);
  const points = SIZES.map((bytes) => {
    const array = hvd.allocate(Float32Array, bytes / 4);
    const reduce = (): unknown => hvd.allreduce(array, { op: 'sum', name: 'calibrate', processSet, inPlace: true });
    const seconds = timed(iterations, together, reduce);
    for (let i = 0; i < array.length; i += 1) array[i] = (processSet.rank() + 1) * (i % 1000);
    reduce();
    const wrong = array.findIndex((value, i) => value !== 3 * (i % 1000));
    if (wrong >= 0) throw new Error(`Element ${wrong} of ${array.length} is ${array[wrong]}, not ${3 * (wrong % 1000)}. Please report it.`);
    hvd.release(array);
    return { bytes, seconds };
  });
  return { barrier, points };
}

function main(): void {
  const { values } = parseArgs({ options: { calibrate: { type: 'string' }, iterations: { type: 'string', default: '50' } } });
  const { calibrate: file, iterations: text } = values;
  const iterations = Number(text);
  if (!file) throw new UsageError('--calibrate names the file to write.');
  if (!Number.isInteger(iterations) || iterations < 1) throw new UsageError(`--iterations is '${text}', but must be an integer from 1.`);
  hvd.init();
  const say = (line: string): void => {
    if (hvd.rank() === 0) process.stdout.write(`${line}\n`);
  };
  const hosts = hvd.allgatherObject(hvd.hostname());
  const pairs = pairsOf(hosts);
  if (!pairs.local && !pairs.remote) throw new UsageError('--calibrate takes two ranks or more: -np 2, or with -H h1:2,h2:2 -np 4.');
  say(`# khorovod ${version}, Node ${process.version}, ${hosts.length} ranks on ${new Set(hosts).size} host(s); medians of ${iterations}`);
  const gamma = hvd.broadcastObject(reduceSecondsPerByte(iterations), 0);
  say(`reduction: ${(1e-9 / gamma).toFixed(1)} GB/s of the operand`);
  const links: Record<string, Link> = {};
  const measured: Record<string, unknown> = {};
  for (const name of ['local', 'remote'] as const) {
    const pair = pairs[name];
    if (!pair) continue;
    const processSet = pair.length === hosts.length ? hvd.globalProcessSet : hvd.addProcessSet(pair);
    const own = processSet.included() ? measurePair(processSet, iterations) : undefined;
    // Both ranks of the pair have measured; the first one's figures count. The others have waited here.
    const { barrier, points } = hvd.broadcastObject(own, pair[0])!;
    const link = linkOf(points, barrier, gamma);
    links[name] = link;
    measured[name] = { hosts: pair.map((rank) => hosts[rank]), barrierSeconds: barrier, points };
    say(
      `${name === 'local' ? 'within a host' : 'between hosts'}: ${(link.latencySeconds * 1e6).toFixed(1)} µs a message, ${(1e-9 / link.secondsPerByte).toFixed(2)} GB/s each way`,
    );
  }
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.cpus().length,
    kernel: os.release(),
    node: process.version,
    khorovod: version,
    date: new Date().toISOString(),
    iterations,
  };
  if (hvd.rank() === 0)
    writeFileSync(file, `${JSON.stringify({ ...links, reduceSecondsPerByte: gamma, measured: { ...machine, ...measured } }, null, 1)}\n`);
  say(`written to ${file}: tsrun --cost-model ${file} …`);
  hvd.shutdown();
}

if (require.main === module) main();
