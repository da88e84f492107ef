/**
 * What each process of a job learns of itself, as variables: the launcher's contract with src/config.ts. Pure.
 *
 * A parameter server is no rank and has none of a rank's variables; nor does either inherit any from whoever started tsrun (rank_specs.ts leaves them out).
 */
import { type Knob, knobs } from '../src/config';
import type { Assignment } from './hosts';

/** Alike for all processes of the job. */
export interface Crew {
  readonly ranks: number;
  readonly servers: number;
  readonly keepsGoing: boolean;
  /** Of the launcher's terminal; 0: it has none. */
  readonly terminalColumns: number;
}

/** @param hostname of its host, as the list or the host itself says */
export function rankVariables({ rank, localRank, localSize, crossRank, crossSize }: Assignment, hostname: string, crew: Crew) {
  return variables([
    [knobs.rank, rank],
    [knobs.size, crew.ranks],
    [knobs.localRank, localRank],
    [knobs.localSize, localSize],
    [knobs.crossRank, crossRank],
    [knobs.crossSize, crossSize],
    [knobs.hostname, hostname],
    ...ofAll(crew),
  ]);
}

/** Servers compute on processors: they see no GPU. */
export function serverVariables(server: number, hostname: string, crew: Crew): Record<string, string> {
  return {
    CUDA_VISIBLE_DEVICES: '',
    HIP_VISIBLE_DEVICES: '',
    ...variables([[knobs.server, server], [knobs.workers, crew.ranks], [knobs.host, hostname], ...ofAll(crew)]),
  };
}

type Setting = readonly [Knob, string | number];

const ofAll = ({ servers, keepsGoing, terminalColumns }: Crew): Setting[] => [
  ...(servers > 0 ? ([[knobs.servers, servers]] as const) : []),
  ...(keepsGoing ? ([[knobs.keepGoing, 1]] as const) : []),
  [knobs.terminalColumns, terminalColumns],
];

const variables = (settings: readonly Setting[]): Record<string, string> =>
  Object.fromEntries(settings.map(([{ env }, value]) => [env, String(value)]));
