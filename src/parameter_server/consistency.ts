/**
 * Who may go on: the one rule behind synchronous, stale-synchronous and asynchronous training (Q. Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server", NIPS 2013).
 * Pure; a server asks it before it answers a push, because a worker that has its answer begins its next step.
 *
 * With staleness s a worker begins step k only when the slowest worker has finished step k − 1 − s. Staleness 0 is synchronous, without a bound it is asynchronous. Workers that have left or are lost
 * hold nobody up.
 */
export type Mode = { readonly kind: 'sync' } | { readonly kind: 'async' } | { readonly kind: 'ssp'; readonly staleness: number };

export interface Progress {
  readonly worker: number;
  /** Steps whose push has been applied. */
  readonly finished: number;
  readonly isActive: boolean;
}
export interface Verdict {
  readonly mayGoOn: boolean;
  /** One sentence, for logs and stall reports. */
  readonly why: string;
}

const stalenessOf = (mode: Mode): number => (mode.kind === 'sync' ? 0 : mode.kind === 'async' ? Number.POSITIVE_INFINITY : mode.staleness);

/** Whether a worker that has pushed step `step` (from 1 on) may begin the next. */
export function mayBeginNext(mode: Mode, step: number, workers: readonly Progress[]): Verdict {
  const active = workers.filter(({ isActive }) => isActive);
  const staleness = stalenessOf(mode);
  if (staleness === Number.POSITIVE_INFINITY) return { mayGoOn: true, why: 'nobody waits in asynchronous mode' };
  const needed = step - staleness;
  const behind = active.filter(({ finished }) => finished < needed);
  if (behind.length === 0) return { mayGoOn: true, why: `every worker has finished step ${Math.max(0, needed)}` };
  const names = behind.map(({ worker, finished }) => `${worker} (${finished} finished)`).join(', ');
  return {
    mayGoOn: false,
    why: `step ${step + 1} begins when every worker has finished step ${needed}; still behind: worker ${names}`,
  };
}

/** `ps-sync`, `ps-async`, `ps-ssp:3`, as TSRUN_STRATEGY has it. */
export function modeOfStrategy(strategy: string): Mode | undefined {
  if (strategy === 'ps-sync' || strategy === 'ps-ssp:0') return { kind: 'sync' };
  if (strategy === 'ps-async') return { kind: 'async' };
  const staleness = /^ps-ssp:(\d+)$/.exec(strategy)?.[1];
  return staleness === undefined ? undefined : { kind: 'ssp', staleness: Number(staleness) };
}
