/**
 * `tsrun sweep`: one job after the other, each a tsrun of its own; what is found is kept after each. tsrun's process.
 *
 * What runs in which order is plan.ts, what comes out of it summary.ts. Invariants: nothing starts before the whole command line and the folder are found right; at most one job runs at a time, and
 * it ends with this process, whatever ends it; a run counts only when it has come to its own end: what a signal cuts off is run again by the next sweep.
 */
import { writeLine } from '../../src/log';
import { signalNumber } from '../report';
import type { SweepRequest } from './args';
import { changesOf, machineFacts } from './machine';
import { type Asked, type Cell, fileNameOf, jobWords, nameOf, openRuns, type Planned, planOf } from './plan';
import { chosenMetric, numbersOf, type RunRecord, type SweepFile } from './records';
import { writeResults } from './results';
import { causeOf, type JobEnd, SweptJob } from './run_job';
import { LOGS, SweepFolder } from './store';
import { shown } from './table';

const SILENT_JOB = 'no rank reported a number: call hvd.report({ imagesPerSec }) in the script';
/** Npm passes a Ctrl-C on that the terminal has delivered already. */
const SAME_SIGNAL_MS = 150;

const say = (text: string): void => void process.stdout.write(text);

/** What one kind of sweep does in its own way. */
export interface SweepKind {
  /** The words behind `tsrun` that run the cell alone. */
  readonly wordsOf: (asked: Asked, cell: Cell) => readonly string[];
  /** Cells that are not run, and why. */
  readonly leftOut: ReadonlyArray<{ readonly cell: Cell; readonly why: string }>;
  /** What its results need besides the runs: kept in sweep.json, of the last start. */
  readonly facts?: unknown;
  readonly writeResults: typeof writeResults;
  /** In the folder: what is to be read first. */
  readonly resultFile: string;
}
const plainSweep: SweepKind = { wordsOf: jobWords, leftOut: [], writeResults, resultFile: 'report.html' };

/** @returns the exit code of tsrun @throws LaunchError (exit 2) the folder is no place for this sweep */
export async function sweep(request: SweepRequest, kind: SweepKind = plainSweep): Promise<number> {
  const without = new Set(kind.leftOut.map(({ cell }) => nameOf(cell)));
  const plan = planOf(request.asked).filter(({ cell }) => !without.has(nameOf(cell)));
  if (request.isDryRun) {
    say(plan.map((run) => `${labelOf(run)}: tsrun ${kind.wordsOf(request.asked, run.cell).join(' ')}\n`).join(''));
    say(kind.leftOut.map(({ cell, why }) => `${nameOf(cell)}: left out: ${why}\n`).join(''));
    return 0;
  }
  // Who reads along may leave: the sweep goes on.
  process.stdout.on('error', () => {});
  const { store, found } = SweepFolder.open(request.folder, request.asked);
  try {
    return await new Sweep(request, kind, store, found).run(plan);
  } finally {
    store.unlock();
  }
}

class Sweep {
  private readonly warnings: string[] = [];
  private readonly job = new SweptJob();
  private file: SweepFile;
  private stoppedBy?: NodeJS.Signals;
  private lastSignalMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly request: SweepRequest,
    private readonly kind: SweepKind,
    private readonly store: SweepFolder,
    found: SweepFile | undefined,
  ) {
    this.file = found ?? { format: 'khorovod sweep 1', asked: request.asked, sessions: [], runs: [] };
  }

  async run(plan: readonly Planned[]): Promise<number> {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => this.stop(signal));
    const open = openRuns(plan, this.file.runs, this.request.runsFailedAgain);
    if (open.length < plan.length) say(`${plan.length - open.length} of ${plan.length} runs are done already\n`);
    for (const { cell, why } of this.kind.leftOut) say(`${nameOf(cell)} is left out: ${why}\n`);
    if (open.length > 0) this.begin();
    for (const warning of this.warnings) writeLine(`tsrun: warning: ${warning}`);
    for (const planned of open) {
      if (this.stoppedBy) break;
      await this.runOne(planned, plan.length);
    }
    await this.conclude(plan.length);
    if (this.stoppedBy) return 128 + signalNumber(this.stoppedBy);
    return this.file.runs.some(({ isFailed }) => isFailed) ? 1 : 0;
  }

  /** From here on the folder is this sweep's. */
  private begin(): void {
    const { commandLine, cwd } = this.request;
    const { sessions } = this.file;
    const machine = machineFacts(cwd);
    const before = sessions.at(-1);
    const changes = before ? changesOf(before.machine, machine) : [];
    if (changes.length > 0) this.warnings.push(`not all runs are of one machine: ${changes.join('; ')}`);
    this.file = {
      ...this.file,
      ...(this.kind.facts === undefined ? {} : { facts: this.kind.facts }),
      sessions: [...sessions, { startedAt: new Date().toISOString(), commandLine, cwd, machine }],
    };
    this.store.save(this.file);
  }

  private async runOne(planned: Planned, all: number): Promise<void> {
    const { asked } = this.request;
    const log = `${LOGS}/${fileNameOf(planned, asked)}`;
    // Of a run that is done once more only the last counts.
    const others = this.file.runs.filter(({ cell, repeat }) => nameOf(cell) !== nameOf(planned.cell) || repeat !== planned.repeat);
    say(`[${String(others.length + 1).padStart(String(all).length)}/${all}] ${labelOf(planned)}: `);
    const [startedAt, from] = [new Date().toISOString(), performance.now()];
    const end = await this.job.run(this.kind.wordsOf(asked, planned.cell), this.store.path(log));
    if (this.stoppedBy) {
      say('stopped, does not count\n');
      return;
    }
    const seconds = Math.round(performance.now() - from) / 1000;
    const run = recordOf(planned, end, { startedAt, endedAt: new Date().toISOString(), seconds, log });
    const [session, ...earlier] = [...this.file.sessions].reverse();
    this.file = { ...this.file, sessions: [...earlier.reverse(), { ...session!, endedAt: run.endedAt }], runs: [...others, run] };
    this.store.save(this.file);
    say(`${this.outcomeOf(run)} (${seconds.toFixed(1)} s)\n`);
  }

  private outcomeOf(run: RunRecord): string {
    if (run.isFailed) return `FAILED: ${run.cause}`;
    const metric = chosenMetric(this.request.metric, this.file.runs)!;
    const value = run.numbers[metric];
    return value === undefined ? `no ${metric}, but ${Object.keys(run.numbers).join(', ')}` : `${metric} ${shown(value)}`;
  }

  /** The second one at once, as with a job alone. */
  private stop(signal: NodeJS.Signals): void {
    const now = performance.now();
    if (now - this.lastSignalMs < SAME_SIGNAL_MS) return;
    this.lastSignalMs = now;
    this.stoppedBy ??= signal;
    this.job.signal(signal);
  }

  private async conclude(all: number): Promise<void> {
    const { file, text } = await this.kind.writeResults(this.store, this.file, this.request.metric, this.warnings);
    this.file = file;
    say(`\n${text}\n\n`);
    const { runs } = this.file;
    const left = all - runs.length;
    if (left > 0) say(`${runs.length} of ${all} runs are kept; the same command goes on with the other ${left}\n`);
    const failed = runs.filter(({ isFailed }) => isFailed).length;
    if (failed > 0) say(`${failed} failed: the causes are in the report; --again-failed runs them once more\n`);
    say(`${this.store.path(this.kind.resultFile)}\n`);
  }
}

const labelOf = ({ cell, repeat }: Planned): string => `${nameOf(cell)}, repeat ${repeat}`;

function recordOf({ cell, repeat }: Planned, end: JobEnd, about: Pick<RunRecord, 'startedAt' | 'endedAt' | 'seconds' | 'log'>): RunRecord {
  const { exitCode, reports, lines } = end;
  const numbers = numbersOf(reports);
  const isSilent = exitCode === 0 && Object.keys(numbers).length === 0;
  const failure = exitCode !== 0 ? { cause: causeOf(end), details: lines } : isSilent ? { cause: SILENT_JOB } : {};
  return { cell, repeat, isFailed: exitCode !== 0 || isSilent, exitCode, ...about, reports, numbers, ...failure };
}
