/**
 * By what an allreduce is chosen: what each rank was told, and what all of them go by. Pure.
 *
 * Ranks that chose differently would wait for each other for ever, so they compare before the job begins. The cost model is rank 0's; a rank that was given none, or a file that is not on its host, takes it too.
 */
import { costModelText, defaultCostModel, parseCostModel } from '../collective/cost_model';
import type { Policy } from '../collective/select';
import { type Algorithm, algorithms, type Config } from '../config';
import { RendezvousError, UsageError } from '../errors';
import { ranksAndHosts } from './ranks';

/** What a rank tells the others. */
export interface Told {
  readonly host: string;
  /** Separated by commas. */
  readonly algorithms: string;
  /** Its values; empty: none was given; UNREAD: there is no such file on its host. */
  readonly costModel: string;
}
export const UNREAD = 'unread';

/** The algorithms among which this rank was told to choose. @throws UsageError the settings contradict each other */
export function toldAlgorithms({ algorithm, hierarchicalAllreduce }: Pick<Config, 'algorithm' | 'hierarchicalAllreduce'>): Algorithm[] {
  if (algorithm === 'auto') {
    if (hierarchicalAllreduce === undefined) return [...algorithms];
    return hierarchicalAllreduce ? ['hierarchical'] : algorithms.filter((one) => one !== 'hierarchical');
  }
  if (hierarchicalAllreduce === undefined || hierarchicalAllreduce === (algorithm === 'hierarchical')) return [algorithm];
  throw new UsageError(
    `TSRUN_ALGORITHM (--algorithm) is '${algorithm}', but HOROVOD_HIERARCHICAL_ALLREDUCE (--[no-]hierarchical-allreduce) is ${hierarchicalAllreduce ? 1 : 0}. Set one of them only.`,
  );
}

/** The values of the file that this rank was given, as they are told. @param text undefined: there is no such file here @throws UsageError rank 0's is not there, or what it says makes no sense */
export function toldCostModel(file: string, text: string | undefined, rank: number): string {
  if (text !== undefined) return costModelText(parseCostModel(text, file));
  if (rank !== 0) return UNREAD;
  throw new UsageError(
    `The cost model '${file}' (TSRUN_COST_MODEL) cannot be read on rank 0, whose values all ranks use. \`tsrun bench --calibrate FILE\` writes one.`,
  );
}

/** @param told by each rank @throws RendezvousError ranks were told different things: which, and what */
export function agreedPolicy(told: readonly Told[]): Policy {
  const [first] = told as [Told];
  const who = (ranks: readonly number[]): string => ranksAndHosts(ranks, (rank) => told[rank]!.host);
  const others = (differs: (one: Told) => boolean): number[] => told.flatMap((one, rank) => (differs(one) ? [rank] : []));
  const [choosing] = others((one) => one.algorithms !== first.algorithms);
  if (choosing !== undefined)
    throw new RendezvousError(
      `${who(others((one) => one.algorithms === told[choosing]!.algorithms))} would choose among the algorithms ${told[choosing]!.algorithms}, ${who([0])} among ${first.algorithms}. Set TSRUN_ALGORITHM and HOROVOD_HIERARCHICAL_ALLREDUCE alike on every rank.`,
    );
  const isOwn = ({ costModel }: Told): boolean =>
    costModel !== '' && costModel !== first.costModel && !(costModel === UNREAD && first.costModel !== '');
  const differing = others(isOwn);
  if (differing.length > 0)
    throw new RendezvousError(
      `${who(differing)} ${differing.length > 1 ? 'have' : 'has'} another cost model than ${who([0])}, which has ${first.costModel === '' ? 'none' : first.costModel}. Give TSRUN_COST_MODEL the same values on every rank, or set it on rank 0 only.`,
    );
  return {
    among: first.algorithms === '' ? algorithms : algorithms.filter((one) => first.algorithms.split(',').includes(one)),
    costs: first.costModel === '' ? defaultCostModel : parseCostModel(first.costModel, 'of rank 0'),
  };
}
