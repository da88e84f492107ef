/**
 * What the distributed study has found, cell by cell: images per second, scaling efficiency, share of the control, share of the roofline. Pure.
 *
 * Everything is in the time of what is emulated: computation and links that are slowed by F are F times as fast here. With several runs of a cell the interval is that of their means, with one that of
 * its steps' mean, taken as independent.
 */

import { type Cell, cellsOf, nameOf } from '../../../launcher/sweep/plan';
import type { RunRecord, SweepFile } from '../../../launcher/sweep/records';
import type { Estimate } from '../../../launcher/sweep/statistics';
import { estimate, ratio, studentT } from '../../../launcher/sweep/statistics';
import { parameterCount } from '../../../src/bench/models/graph';
import { type NetworkName, shapesOf } from '../../../src/bench/models/networks';
import { type Strategy, strategyOf } from './strategies';

/** What results need besides the runs. */
export interface Facts {
  readonly batchSize: number;
  readonly imageSize?: number;
  readonly classes: number;
  readonly emulated?: string;
  readonly slowDown: number;
  /** As given: 10⁹ bit/s one way, of a host's link as it is. */
  readonly linkGbit?: number;
  /** Each process has a host, and so a link, of its own (colocated servers share one with their worker). */
  readonly hasLinks: boolean;
  readonly leftOut: ReadonlyArray<{ readonly cell: Cell; readonly why: string }>;
}

export interface Row {
  readonly network: NetworkName;
  readonly strategy: string;
  readonly workers: number;
  readonly state: 'measured' | 'failed' | 'left out' | 'open';
  /** Why it failed or was left out. */
  readonly why?: string;
  readonly imagesPerSec?: Estimate;
  /** Of each run: all numbers that were reported. */
  readonly samples: ReadonlyArray<Readonly<Record<string, number>>>;
  /** imagesPerSec / (workers · that of one worker alone, or of the fewest there are). */
  readonly efficiency?: Estimate;
  /** imagesPerSec / that of as many workers without communication. */
  readonly ofControl?: Estimate;
  /** Images per second that link and computation allow at most. */
  readonly roofline?: number;
  readonly ofRoofline?: number;
}
export interface StudySummary {
  readonly rows: readonly Row[];
  /** By network: 10⁹ bit/s one way, in emulated time, and where it is from. */
  readonly links: Readonly<Record<string, { readonly gbit: number; readonly from: 'given' | 'measured' }>>;
}

/** A third of the computation is the forward pass (src/bench/profiles.ts), in which a synchronous strategy has nothing to send. */
const FORWARD_SHARE = 1 / 3;
const BITS = 8;

/** Of the bytes a link carries one way each step, as multiples of the gradients' bytes: BytePS' cost model (Jiang et al., OSDI 2020). @param servers 0: a ring */
export function loadOf(workers: number, servers: number, isColocated: boolean): number {
  if (servers === 0 || isColocated) return (2 * (workers - 1)) / workers;
  return Math.max(1, workers / servers);
}

/** The shortest time of a step. Synchronous: what is sent waits for the forward pass. Asynchronous workers do not wait for one another: the busiest link alone is the limit, or one worker's own way. */
export function leastStepMs(
  { strategy, servers }: Strategy,
  workers: number,
  { computeMs, wireMs }: { computeMs: number; wireMs: number },
): number {
  const count = servers === undefined ? 0 : typeof servers === 'number' ? servers : workers;
  const busy = wireMs * loadOf(workers, count, servers === 'colocated');
  if (strategy !== 'ps-async') return Math.max(computeMs, computeMs * FORWARD_SHARE + busy);
  return Math.max(computeMs, busy, computeMs * FORWARD_SHARE + wireMs * loadOf(1, count, servers === 'colocated'));
}

function estimateOf(runs: readonly RunRecord[]): Estimate | undefined {
  const [first] = runs;
  if (runs.length !== 1 || !first) return estimate(runs.map(({ numbers }) => numbers.imagesPerSec!));
  const { imagesPerSec: mean = 0, imagesPerSecSd: sd = 0, iterations: n = 1 } = first.numbers;
  return n < 2 ? { n: 1, mean } : { n, mean, sd, halfWidth: (studentT(n - 1) * sd) / Math.sqrt(n) };
}

export function studySummary({ asked, runs }: Pick<SweepFile, 'asked' | 'runs'>, facts: Facts): StudySummary {
  const byCell = new Map<string, RunRecord[]>();
  for (const run of runs) byCell.set(nameOf(run.cell), [...(byCell.get(nameOf(run.cell)) ?? []), run]);
  const good = (cell: Cell): RunRecord[] =>
    (byCell.get(nameOf(cell)) ?? []).filter(({ isFailed, numbers }) => !isFailed && numbers.imagesPerSec! > 0);
  const why = new Map(facts.leftOut.map((one) => [nameOf(one.cell), one.why]));
  const networks = asked.vary[0]!.values as NetworkName[];
  const bytesOf = (network: NetworkName): number =>
    4 * parameterCount(shapesOf(network, { size: facts.imageSize, classes: facts.classes }));
  const at = (network: string, strategy: string, workers: number): Cell => ({ workers, strategy, values: { network } });
  const links: Record<string, StudySummary['links'][string]> = {};
  for (const network of networks) {
    const found = facts.hasLinks
      ? linkOf(bytesOf(network), facts, (workers) => good(at(network, 'no-computation', workers)), asked.workers)
      : undefined;
    if (found) links[network] = found;
  }
  const rows = cellsOf(asked).map((cell): Row => {
    const network = cell.values.network as NetworkName;
    const [all, own] = [byCell.get(nameOf(cell)) ?? [], good(cell)];
    const failed = all.find(({ isFailed }) => isFailed);
    const base = { network, strategy: cell.strategy, workers: cell.workers, samples: own.map(({ numbers }) => numbers) };
    const imagesPerSec = estimateOf(own);
    if (!imagesPerSec) {
      const reason = failed?.cause ?? why.get(nameOf(cell));
      return { ...base, state: failed ? 'failed' : reason === undefined ? 'open' : 'left out', why: reason };
    }
    const alone = asked.workers
      .map((workers) => ({ workers, found: estimateOf(good(at(network, 'no-communication', workers))) }))
      .find(({ found }) => found);
    const control = estimateOf(good(at(network, 'no-communication', cell.workers)));
    const link = links[network];
    const isCounted = !cell.strategy.startsWith('no-');
    const roofline =
      link && control && isCounted
        ? (cell.workers * facts.batchSize * 1000) /
          leastStepMs(strategyOf(cell.strategy), cell.workers, {
            computeMs: (cell.workers * facts.batchSize * 1000) / control.mean,
            wireMs: (bytesOf(network) * BITS) / (link.gbit * 1e6),
          })
        : undefined;
    return {
      ...base,
      state: 'measured',
      imagesPerSec,
      efficiency: efficiencyOf(cell, imagesPerSec, alone),
      ofControl: control && isCounted ? ratio(imagesPerSec, control, 1) : undefined,
      roofline,
      ofRoofline: roofline === undefined ? undefined : imagesPerSec.mean / roofline,
    };
  });
  return { rows, links };
}

interface Base {
  readonly workers: number;
  readonly found?: Estimate;
}
function efficiencyOf({ strategy, workers }: Cell, imagesPerSec: Estimate, alone: Base | undefined): Estimate | undefined {
  if (!alone?.found || strategy === 'no-computation') return undefined;
  // By itself it is 1, whatever its steps say.
  if (strategy === 'no-communication' && workers === alone.workers) return { n: alone.found.n, mean: 1 };
  return ratio(imagesPerSec, alone.found, workers / alone.workers);
}

/** As given, or as the ring without computation reached it with the most workers. */
function linkOf(
  bytes: number,
  { linkGbit, slowDown }: Facts,
  wire: (workers: number) => readonly RunRecord[],
  workers: readonly number[],
): StudySummary['links'][string] | undefined {
  if (linkGbit !== undefined) return { gbit: linkGbit * slowDown, from: 'given' };
  const most = [...workers].reverse().find((count) => wire(count).length > 0);
  if (most === undefined) return undefined;
  const times = wire(most).map(({ numbers }) => numbers.msPerStepMedian!);
  const ms = times.reduce((sum, one) => sum + one, 0) / times.length;
  return { gbit: (bytes * BITS * loadOf(most, 0, false)) / (ms * 1e6), from: 'measured' };
}
