/**
 * Runs the programs that the installation needs, and says what was done: tsrun's process. Invariants: each has a deadline; none outlives tsrun's Ctrl-C.
 */
import { LaunchError } from '../errors';
import { runToEnd } from '../process';
import type { Progress } from './progress';

/** Of a program that failed, so many of its last lines are shown. */
const SHOWN_LINES = 20;

export interface Ended {
  readonly isOk: boolean;
  readonly out: string;
  readonly err: string;
  /** As '13.5'. */
  readonly seconds: string;
}

export interface RunOptions {
  readonly cwd: string;
  readonly timeoutMs: number;
}

export class Runner {
  constructor(
    readonly env: Record<string, string>,
    readonly progress: Progress,
    private readonly signal: AbortSignal,
  ) {}

  say(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** Whether it works is the caller's business. */
  async try(argv: readonly string[], { cwd, timeoutMs }: RunOptions): Promise<Ended> {
    const started = performance.now();
    const ended = await runToEnd(argv, this.env, timeoutMs, { cwd, signal: this.signal });
    return { ...ended, seconds: ((performance.now() - started) / 1000).toFixed(1) };
  }

  /** @throws LaunchError it failed: with its last lines */
  async run(argv: readonly string[], options: RunOptions & { what: string; mend?: string }): Promise<Ended> {
    const ended = await this.try(argv, options);
    if (ended.isOk) return ended;
    throw new LaunchError(`${options.what} failed (${argv.join(' ')}):\n${lastLines(ended)}${options.mend ? `\n${options.mend}` : ''}`, 3);
  }
}

export const lastLines = ({ out, err }: Ended): string => `${out}\n${err}`.trim().split('\n').slice(-SHOWN_LINES).join('\n');
