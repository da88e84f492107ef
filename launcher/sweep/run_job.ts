/**
 * Runs one job of a sweep, as `tsrun` of its own, to its end. tsrun's process (the sweep's).
 *
 * Its output goes to a file, what ranks report and how it ended come over Node's channel. Nobody waits for a deadline here: a job has its own (--timeout, and those of its start and end).
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { environment } from '../../src/config';
import { onceEnded, signalProcess, startProcess } from '../process';
import { RUN_OF_SWEEP, type RunMessage } from './messages';
import { parseReport, type RankRecord } from './records';

const TSRUN = path.join(__dirname, '..', 'tsrun.js');
const TAIL_LINES = 20;

export interface JobEnd {
  readonly exitCode: number;
  readonly reports: readonly RankRecord[];
  /** What tsrun said of the end. */
  readonly lines: readonly string[];
}

export class SweptJob {
  private pid = 0;

  /** @param logFile is written anew @returns how it ended, whatever happens to it */
  run(words: readonly string[], logFile: string): Promise<JobEnd> {
    const log = openSync(logFile, 'w');
    const child = startProcess({
      argv: [process.execPath, TSRUN, RUN_OF_SWEEP, ...words],
      env: environment(),
      stdin: 'null',
      stdout: log,
      stderr: log,
      hasChannel: true,
    });
    closeSync(log);
    this.pid = child.pid ?? 0;
    const reports: RankRecord[] = [];
    let end: Extract<RunMessage, { kind: 'end' }> | undefined;
    child.on('message', (message: RunMessage) => {
      if (message.kind === 'end') end = message;
      else reports.push(...[parseReport(message.rank, message.json)].filter((report) => report !== undefined));
    });
    return new Promise((resolve) => {
      onceEnded(child, 'close', (how) => {
        this.pid = 0;
        const code = child.exitCode ?? 1;
        // Without its last message it was killed, or has refused the job.
        const lines = end?.lines ?? [...tail(logFile), ...(code === 1 ? [`tsrun: tsrun ${how}`] : [])];
        resolve({ exitCode: end?.exitCode ?? code, reports, lines });
      });
    });
  }

  /** As a terminal or a supervisor would; does nothing once it has ended. */
  signal(name: NodeJS.Signals): void {
    if (this.pid > 0) signalProcess(this.pid, name);
  }
}

function tail(file: string): string[] {
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-TAIL_LINES);
}

/** The one sentence of how it ended, and the error or last word of the rank that failed first. */
export function causeOf({ exitCode, lines }: Pick<JobEnd, 'exitCode' | 'lines'>): string {
  const verdict =
    (lines.at(-1) ?? '').replace(/^tsrun: (first, )?/, '').replace(/; the others were ended$/, '') ||
    `tsrun ended with exit code ${exitCode}`;
  const after = (head: RegExp): string[] => {
    const at = lines.findIndex((line) => head.test(line));
    const rest = at < 0 ? [] : lines.slice(at + 1);
    const end = rest.findIndex((line) => line.startsWith('tsrun: '));
    return (end < 0 ? rest : rest.slice(0, end)).map((line) => line.replace(/^ {2}(\| )?/, ''));
  };
  const error = after(/^tsrun: its error /)[0] ?? after(/ on stderr:$/).find((line) => /^\S*(Error|Exception)\b/.test(line));
  return error === undefined ? verdict : `${verdict}: ${error}`;
}
