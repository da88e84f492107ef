/**
 * Settings in which the ranks must agree besides those of policy.ts, compared before the job begins. Pure.
 *
 * The rest may differ: by rank 0's value go all (cache capacity, stall times), or each by its own (cycle time, start time-out, transport, streams, backend, threads, logs, timelines).
 */
import { type Config, knobs } from '../config';
import { RendezvousError } from '../errors';
import { MOST_FUSED_BYTES } from './fuse';
import { ranksAndHosts } from './ranks';

/** What a rank tells the others. */
export interface ToldSettings extends Pick<Config, 'fusionThresholdBytes' | 'strategy'> {
  readonly host: string;
}

interface Rule {
  readonly name: 'fusionThresholdBytes' | 'strategy';
  readonly isAgainst: (own: ToldSettings, first: ToldSettings) => boolean;
  readonly why: string;
}

const fusedBytes = ({ fusionThresholdBytes }: ToldSettings): number => Math.min(fusionThresholdBytes, MOST_FUSED_BYTES);

const rules: readonly Rule[] = [
  {
    name: 'fusionThresholdBytes',
    isAgainst: (own, first) => fusedBytes(own) < fusedBytes(first),
    why: 'rank 0 fuses for all, by its own value, and no other rank may have a smaller one',
  },
  {
    name: 'strategy',
    isAgainst: (own, first) => own.strategy !== first.strategy,
    why: 'ranks whose optimizers exchange in different ways wait for each other for ever',
  },
];

/** @param told by each rank @throws RendezvousError ranks were given different values of what must be alike: which, by whom, and how all get one */
export function checkAlike(told: readonly ToldSettings[]): void {
  const [first] = told as [ToldSettings];
  const who = (ranks: readonly number[]): string => ranksAndHosts(ranks, (rank) => told[rank]!.host);
  for (const { name, isAgainst, why } of rules) {
    const other = told.find((one) => isAgainst(one, first));
    if (!other) continue;
    const ranks = [...told.keys()].filter((rank) => told[rank]![name] === other[name]);
    const { env } = knobs[name];
    throw new RendezvousError(
      `${env} is ${other[name]} on ${who(ranks)}, but ${first[name]} on ${who([0])}: ${why}. Set it alike on every rank; -x ${env}=${first[name]} of tsrun gives it to all.`,
    );
  }
}
