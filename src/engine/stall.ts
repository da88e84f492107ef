/**
 * Calls that some ranks submitted long ago and others never: a warning while they wait, an error in the end. Pure; coordinator.
 *
 * A call waits from the moment the first rank submitted it, whether it came in full or as a cached id. Warnings are one for each set of
 * missing ranks, said again when they change and otherwise once in the time of the warning. Time to fail counts by itself: it may be
 * shorter than the time to warn, and is obeyed then too (Horovod ignores it).
 */
import { type HvdError, StallError } from '../errors';
import type { WaitingCall } from './negotiate';
import { listed, ranksAndHosts } from './ranks';

const mostNames = 6;
/** A warning time of 0 would else fill the log. */
const LEAST_REPEAT_MS = 1000;

interface Stalled {
  readonly missing: readonly number[];
  /** The oldest first. */
  readonly calls: WaitingCall[];
}

export class StallInspector {
  /** By set of missing ranks: what was said, and when. */
  private readonly said = new Map<string, { names: string; atMs: number }>();

  /** @param options.failAfterMs 0: never */
  constructor(private readonly options: { readonly warnAfterMs: number; readonly failAfterMs: number }) {}

  /** @param waiting the oldest first */
  inspect(waiting: readonly WaitingCall[], nowMs: number, hostOf: (rank: number) => string): { warnings: string[]; failures: HvdError[] } {
    const { warnAfterMs, failAfterMs } = this.options;
    const failures =
      failAfterMs > 0 ? stalledFor(failAfterMs, waiting, nowMs).map((stalled) => failureOf(stalled, nowMs, failAfterMs, hostOf)) : [];
    const late = stalledFor(warnAfterMs, waiting, nowMs);
    const warnings = late.filter((stalled) => this.isNews(stalled, nowMs)).map((stalled) => warningOf(stalled, nowMs, hostOf));
    const missingNow = new Set(late.map(({ missing }) => missing.join()));
    for (const missing of this.said.keys()) if (!missingNow.has(missing)) this.said.delete(missing);
    return { warnings, failures };
  }

  private isNews({ missing, calls }: Stalled, nowMs: number): boolean {
    const key = missing.join();
    const names = JSON.stringify(calls.slice(0, mostNames).map(({ call }) => call.name));
    const before = this.said.get(key);
    if (before?.names === names && nowMs - before.atMs < Math.max(this.options.warnAfterMs, LEAST_REPEAT_MS)) return false;
    this.said.set(key, { names, atMs: nowMs });
    return true;
  }
}

function stalledFor(leastMs: number, waiting: readonly WaitingCall[], nowMs: number): Stalled[] {
  const stalled = new Map<string, Stalled>();
  for (const one of waiting) {
    if (nowMs - one.sinceMs < leastMs) continue;
    const missing = one.missing();
    const known = stalled.get(missing.join());
    if (known) known.calls.push(one);
    else stalled.set(missing.join(), { missing, calls: [one] });
  }
  return [...stalled.values()];
}

/** "rank 1 (host b) did not submit 'a' (allreduce), which rank 0 (host a) submitted up to 61.0 s ago" */
function whatStalls({ missing, calls }: Stalled, nowMs: number, hostOf: (rank: number) => string): string {
  const [oldest] = calls as [WaitingCall];
  const names = listed(
    calls.map(({ call }) => `'${call.name}' (${call.kind})`),
    mostNames,
  );
  const others = ranksAndHosts(oldest.submitted(), hostOf);
  const seconds = ((nowMs - oldest.sinceMs) / 1000).toFixed(1);
  return `${ranksAndHosts(missing, hostOf)} did not submit ${names}, which ${others} submitted up to ${seconds} s ago`;
}

const todo =
  'Let every rank make the same collective calls: look for a branch, a loop or a rank test that only some ranks take, ' +
  'and for data that ends earlier on some.';

const warningOf = (stalled: Stalled, nowMs: number, hostOf: (rank: number) => string): string =>
  `Stalled: ${whatStalls(stalled, nowMs, hostOf)}. ${todo}`;

function failureOf(stalled: Stalled, nowMs: number, failAfterMs: number, hostOf: (rank: number) => string): StallError {
  const [peer] = stalled.missing as [number];
  return new StallError(
    `The job is ended because it stalls: ${whatStalls(stalled, nowMs, hostOf)}. ${todo} ` +
      `HOROVOD_STALL_SHUTDOWN_TIME_SECONDS (now ${failAfterMs / 1000}; 0: never) sets how long is waited.`,
    { peer, host: hostOf(peer), tensor: stalled.calls[0]!.call.name },
  );
}
