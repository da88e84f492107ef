/**
 * One process of the job as its agent sees it: its pipes, and its end in the right order.
 *
 * Agent process. The end is told once the process is gone, what it had started is gone, and its last output has been passed on: in a graceful end what
 * it had started gets the rest of the grace, otherwise SIGKILL at once. Its pipes are read only while there is credit, so a slow console stops the rank.
 */
import type { ErrorRecord } from '../src/errors';
import type { khorovod } from '../src/wire/generated/messages';
import { readErrorRecord } from './key_file';
import { type ChildProcess, endCarriers, pause, signalGroup, signalProcess, startProcess } from './process';
import { catchesSignal, commandOf, groupMembers } from './process_table';
import { isPreloaded } from './script';

/** A pipe that stays open without a word this long after its rank is gone is held by a stranger. */
const SILENCE_MS = 1000;
const STDIN_CREDIT_BYTES = 1 << 18;

export interface RankSpec {
  label: string;
  argv: string[];
  /** What starts it on its own processors; empty: on all. */
  binding: readonly string[];
  env: Record<string, string>;
  cwd: string;
  hasStdin: boolean;
  errorFile: string;
}

export interface RankOwner {
  hasOutputCredit(): boolean;
  /** While a graceful end runs, what a rank had started may take its time. */
  isInGrace(): boolean;
  onOutput(rank: RankProcess, isStderr: boolean, data: Buffer): void;
  onStdinCredit(bytes: number): void;
  onEnded(rank: RankProcess, end: khorovod.RankEnded.$Properties): void;
}

export class RankProcess {
  private readonly child: ChildProcess;
  private lastOutputMs = 0;
  private isEndedByUs = false;
  hasExited = false;

  /** Starts it. When that fails, `onFailed` is called instead of `onEnded`. */
  constructor(
    readonly spec: RankSpec,
    private readonly owner: RankOwner,
    onFailed: (reason: string) => void,
  ) {
    const { argv, binding, env, cwd, hasStdin } = spec;
    this.child = startProcess({ argv: [...binding, ...argv], env, cwd, stdin: hasStdin ? 'pipe' : 'null', stdout: 'pipe', stderr: 'pipe' });
    this.child.on('error', (error) => {
      if (this.child.pid === undefined) onFailed(`'${argv[0]}' could not be started: ${error.message}`);
    });
    this.child.on('exit', (code, signal) => void this.settle(code, signal));
    this.read(false);
    this.read(true);
    // A rank that does not read its stdin, or closes it, is no error.
    this.child.stdin?.on('error', () => {});
    if (hasStdin && this.child.pid !== undefined) owner.onStdinCredit(STDIN_CREDIT_BYTES);
  }

  /** Names its process group too. Undefined: it could not be started. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  pauseOutput(): void {
    this.child.stdout?.pause();
    this.child.stderr?.pause();
  }

  resumeOutput(): void {
    this.lastOutputMs = performance.now();
    this.child.stdout?.resume();
    this.child.stderr?.resume();
  }

  writeStdin(data: Uint8Array, isEnd: boolean): void {
    const { stdin } = this.child;
    if (!stdin || stdin.destroyed || stdin.writableEnded) return;
    if (data.length > 0) stdin.write(data, (error) => error ?? this.owner.onStdinCredit(data.length));
    if (isEnd) stdin.end();
  }

  /** SIGTERM wakes what is stopped as well: it could not end otherwise. */
  end(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.pid === undefined) return;
    if (!this.hasExited) this.isEndedByUs = true;
    signalGroup(this.pid, signal);
    if (signal === 'SIGTERM') signalGroup(this.pid, 'SIGCONT');
  }

  suspend(isOn: boolean): void {
    if (this.pid !== undefined && !this.hasExited) signalGroup(this.pid, isOn ? 'SIGSTOP' : 'SIGCONT');
  }

  /**
   * Passes a signal on to the process itself when it has a handler; without one its default would end it. Node always has one for SIGUSR1, which opens
   * its inspector: only where our preload stands before it does the signal reach the script's own handler.
   */
  forward(signal: 'SIGUSR1' | 'SIGUSR2'): void {
    if (this.pid === undefined || this.hasExited || !catchesSignal(this.pid, signal)) return;
    const words = commandOf(this.pid);
    if (signal === 'SIGUSR1' && /(^|\/)node(js)?$/.test(words[0] ?? '') && !isPreloaded(words)) return;
    signalProcess(this.pid, signal);
  }

  private read(isStderr: boolean): void {
    const stream = isStderr ? this.child.stderr : this.child.stdout;
    stream?.on('error', () => {});
    stream?.on('data', (data: Buffer) => {
      this.lastOutputMs = performance.now();
      this.owner.onOutput(this, isStderr, data);
      if (!this.owner.hasOutputCredit()) stream.pause();
    });
    if (!this.owner.hasOutputCredit()) stream?.pause();
  }

  private async settle(code: number | null, signal: NodeJS.Signals | null): Promise<void> {
    this.hasExited = true;
    const wasEndedByUs = this.isEndedByUs;
    const group = this.pid!;
    while (this.owner.isInGrace() && groupMembers(group).length > 0) await pause(25);
    signalGroup(group, 'SIGKILL');
    await endCarriers(`TSRUN_ERROR_FILE=${this.spec.errorFile}`);
    await this.drain();
    const error: ErrorRecord | undefined = readErrorRecord(this.spec.errorFile);
    this.owner.onEnded(this, { label: this.spec.label, code, signal, error, endedByUs: wasEndedByUs });
  }

  /** Until both pipes are at their end. */
  private async drain(): Promise<void> {
    const streams = [this.child.stdout, this.child.stderr].filter((stream) => stream !== null);
    this.lastOutputMs = performance.now();
    while (streams.some((stream) => !stream.closed)) {
      // Node resumes the pipes of a child that has exited: the credit still counts.
      if (!this.owner.hasOutputCredit()) this.lastOutputMs = performance.now();
      else if (performance.now() - this.lastOutputMs > SILENCE_MS) for (const stream of streams) stream.destroy();
      await pause(5);
    }
  }
}
