/** A library that khorovod's allreduce is compared with: what it is asked for, what it answers. Each runs a small program that lies beside this file. */
import type { Dtype } from '../../dtype';
import type { Op } from '../collective_args';
import type { Schedule } from '../collective_figures';

export const peerNames = ['gloo', 'gloo-cpp', 'openmpi', 'openmpi-tcp'] as const;
export type PeerName = (typeof peerNames)[number];

/** What all of them can. */
export const peerDtypes: readonly Dtype[] = ['float32', 'float64', 'int32', 'int64'];
export const peerOps: readonly Op[] = ['sum', 'min', 'max', 'product'];

export interface PeerRequest {
  readonly ranks: number;
  readonly dtype: Dtype;
  readonly op: Op;
  readonly schedules: readonly Schedule[];
  /** For files of a run. */
  readonly folder: string;
}

export interface PeerRow {
  readonly bytes: number;
  readonly samplesUs: readonly number[];
  readonly wrong: number;
}

export interface PeerRun {
  readonly version: string;
  readonly rows: readonly PeerRow[];
}

/** It cannot be run here: why, and what installs it. */
export interface Missing {
  readonly why: string;
  readonly install: string;
}

export interface Peer {
  readonly name: PeerName;
  /** In tables and plots. */
  readonly title: string;
  /** Finds it, compiles its program into the folder. @returns what runs it once, through all sizes */
  prepare(folder: string): Promise<((request: PeerRequest) => Promise<PeerRun>) | Missing>;
}

/** What a program of these is told. */
export const wordsOf = ({ dtype, op, schedules }: PeerRequest): string[] => [
  dtype,
  op,
  ...schedules.map(({ bytes, warmUps, iterations, isAligned }) => `${bytes}:${warmUps}:${iterations}:${isAligned ? 1 : 0}`),
];

/** What it prints: JSON, a line each. @throws Error a size is missing, or a line is none */
export function parsePeerRun(name: string, out: string, { schedules }: PeerRequest): { version?: string; rows: PeerRow[] } {
  const lines = out.split('\n').filter((line) => line.startsWith('{'));
  const found = lines.map((line) => JSON.parse(line) as Partial<PeerRow> & { version?: string });
  const rows = found.filter((row): row is PeerRow => row.bytes !== undefined);
  const sizes = (list: readonly { bytes: number }[]): string => list.map(({ bytes }) => bytes).join(', ');
  if (sizes(rows) !== sizes(schedules))
    throw new Error(`${name} was to measure ${sizes(schedules)} bytes, but answered for '${sizes(rows)}'.`);
  return { version: found.find(({ version }) => version !== undefined)?.version, rows };
}
