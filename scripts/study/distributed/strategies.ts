/**
 * The strategies of the distributed study by name, and where their parameter servers run. Pure.
 *
 * `ring`; `ps-sync@1` (or @2, …): that many servers on hosts without workers; `ps-sync@n`: as many as workers; `ps-sync@colocated`: one beside each worker; `ps-async`, `ps-ssp:S` alike. Beside them stand
 * `no-communication`, N workers that exchange nothing while they train (the control), and `no-computation`, a ring that computes nothing: what the wire alone takes.
 */

import { assign, type HostSpec } from '../../../launcher/hosts';
import { UsageError } from '../../../src/errors';

export interface Strategy {
  /** As on the command line. */
  readonly name: string;
  readonly kind: 'no-communication' | 'no-computation' | 'ring' | 'servers';
  /** tsrun's: what each run gets. */
  readonly strategy: string;
  /** Of `servers`: how many, or as many as workers. */
  readonly servers?: number | 'n' | 'colocated';
}

const plain = ['ring', 'no-communication', 'no-computation'] as const;

/** @throws UsageError there is none of that name */
export function strategyOf(name: string): Strategy {
  const kind = plain.find((one) => one === name);
  if (kind) return { name, kind, strategy: 'ring' };
  const [, strategy, count] = /^(ps-sync|ps-async|ps-ssp:\d{1,6})@([1-9]\d{0,3}|n|colocated)$/.exec(name) ?? [];
  if (strategy === undefined || count === undefined)
    throw new UsageError(
      `There is no strategy '${name}': there are ring, and ps-sync, ps-async, ps-ssp:S with @1, @2, … (servers on hosts of their own), @n (as many as workers) or @colocated (one beside each worker).`,
    );
  return { name, kind: 'servers', strategy, servers: count === 'n' || count === 'colocated' ? count : Number(count) };
}

/** The host of each process; `localhost` where the study has no hosts. */
export interface Placement {
  readonly ranks: readonly string[];
  readonly servers: readonly string[];
}
export interface Hosts {
  /** undefined: this machine alone. */
  readonly all?: readonly HostSpec[];
  /** For servers with hosts of their own; undefined: those without workers. */
  readonly forServers?: readonly string[];
  readonly oversubscribe: boolean;
}

const inTurn = (count: number, hosts: readonly string[]): string[] => Array.from({ length: count }, (_, i) => hosts[i % hosts.length]!);

/** @returns why it cannot be, or where everything runs @throws LaunchError too few slots */
export function placementOf(
  { kind, servers = 0 }: Strategy,
  workers: number,
  { all, forServers, oversubscribe }: Hosts,
): Placement | string {
  if (kind === 'no-computation' && workers === 1) return 'one worker has nobody to exchange with';
  const count = typeof servers === 'number' ? servers : workers;
  if (!all) return { ranks: Array(workers).fill('localhost'), servers: Array(count).fill('localhost') };
  const ranks = assign(workers, all, { oversubscribe }).map(({ host }) => host);
  if (servers === 'colocated') return { ranks, servers: inTurn(count, [...new Set(ranks)]) };
  // From the last on: a server stays where it is when there are more workers.
  const free =
    forServers ??
    all
      .map(({ host }) => host)
      .filter((host) => !ranks.includes(host))
      .reverse();
  if (count > free.length && (forServers === undefined || free.length === 0))
    return `its ${count} servers need as many hosts without workers, there are ${free.length}: name more hosts, or some with --ps-hosts`;
  return { ranks, servers: inTurn(count, free) };
}

/** Words for tsrun, in front of the script. */
export function launchWords({ strategy, kind }: Strategy, workers: number, { servers }: Placement): string[] {
  const hosts = [...new Set(servers)];
  const places = hosts.length === 0 || (hosts.length === 1 && hosts[0] === 'localhost') ? [] : [`--ps-hosts=${hosts.join(',')}`];
  return [`--np=${workers}`, `--strategy=${strategy}`, ...(kind === 'servers' ? [`--ps=${servers.length}`, ...places] : [])];
}

/** Communication alone is the same in every step. */
const MOST_WIRE_STEPS = 20;
/** Words for the benchmark, behind those of all runs: of an option given twice the last counts. */
export function benchmarkWords({ kind }: Strategy, iterations: number): string[] {
  if (kind === 'no-communication') return ['--no-communication'];
  return kind === 'no-computation' ? ['--emulate-compute=none', `--iterations=${Math.min(iterations, MOST_WIRE_STEPS)}`, '--warmup=1'] : [];
}
