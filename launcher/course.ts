/**
 * When a job that runs is to be ended by tsrun itself. Pure; which failure it ends with is report.ts's.
 *
 * A rank that fails ends the job, but with --keep-going; a server that fails always does: what it held is lost. Servers end by themselves once no rank is left, and have a while for it: they may
 * still write down what they hold. Those that need longer are ended, and so are all at once when no rank has ended well.
 */
import { isFailure, type RankEnd, waitBeforeEndingMs } from './report';
import { isServerLabel } from './servers';

/** From the last rank's end. */
export const SERVER_GRACE_MS = 5000;

/** What of the job this tsrun has started. */
export interface Running {
  readonly ranks: number;
  readonly servers: number;
  readonly keepsGoing: boolean;
  /** One tsrun a host: when the ranks of all others had ended; undefined: some run. −∞: there are no others. */
  readonly othersThroughMs: number | undefined;
}

export interface Course {
  readonly kind: 'failure' | 'no rank is left';
  /** The job is to be ended then, if nothing has changed. */
  readonly afterMs: number;
}

const rankEnds = (ends: readonly RankEnd[]): RankEnd[] => ends.filter(({ label }) => !isServerLabel(label));
const hasRanksLeft = (ends: readonly RankEnd[], { ranks, othersThroughMs }: Running): boolean =>
  rankEnds(ends).length < ranks || othersThroughMs === undefined;

/** undefined: it goes on, or ends by itself. */
export function courseOf(ends: readonly RankEnd[], running: Running, nowMs: number): Course | undefined {
  const { servers, keepsGoing, othersThroughMs } = running;
  const waitMs = waitBeforeEndingMs(keepsGoing ? ends.filter(({ label }) => isServerLabel(label)) : ends, nowMs);
  if (waitMs !== undefined) return { kind: 'failure', afterMs: waitMs };
  const own = rankEnds(ends);
  if (hasRanksLeft(ends, running) || ends.length - own.length === servers) return undefined;
  const hasHope = othersThroughMs !== Number.NEGATIVE_INFINITY || !own.every(isFailure);
  const throughMs = Math.max(othersThroughMs!, ...own.map(({ atMs }) => atMs));
  return { kind: 'no rank is left', afterMs: hasHope ? Math.max(0, throughMs + SERVER_GRACE_MS - nowMs) : 0 };
}

/** Is this failure, already among the ends, one that the job survives? */
export function isSurvived(end: RankEnd, ends: readonly RankEnd[], running: Running): boolean {
  return running.keepsGoing && isFailure(end) && !isServerLabel(end.label) && hasRanksLeft(ends, running);
}
