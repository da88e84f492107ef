/**
 * Which failure ends a job, with which exit code, and what is said of it. Pure.
 *
 * First is what tsrun knew first; clocks of hosts are not compared. A rank that ended because of another one (its own record says PeerError, ShutdownError
 * or StallError) only counts when no other failure arrives within 2 s: the cause often exits later than those who noticed it. Ranks that we ended never count. A parameter server is as good
 * as a rank here.
 */
import os from 'node:os';
import type { ErrorRecord } from '../src/errors';
import { isServerLabel } from './servers';

export const CAUSE_WAIT_MS = 2000;
export const TAIL_LINES = 20;
export const TAIL_LINE_CHARS = 2000;

export interface RankEnd {
  label: string;
  host: string;
  code?: number;
  signal?: string;
  record?: ErrorRecord;
  isEndedByUs: boolean;
  /** When tsrun heard of it. */
  atMs: number;
}

/** What ended the job when no rank's failure did. */
export type Ending =
  | { readonly kind: 'signal'; readonly signal: string }
  | { readonly kind: 'timeout'; readonly seconds: number }
  | { readonly kind: 'cannot-start'; readonly text: string; readonly exitCode?: 2 | 3 | 4 }
  | { readonly kind: 'agent'; readonly text: string }
  /** Of a job with one tsrun a host: another host's has failed, with that code. */
  | { readonly kind: 'node'; readonly text: string; readonly exitCode: number };

const consequences = new Set(['ERR_HVD_PEER', 'ERR_HVD_SHUTDOWN', 'ERR_HVD_STALL', 'ERR_HVD_STEP']);
export const isConsequence = (end: RankEnd | undefined): boolean => end?.record !== undefined && consequences.has(end.record.code);

export function isFailure(end: RankEnd): boolean {
  return !end.isEndedByUs && (end.signal !== undefined || end.code !== 0);
}

/** The failure that counts, of those known so far in the order they became known. */
export function firstFailure(ends: readonly RankEnd[]): RankEnd | undefined {
  const failures = ends.filter(isFailure);
  const [first] = failures;
  if (first === undefined || !isConsequence(first)) return first;
  return failures.find((end) => !isConsequence(end) && end.atMs - first.atMs <= CAUSE_WAIT_MS) ?? first;
}

/** The rank whose failure stands for the job's. A host that was lost is no rank, and stands before those that have only noticed it. */
export function blamed(ending: Ending | undefined, first: RankEnd | undefined): RankEnd | undefined {
  return (ending?.kind === 'agent' || ending?.kind === 'node') && isConsequence(first) ? undefined : first;
}

/** How long to wait for a better cause before the other ranks are ended; undefined: nothing has failed. */
export function waitBeforeEndingMs(ends: readonly RankEnd[], nowMs: number): number | undefined {
  const first = firstFailure(ends);
  if (first === undefined) return undefined;
  return isConsequence(first) ? Math.max(0, first.atMs + CAUSE_WAIT_MS - nowMs) : 0;
}

export function signalNumber(name: string): number {
  return (os.constants.signals as Record<string, number>)[name] ?? 0;
}

/** The exit code of tsrun. A user's word (a signal, a time limit) stands over what ranks did afterwards. */
export function jobExitCode(ending: Ending | undefined, first: RankEnd | undefined, hasLostOutput: boolean): number {
  if (ending?.kind === 'cannot-start') return ending.exitCode ?? 3;
  if (ending?.kind === 'signal') return 128 + signalNumber(ending.signal);
  if (ending?.kind === 'timeout') return 124;
  if (first !== undefined) return exitCodeOf(first);
  if (ending?.kind === 'node') return ending.exitCode;
  return ending?.kind === 'agent' || hasLostOutput ? 1 : 0;
}

/** What a shell would see of that rank. */
export function exitCodeOf({ code, signal }: RankEnd): number {
  return signal === undefined ? (code ?? 1) : 128 + signalNumber(signal);
}

/** `rank 1 on host h ended with exit code 7`. */
export function describeEnd(end: RankEnd): string {
  const how =
    end.signal === undefined ? `ended with exit code ${end.code}` : `was ended by signal ${end.signal} (${signalNumber(end.signal)})`;
  return `${nameOf(end.label)} on host ${end.host} ${how}`;
}

/** `rank 1`; a process that is no rank (`ps0`) goes by its label. */
export function nameOf(label: string): string {
  return /^\d+$/.test(label) ? `rank ${label}` : label;
}

/** The last lines of the job on stderr; the verdict stands at the very end. None for a job that ended well. */
export function reportLines(
  ending: Ending | undefined,
  first: RankEnd | undefined,
  ends: readonly RankEnd[],
  stderrTail: readonly string[],
): string[] {
  switch (ending?.kind) {
    case 'cannot-start':
      return [`tsrun: cannot start: ${ending.text}`];
    case 'signal':
      return [`tsrun: ended by ${ending.signal}`];
    case 'timeout':
      return [`tsrun: ended after the ${ending.seconds} s of --timeout`];
  }
  const lines = first === undefined ? [] : failureLines(first, ends, stderrTail);
  return ending === undefined ? lines : [...lines, `tsrun: ${ending.text}`];
}

function failureLines(first: RankEnd, ends: readonly RankEnd[], stderrTail: readonly string[]): string[] {
  const later = ends.filter((end) => isFailure(end) && end !== first);
  const lines = later.slice(0, 10).map((end) => `tsrun: ${describeEnd(end)} as well`);
  if (later.length > 10) lines.push(`tsrun: … and ${later.length - 10} more`);
  if (stderrTail.length > 0)
    lines.push(`tsrun: the last lines of ${nameOf(first.label)} on stderr:`, ...stderrTail.map((line) => `  | ${line}`));
  if (first.record !== undefined) {
    const text = first.record.message.split('\n').slice(0, 5);
    lines.push(`tsrun: its error (${first.record.code}):`, ...text.map((line) => `  ${line}`));
  }
  if (isConsequence(first)) lines.push(...goneBefore(first, ends).map((end) => `tsrun: ${describeEnd(end)} before that`));
  // Servers are ended after a job that has come to its end, too.
  const others = ends.some(({ isEndedByUs, label }) => isEndedByUs && !isServerLabel(label)) ? '; the others were ended' : '';
  return [...lines, `tsrun: ${later.length > 0 ? 'first, ' : ''}${describeEnd(first)}${others}`];
}

/** No failure of theirs, but ranks cannot do without them. */
function goneBefore(first: RankEnd, ends: readonly RankEnd[]): RankEnd[] {
  return ends.filter((end) => isServerLabel(end.label) && !end.isEndedByUs && !isFailure(end) && end.atMs <= first.atMs);
}

/** `tsrun: rank 0 reports imagesPerSec 812, loss 0.3`. */
export function reportLine(rank: number, json: string): string {
  let text = json;
  try {
    const metrics: unknown = JSON.parse(json);
    if (typeof metrics === 'object' && metrics !== null) {
      text = Object.entries(metrics)
        .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
        .join(', ');
    }
  } catch {
    // Shown as it came.
  }
  return `tsrun: rank ${rank} reports ${text.replace(/[\x00-\x1f\x7f]/g, ' ').slice(0, TAIL_LINE_CHARS)}`;
}
